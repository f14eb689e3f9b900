"""A report as a FHIR R4B bundle. What was not assessed is unknown and never absent; what the doctor concluded outranks the AI."""

import base64
import uuid
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Literal

from fhir.resources.R4B.bundle import Bundle

from eye_dx_core.reporting.facts import EYES
from eye_dx_core.reporting.material import ReportMaterial, ReportStatus
from eye_dx_core.reporting.writing import report_id_of
from eye_dx_core.schema.case import Laterality
from eye_dx_core.schema.condition import LABELS, Condition, DrGrade
from eye_dx_core.schema.diagnosis import EyeDiagnosis
from eye_dx_core.schema.quality import QualityLevel
from eye_dx_core.schema.review import EyeReview
from eye_dx_core.schema.routing import ACUITY_IMPLAUSIBLE, IOP_IMPLAUSIBLE, Urgency

Status = Literal["preliminary", "final", "amended"]
Presence = Literal["present", "absent", "unknown"]
Json = dict[str, Any]

_STATUS: dict[ReportStatus, Status] = {
    ReportStatus.PRELIMINARY: "preliminary", ReportStatus.FINAL: "final", ReportStatus.AMENDED: "amended",
}  # fmt: skip
_LOINC, _ICD10, _OURS = "http://loinc.org", "http://hl7.org/fhir/sid/icd-10", "urn:eye-dx"
_TERMINOLOGY = "http://terminology.hl7.org/CodeSystem"
_DISEASES = (Condition.AMD, Condition.CATARACT, Condition.CSC, Condition.DR, Condition.GLAUCOMA, Condition.RP, Condition.RVO)
# Diabetic retinopathy severity by LOINC, whose method is ophthalmoscopy: each observation says that it was a photograph.
_DR_CODE = {
    Laterality.LEFT: ("71490-7", "Diabetic retinopathy severity level Left eye by Ophthalmoscopy"),
    Laterality.RIGHT: ("71491-5", "Diabetic retinopathy severity level Right eye by Ophthalmoscopy"),
}  # fmt: skip
_DR_ANSWERS = {
    DrGrade.NONE: ("LA18643-9", "No apparent retinopathy"),
    DrGrade.MILD: ("LA18644-7", "Mild non-proliferative retinopathy"),
    DrGrade.MODERATE: ("LA18645-4", "Moderate non-proliferative retinopathy"),
    DrGrade.SEVERE: ("LA18646-2", "Severe non-proliferative retinopathy"),
    DrGrade.PROLIFERATIVE: ("LA18648-8", "Proliferative retinopathy"),
}
_PRIORITY = {Urgency.SAME_DAY: "stat", Urgency.URGENT: "asap", Urgency.SOON: "urgent"}
_PHOTOGRAPH = "colour fundus photograph"


def build_bundle(material: ReportMaterial, *, pdf: bytes | None = None, with_identity: bool = False) -> Bundle:
    """A collection of everything that the report tells, with the same ids every time.

    Args:
        material: what is known.
        pdf: the report as a patient gets it, to go along; it holds the patient's name.
        with_identity: whether the patient's name, sex and birth date go along as well; else the patient's id only.
    """
    return Bundle.model_validate(_Writer(material, with_identity=with_identity).bundle(pdf))


def render_fhir(material: ReportMaterial, *, pdf: bytes | None = None, with_identity: bool = False) -> str:
    """The bundle as JSON."""
    return build_bundle(material, pdf=pdf, with_identity=with_identity).model_dump_json(indent=2)


