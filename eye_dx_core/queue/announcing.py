"""What we answer, in the shape and on the queue of whoever asked."""

import hashlib
import json
from datetime import datetime
from typing import Any

from eye_dx_core.queue.topology import QueueNames
from eye_dx_core.records.port import OutboxMessage
from eye_dx_core.schema.case import Case, Laterality, WireFormat
from eye_dx_core.schema.condition import LABELS, Condition
from eye_dx_core.schema.diagnosis import AiDiagnosis, EyeDiagnosis
from eye_dx_core.schema.report import DiagnosisReport

AI_RESULT, REPORT = "eye-dx/ai-result/1", "eye-dx/report/1"
_PARTNER_FIELDS = {
    "AMD": Condition.AMD, "CSC": Condition.CSC, "RP": Condition.RP, "GLA": Condition.GLAUCOMA, "RVO": Condition.RVO, "DR": Condition.DR,
}  # fmt: skip
_ANTERIOR_NOT_ASSESSED = "未评估（本系统只判读眼底照片）"


def announce_diagnosis(case: Case, diagnosis: AiDiagnosis, *, names: QueueNames, now: datetime) -> OutboxMessage:
    """The AI result as an outbox message: on the partner's queue in the partner's shape, else in our envelope."""
    if case.wire is WireFormat.FOUR_QUEUE:
        body = {
            "osFundusResult": _partner_result(diagnosis.find_eye(Laterality.LEFT)),
            "odFundusResult": _partner_result(diagnosis.find_eye(Laterality.RIGHT)),
            "id": case.external_id,
        }
        return _outbox(case, names.partner_ai_results, AI_RESULT, body, now)
    body = diagnosis_summary(diagnosis) | {"patient_id": _patient_id(case)}
    return _outbox(case, names.ai_results, AI_RESULT, _enveloped(case, AI_RESULT, body, now), now)


def announce_report(case: Case, diagnosis: AiDiagnosis, report: DiagnosisReport, *, names: QueueNames, now: datetime) -> OutboxMessage:
    """The written report as an outbox message; it carries no name and no phone, only the ids the receiver knows."""
    if case.wire is WireFormat.FOUR_QUEUE:
        body: dict[str, Any] = {
            "fundusReport": _findings_text(report),
            "fundusInterpret": f"{report.conclusion}。{report.opinion}{report.recommendation}",
            "anteriorReport": _ANTERIOR_NOT_ASSESSED,
            "anteriorInterpret": _ANTERIOR_NOT_ASSESSED,
            "id": case.external_id,
        }
        return _outbox(case, names.partner_reports, REPORT, body, now)
    body = {
        "patient_id": _patient_id(case),
        "report": report.model_dump(mode="json"),
        "ai_diagnosis": diagnosis_summary(diagnosis),
    }
    return _outbox(case, names.reports, REPORT, _enveloped(case, REPORT, body, now), now)


def diagnosis_summary(diagnosis: AiDiagnosis) -> dict[str, Any]:
    """The AI's word in the shape of the mission: `conclusion`, `confidence`, `abnormal_areas`, and the same per eye."""
    return _reading(diagnosis) | {
        "model": {"name": diagnosis.model_name, "version": diagnosis.model_version, "sha256": diagnosis.checkpoint_sha256},
        "eyes": [_reading(one) | {"eye": one.eye, "reason": one.reason} for one in diagnosis.eyes],
    }


def _reading(one: AiDiagnosis | EyeDiagnosis) -> dict[str, Any]:
    return {
        "outcome": one.outcome,
        "conclusion": one.conclusion_zh,
        "conclusion_code": one.conclusion,
        "confidence": one.confidence,
        "abnormal_areas": [area.zone.name_zh for area in one.abnormal_areas],
    }


def _partner_result(eye: EyeDiagnosis | None) -> dict[str, int | str | None]:
    """One eye in the partner's fields; null where nothing was assessed, because a 0 would be read as "healthy".

    A single-label model that names one disease has not ruled the others out, so only a normal eye gets zeros, and
    only for conditions the model can tell. ON (optic neuropathy) is in no label set of ours.
    """
    result: dict[str, int | str | None] = {"AMD": None, "CSC": None, "RP": None, "ON": None, "GLA": None, "RVO": None, "DR": None}
    if eye is None or eye.label is None:
        return result
    if eye.label.is_normal:
        told = {LABELS[code].condition for photo in eye.photos for code in photo.probabilities}
        return result | {field: 0 for field, condition in _PARTNER_FIELDS.items() if condition in told}
    field = next((field for field, condition in _PARTNER_FIELDS.items() if condition is eye.label.condition), None)
    if field == "DR":
        grade = eye.label.dr_grade
        return result | ({"DR": int(grade)} if grade is not None else {"note": f"{eye.conclusion_zh}（分级未评估）"})
    return result | ({field: 1} if field else {"note": eye.conclusion_zh})


def _findings_text(report: DiagnosisReport) -> str:
    return "\n".join(
        f"{one.eye.name_zh}：视网膜 {one.retina} 黄斑 {one.macula} 视盘 {one.optic_disc} 血管 {one.vessels}" for one in report.findings
    )


def _patient_id(case: Case) -> str | None:
    return case.screening.patient.patient_id if case.screening.patient else None


def _enveloped(case: Case, schema: str, body: dict[str, Any], now: datetime) -> dict[str, Any]:
    return {
        "schema": schema,
        "message_id": _message_id(case, schema),
        "occurred_at": now.isoformat(),
        "producer": "eye-dx",
        "case_id": case.case_id,
        "source_message_id": case.message_id,
        "body": body,
    }


def _message_id(case: Case, schema: str) -> str:
    """One id per case and kind, so that a second publication of the same result is recognised as a repeat."""
    return hashlib.sha256(f"{case.case_id}\n{schema}".encode()).hexdigest()[:32]


def _outbox(case: Case, queue: str, schema: str, body: dict[str, Any], now: datetime) -> OutboxMessage:
    return OutboxMessage(
        message_id=_message_id(case, schema),
        case_id=case.case_id,
        queue=queue,
        type=schema,
        body=json.dumps(body, ensure_ascii=False).encode(),
        created_at=now,
    )
