"""Invented persons, cases and words of model and doctor for tests; each builder gives a valid value to vary."""

import json
from datetime import UTC, datetime
from typing import Any

from eye_dx_core.routing.deciding import decide_eye_routing, decide_routing
from eye_dx_core.routing.rules import shipped_rules
from eye_dx_core.schema.case import Case, EyeMeasurement, FundusPhoto, Laterality, Patient, Screening, VisionData, WireFormat
from eye_dx_core.schema.diagnosis import AbnormalArea, AiDiagnosis, EyeClaim, EyeClaimSource, EyeDiagnosis, Outcome, PhotoPrediction, Zone
from eye_dx_core.schema.quality import Quality, QualityIssue, QualityLevel
from eye_dx_core.schema.report import DiagnosisReport, EyeFindings
from eye_dx_core.schema.review import DoctorReview

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


def a_patient(patient_id: str = "P2025001") -> Patient:
    return Patient(patient_id=patient_id, name="测试甲", age_years=45, gender="男", phone="13800138000")


def a_case(
    case_id: str = "case-1", *, photos: tuple[str, ...] = ("visit/OD.jpg", "visit/OS.jpg"), wire: WireFormat = WireFormat.NESTED
) -> Case:
    eyes = (Laterality.RIGHT, Laterality.LEFT)
    return Case(
        case_id=case_id,
        message_id=f"message-of-{case_id}",
        source_queue="eye_dx_screenings",
        producer="eye_dx_screenings",
        wire=wire,
        external_id=f"external-of-{case_id}" if wire is WireFormat.FOUR_QUEUE else None,
        body_sha256="0" * 64,
        received_at=NOON,
        screening=Screening(
            patient=a_patient(),
            vision=VisionData(right=EyeMeasurement(acuity_decimal=0.6, iop_mmhg=19), left=EyeMeasurement(acuity_decimal=0.8, iop_mmhg=18)),
            photos=tuple(
                FundusPhoto(photo_id=f"{case_id}-{n}", location=location, eye=eyes[(n - 1) % 2])
                for n, location in enumerate(photos, start=1)
            ),
        ),
    )


def an_eye_diagnosis(eye: Laterality | None, code: str | None = "A", *, confidence: float = 0.87) -> EyeDiagnosis:
    """An assessed eye, or one that was not assessed when `code` is None."""
    if code is None:
        photo = PhotoPrediction(photo_id="case-1-1", eye=eye, outcome=Outcome.NOT_ASSESSED, reason="truncated")
        return EyeDiagnosis(eye=eye, photos=(photo,), outcome=Outcome.NOT_ASSESSED, reason="truncated")
    areas = () if code == "N" else (AbnormalArea(zone=Zone.MACULA, strength=0.7),)
    probabilities = dict.fromkeys(("A", "C", "CSC", "D", "G", "N", "RP", "RVO"), (1 - confidence) / 7) | {code: confidence}
    photo = PhotoPrediction(
        photo_id="case-1-1",
        eye=eye,
        outcome=Outcome.ASSESSED,
        conclusion=code,
        confidence=confidence,
        probabilities=probabilities,
        answer_set=(code,),
        abnormal_areas=areas,
        quality=Quality(level=QualityLevel.GOOD),
        eye_claims=() if eye is None else (EyeClaim(source=EyeClaimSource.MESSAGE, eye=eye),),
    )
    return EyeDiagnosis(eye=eye, photos=(photo,), outcome=Outcome.ASSESSED, conclusion=code, confidence=confidence, abnormal_areas=areas)


def a_rejected_eye(eye: Laterality, issue: QualityIssue = QualityIssue.TOO_DARK) -> EyeDiagnosis:
    """An eye whose only photograph is not fit to be read."""
    photo = PhotoPrediction(
        photo_id="case-1-1",
        eye=eye,
        eye_claims=(EyeClaim(source=EyeClaimSource.MESSAGE, eye=eye),),
        quality=Quality(level=QualityLevel.REJECT, issues=(issue,), measures={"brightness": 0.1}),
        outcome=Outcome.NOT_ASSESSED,
        reason=issue,
    )
    return EyeDiagnosis(eye=eye, photos=(photo,), outcome=Outcome.NOT_ASSESSED, reason=issue)