class _Writer:
    def __init__(self, material: ReportMaterial, *, with_identity: bool) -> None:
        self._of, self._with_identity = material, with_identity
        report = material.report
        self._at = (report.written_at if report else material.diagnosis.diagnosed_at).isoformat()
        self._is_signed = material.status is not ReportStatus.PRELIMINARY
        self._review = material.review if self._is_signed else None

    def bundle(self, pdf: bytes | None) -> Json:
        observations = [one for eye in EYES for one in self._observations(eye)]
        resources = [
            self._diagnostic_report(observations, pdf),
            self._patient(),
            *observations,
            self._device(),
            self._request(),
            *self._provenance(),
        ]
        return {
            "resourceType": "Bundle",
            "id": self._id("bundle"),
            "type": "collection",
            "timestamp": self._at,
            "entry": [{"fullUrl": f"urn:uuid:{one['id']}", "resource": one} for one in resources],
        }

    def _id(self, name: str) -> str:
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{_OURS}:{self._of.case.case_id}:{name}"))

    def _reference(self, name: str) -> Json:
        return {"reference": f"urn:uuid:{self._id(name)}"}

    def _diagnostic_report(self, observations: Iterable[Json], pdf: bytes | None) -> Json:
        case = self._of.case
        report: Json = {
            "resourceType": "DiagnosticReport",
            "id": self._id("report"),
            "identifier": [{"system": f"{_OURS}:report", "value": report_id_of(case.case_id)}],
            "basedOn": [self._reference("request")],
            "status": _STATUS[self._of.status],
            "category": [_concept(f"{_TERMINOLOGY}/v2-0074", "IMG", "Diagnostic Imaging")],
            "code": {"text": "Colour fundus photography report"},
            "subject": self._reference("patient"),
            "effectiveDateTime": (case.screening.screened_at or case.received_at).isoformat(),
            "issued": self._at,
            "result": [{"reference": f"urn:uuid:{one['id']}"} for one in observations],
            "conclusion": self._conclusion(),
            "conclusionCode": [_concept(_ICD10, code, None) for code in self._icd10()],
        }
        if pdf is not None:
            form = {"contentType": "application/pdf", "language": "zh-CN", "data": base64.b64encode(pdf).decode(), "creation": self._at}
            report["presentedForm"] = [form]
        return {key: value for key, value in report.items() if value}

    def _conclusion(self) -> str:
        if self._review is None:
            return f"AI, not reviewed: {self._of.diagnosis.conclusion_en}"
        return "\n".join((self._review.conclusion, *(f"{one.added_at.isoformat()}: {one.text}" for one in self._of.addenda)))

    def _icd10(self) -> tuple[str, ...]:
        """Of what was concluded: chosen labels of the doctor, else none, because free text has no code; unsigned, of the AI."""
        if self._review is not None:
            codes = [code for eye in self._review.eyes for code in eye.labels]
        else:
            codes = [eye.conclusion for eye in self._of.diagnosis.eyes if eye.conclusion]
        return tuple(dict.fromkeys(LABELS[code].icd10 for code in codes))

    def _patient(self) -> Json:
        patient = self._of.case.screening.patient
        value = patient.patient_id if patient else self._of.case.external_id or self._of.case.case_id
        said: Json = {"resourceType": "Patient", "id": self._id("patient"), "identifier": [{"system": f"{_OURS}:patient", "value": value}]}
        if patient and self._with_identity:
            said["name"] = [{"text": patient.name}] if patient.name else None
            said["gender"] = {"男": "male", "女": "female"}.get(patient.gender or "", "unknown")
        return {key: value for key, value in said.items() if value}

    def _observations(self, eye: Laterality) -> list[Json]:
        reading = self._of.diagnosis.find_eye(eye)
        reviewed = next((one for one in self._review.eyes if one.eye is eye), None) if self._review else None
        is_reviewed = self._review is not None
        diseases = [self._disease(eye, one, _presence(one, reading, reviewed, is_reviewed=is_reviewed)) for one in _DISEASES]
        return [*diseases, self._dr_grade(eye, reading, reviewed), self._quality(eye, reading), *self._measured(eye)]

    def _observation(self, eye: Laterality, name: str, code: Json, value: Json | None, **more: object) -> Json:
        said: Json = {
            "resourceType": "Observation",
            "id": self._id(f"{eye}:{name}"),
            "status": _STATUS[self._of.status],
            "code": code,
            "subject": self._reference("patient"),
            "effectiveDateTime": (self._of.case.screening.screened_at or self._of.case.received_at).isoformat(),
            "bodySite": {"text": eye.name_en, "coding": [{"system": f"{_OURS}:eye", "code": eye.value}]},
            **more,
        }
        reason = ("unknown", "Unknown") if "method" in more else ("not-performed", "Not Performed")
        return said | (value or {"dataAbsentReason": _concept(f"{_TERMINOLOGY}/data-absent-reason", *reason)})

    def _said_by(self) -> Json:
        """How it was seen, and by which device where no doctor has concluded."""
        method: Json = {"method": {"text": _PHOTOGRAPH}}
        return method if self._review is not None else method | {"device": self._reference("device")}

    def _disease(self, eye: Laterality, condition: Condition, presence: Presence) -> Json:
        label = LABELS[condition.value]
        code = {"coding": [{"system": _ICD10, "code": label.icd10}], "text": label.name_en}
        value = None if presence == "unknown" else {"valueCodeableConcept": _concept(f"{_OURS}:presence", presence, presence)}
        return self._observation(eye, condition.value, code, value, **self._said_by())

    def _dr_grade(self, eye: Laterality, reading: EyeDiagnosis | None, reviewed: EyeReview | None) -> Json:
        grade = _dr_grade(reading, reviewed, is_reviewed=self._review is not None)
        value = {"valueCodeableConcept": _concept(_LOINC, *_DR_ANSWERS[grade])} if grade is not None else None
        return self._observation(eye, "dr-grade", _concept(_LOINC, *_DR_CODE[eye]), value, **self._said_by())

    def _quality(self, eye: Laterality, reading: EyeDiagnosis | None) -> Json:
        levels = [one.quality.level for one in reading.photos if one.quality] if reading else []
        best = min(levels, key=list(QualityLevel).index, default=None)
        value = {"valueCodeableConcept": _concept(f"{_OURS}:photo-quality", best.value, best.value)} if best else None
        return self._observation(eye, "quality", {"text": "Quality of the fundus photograph"}, value, device=self._reference("device"))

    def _measured(self, eye: Laterality) -> Iterable[Json]:
        measured = self._of.case.screening.vision.of(eye)
        routing = self._of.diagnosis.routing
        doubts = {one.rule for one in routing.reasons if one.eye is eye} if routing else set[str]()
        acuity = None if ACUITY_IMPLAUSIBLE in doubts else measured.acuity_decimal
        pressure = None if IOP_IMPLAUSIBLE in doubts else measured.iop_mmhg
        yield self._observation(eye, "acuity", {"text": "Visual acuity, decimal"}, _quantity(acuity, "1", "{decimal}"))
        yield self._observation(eye, "iop", {"text": "Intraocular pressure"}, _quantity(pressure, "mm[Hg]", "mmHg"))

    def _device(self) -> Json:
        diagnosis = self._of.diagnosis
        return {
            "resourceType": "Device",
            "id": self._id("device"),
            "identifier": [{"system": f"{_OURS}:checkpoint-sha256", "value": diagnosis.checkpoint_sha256}],
            "deviceName": [{"name": diagnosis.model_name, "type": "model-name"}],
            "version": [{"value": diagnosis.model_version}],
        }

    def _request(self) -> Json:
        """That somebody sees the patient: by the doctor's urgency, else by the AI's proposal."""
        routing = self._of.diagnosis.routing
        urgency = (self._review.urgency if self._review else None) or (routing.urgency if routing else None)
        return {
            "resourceType": "ServiceRequest",
            "id": self._id("request"),
            "status": "active" if self._is_signed else "draft",
            "intent": "order" if self._review and self._review.urgency else "proposal",
            "priority": _PRIORITY.get(urgency, "routine") if urgency else "routine",
            "code": {"text": urgency.name_en if urgency else "follow-up"},
            "subject": self._reference("patient"),
        }

    def _provenance(self) -> Iterable[Json]:
        yield self._made_by("ai", self._of.diagnosis.diagnosed_at, "assembler", {"who": self._reference("device")})
        if self._review is not None:
            who = {
                "display": self._review.doctor_name or "doctor",
                "identifier": {"system": f"{_OURS}:review", "value": self._review.review_id},
            }
            yield self._made_by("doctor", self._review.reviewed_at, "legal", {"who": who})

    def _made_by(self, name: str, at: datetime, role: str, agent: Mapping[str, Json]) -> Json:
        kind = _concept(f"{_TERMINOLOGY}/provenance-participant-type", role, role)
        return {
            "resourceType": "Provenance",
            "id": self._id(f"provenance:{name}"),
            "target": [self._reference("report")],
            "recorded": at.isoformat(),
            "agent": [{"type": kind, **agent}],
        }


