"""The AI's word on a case as it leaves the house: no file, no evidence patch by patch, and no urgency without its standing."""

from typing import Any

from eye_dx_core.schema.diagnosis import AiDiagnosis, EyeDiagnosis, PhotoPrediction
from eye_dx_core.schema.outgoing_reading import (
    EvidenceArea,
    EyeReading,
    EyeSaid,
    ModelReference,
    PhotoQuality,
    PhotoReading,
    QualityRemark,
    RoutingStatus,
)
from eye_dx_core.schema.quality import Quality
from eye_dx_core.schema.routing import NOT_SIGNED_ZH

_NOTES = {RoutingStatus.PROPOSED: "AI 建议，待医生确认。", RoutingStatus.REVIEWED: "AI 建议，以医生的结论和建议为准。"}


def summarise(diagnosis: AiDiagnosis, status: RoutingStatus) -> dict[str, Any]:
    """The AI's word in the shape of the mission: `conclusion`, `confidence`, `abnormal_areas`, and the same and more per eye."""
    return _reading(diagnosis) | {
        "model": ModelReference(name=diagnosis.model_name, version=diagnosis.model_version, sha256=diagnosis.checkpoint_sha256),
        "eyes": tuple(_eye_reading(one) for one in diagnosis.eyes),
        "routing": diagnosis.routing,
        "routing_status": status,
        "routing_note_zh": _routing_note(diagnosis, status),
    }


def _routing_note(diagnosis: AiDiagnosis, status: RoutingStatus) -> str:
    is_signed = diagnosis.routing is None or diagnosis.routing.rules_signed_by is not None
    return _NOTES[status] if is_signed else f"{_NOTES[status]}{NOT_SIGNED_ZH}。"


def _reading(one: AiDiagnosis | EyeDiagnosis) -> dict[str, Any]:
    return {
        "outcome": one.outcome,
        "conclusion": one.conclusion_zh,
        "conclusion_code": one.conclusion,
        "confidence": one.confidence,
        "abnormal_areas": tuple(area.zone.name_zh for area in one.abnormal_areas),
    }


def _eye_reading(one: EyeDiagnosis) -> EyeReading:
    return EyeReading(
        **_reading(one),
        eye=one.eye,
        reason=one.reason,
        dr_grade=one.label.dr_grade if one.label else None,
        areas=tuple(EvidenceArea(zone=area.zone, name_zh=area.zone.name_zh, strength=area.strength) for area in one.abnormal_areas),
        answer_set=tuple(dict.fromkeys(code for photo in one.photos for code in photo.answer_set)),
        urgency=one.routing and one.routing.urgency,
        within_days=one.routing and one.routing.within_days,
        photos=tuple(_photo_reading(photo) for photo in one.photos),
    )


def _photo_reading(photo: PhotoPrediction) -> PhotoReading:
    return PhotoReading(
        outcome=photo.outcome,
        reason=photo.reason,
        quality=_quality(photo.quality) if photo.quality else None,
        eye_claims=tuple(EyeSaid(source=one.source, eye=one.eye, strength=one.strength) for one in photo.eye_claims),
        is_eye_disputed=photo.reason == "laterality_conflict",
    )


def _quality(quality: Quality) -> PhotoQuality:
    remarks = (QualityRemark(code=one, advice_zh=one.advice_zh, advice_en=one.advice_en) for one in quality.issues)
    return PhotoQuality(level=quality.level, issues=tuple(remarks))