def a_disputed_eye(eye: Laterality, code: str = "D4") -> EyeDiagnosis:
    """An eye of which message and picture say different sides, so that a surely read finding is no conclusion."""
    other = Laterality.LEFT if eye is Laterality.RIGHT else Laterality.RIGHT
    claims = (EyeClaim(source=EyeClaimSource.MESSAGE, eye=eye), EyeClaim(source=EyeClaimSource.PICTURE, eye=other, strength=0.96))
    doubt: dict[str, Any] = {"outcome": Outcome.UNCERTAIN, "conclusion": None, "abnormal_areas": (), "reason": "laterality_conflict"}
    read = an_eye_diagnosis(eye, code)
    photos = tuple(one.model_copy(update=doubt | {"eye_claims": claims}) for one in read.photos)
    return read.model_copy(update=doubt | {"photos": photos})


def routed(diagnosis: AiDiagnosis, vision: VisionData | None = None) -> AiDiagnosis:
    """The same with the urgency that the shipped rules propose."""
    vision, rules = vision or a_case().screening.vision, shipped_rules()
    eyes = tuple(eye.model_copy(update={"routing": decide_eye_routing(eye, vision, rules)}) for eye in diagnosis.eyes)
    return diagnosis.model_copy(update={"eyes": eyes, "routing": decide_routing(eyes, vision, rules)})


def a_diagnosis(case_id: str = "case-1", *, right: str | None = "A", left: str | None = "N") -> AiDiagnosis:
    """A diagnosis by label codes per eye; the patient's word is the right eye's."""
    eyes = (an_eye_diagnosis(Laterality.RIGHT, right), an_eye_diagnosis(Laterality.LEFT, left))
    return routed(
        AiDiagnosis(
            case_id=case_id,
            model_name="eye-dx-fundus",
            model_version="3",
            checkpoint_sha256="f" * 64,
            diagnosed_at=NOON,
            eyes=eyes,
            outcome=eyes[0].outcome,
            conclusion=eyes[0].conclusion,
            confidence=eyes[0].confidence,
            abnormal_areas=eyes[0].abnormal_areas,
        )
    )


def a_review(case_id: str = "case-1", *, review_id: str = "review-1", conclusion: str = "高度近视") -> DoctorReview:
    return DoctorReview(
        review_id=review_id,
        case_id=case_id,
        conclusion=conclusion,
        doctor_name="唐医生",
        recommendation="3个月后复查，避免剧烈运动",
        reviewed_at=NOON,
        source="queue",
        ai_conclusion="A",
        ai_model_version="3",
    )


def a_report(case_id: str = "case-1") -> DiagnosisReport:
    findings = EyeFindings(eye=Laterality.RIGHT, retina="未评估", macula="未评估", optic_disc="未评估", vessels="未评估")
    return DiagnosisReport(
        report_id=f"report-of-{case_id}",
        case_id=case_id,
        written_at=NOON,
        writer="template/1",
        findings=(findings,),
        opinion="意见",
        advice="建议",
        conclusion="高度近视",
        doctor_name="唐医生",
        recommendation="3个月后复查，避免剧烈运动",
        ai_conclusion="年龄相关性黄斑变性",
        ai_model_version="3",
        disclaimer="声明",
    )


def a_nested_body(patient_id: str = "P2025001", photos: tuple[str, ...] = ("visit/OD.tiff",)) -> bytes:
    patient = {"patient_id": patient_id, "name": "测试甲", "age": 45, "gender": "男", "phone": "13800138000", "photos": list(photos)}
    vision = {"left_eye": 0.8, "right_eye": 0.6, "intraocular_pressure": {"left": 18, "right": 19}}
    return json.dumps({"Patient": patient | {"screening_records": []}, "vision_data": vision}, ensure_ascii=False).encode()
