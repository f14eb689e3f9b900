"""The records in the exchange shape that other systems of the hospital read."""

from datetime import datetime
from typing import Any

from eye_dx_core.records.port import CaseRecord, Records
from eye_dx_core.schema.case import Laterality
from eye_dx_core.schema.diagnosis import AiDiagnosis
from eye_dx_core.schema.review import DoctorReview

_TIME = "%Y-%m-%d %H:%M:%S"


def export_records(records: Records, *, since: datetime, until: datetime, at: datetime) -> dict[str, Any]:
    """Patients with their screenings, and AI results by `<patient id>_<number of the screening>`.

    Times are written in the zone of `at`, as the shape has no place for one. A screening without a patient (the
    four-queue protocol sends none) stands under the sender's id.
    """
    patients: dict[str, dict[str, Any]] = {}
    results: dict[str, Any] = {}
    for record in records.case_records(since=since, until=until):
        key = _patient_key(record)
        patient = patients.setdefault(key, _patient(record, key))
        results[f"{key}_{len(patient['screening_records'])}"] = _ai(record.diagnosis)
        patient["screening_records"].append(_screening(record, at))
    return {"patients": patients, "ai_diagnosis_results": results, "save_time": at.strftime(_TIME)}


def _patient_key(record: CaseRecord) -> str:
    patient = record.case.screening.patient
    return patient.patient_id if patient else record.case.external_id or record.case.case_id


def _patient(record: CaseRecord, key: str) -> dict[str, Any]:
    patient = record.case.screening.patient
    return {
        "patient_id": key,
        "name": patient.name if patient else None,
        "age": patient.age_years if patient else None,
        "gender": patient.gender if patient else None,
        "phone": patient.phone if patient else None,
        "screening_records": [],
    }


def _screening(record: CaseRecord, at: datetime) -> dict[str, Any]:
    screening = record.case.screening
    right, left = (screening.vision.of(eye) for eye in Laterality)
    return {
        "screening_time": (screening.screened_at or record.case.received_at).astimezone(at.tzinfo).strftime(_TIME),
        "eye_image_path": ",".join(photo.location for photo in screening.photos),
        "vision_data": {
            "left_eye": left.acuity_decimal,
            "right_eye": right.acuity_decimal,
            "intraocular_pressure": {"left": left.iop_mmhg, "right": right.iop_mmhg},
        },
        "notes": screening.notes,
        "ai_diagnosis": _ai(record.diagnosis),
        "doctor_review": _review(record.review),
        "report_generated": record.report is not None,
    }


def _ai(diagnosis: AiDiagnosis | None) -> dict[str, Any]:
    if diagnosis is None:
        return {}
    areas = [area.zone.name_zh for area in diagnosis.abnormal_areas]
    return {"conclusion": diagnosis.conclusion_zh, "confidence": diagnosis.confidence, "abnormal_areas": areas}


def _review(review: DoctorReview | None) -> dict[str, Any]:
    if review is None:
        return {}
    return {"final_conclusion": review.conclusion, "doctor_name": review.doctor_name, "recommendation": review.recommendation}