def _presence(condition: Condition, reading: EyeDiagnosis | None, reviewed: EyeReview | None, *, is_reviewed: bool) -> Presence:
    """Whether an eye has a condition.

    A doctor who chose labels said which there are, and by a normal label that there are none of those the model can tell. A model
    of one label has not ruled out the others, so only a normal reading makes absent, and a free-text review makes nothing known.
    """
    if is_reviewed:
        if reviewed is None or reviewed.ungradable or not reviewed.labels:
            return "unknown"
        chosen = [LABELS[code] for code in reviewed.labels]
    elif reading is not None and reading.label is not None:
        chosen = [reading.label]
    else:
        return "unknown"
    if any(one.condition is condition for one in chosen):
        return "present"
    if any(one.code == "D0" for one in chosen):
        return "absent" if condition is Condition.DR else "unknown"
    told = {LABELS[code].condition for photo in reading.photos for code in photo.probabilities} if reading else set[Condition]()
    return "absent" if all(one.is_normal for one in chosen) and (is_reviewed or condition in told) else "unknown"


def _dr_grade(reading: EyeDiagnosis | None, reviewed: EyeReview | None, *, is_reviewed: bool) -> DrGrade | None:
    if is_reviewed:
        if reviewed is None or reviewed.ungradable:
            return None
        graded = (LABELS[code].dr_grade for code in reviewed.labels)
        return reviewed.dr_grade if reviewed.dr_grade is not None else next((one for one in graded if one is not None), None)
    return reading.label.dr_grade if reading and reading.label else None


def _concept(system: str, code: str, display: str | None) -> Json:
    return {"coding": [{"system": system, "code": code, **({"display": display} if display else {})}]}


def _quantity(value: float | None, code: str, unit: str) -> Json | None:
    return None if value is None else {"valueQuantity": {"value": value, "unit": unit, "system": "http://unitsofmeasure.org", "code": code}}
