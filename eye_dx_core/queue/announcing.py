"""What we answer, in the shape and on the queue of whoever asked."""

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from eye_dx_core.queue.summarising import summarise
from eye_dx_core.queue.topology import QueueNames
from eye_dx_core.records.outgoing import OutboxMessage
from eye_dx_core.schema.case import Case, Laterality, WireFormat
from eye_dx_core.schema.condition import LABELS, Condition
from eye_dx_core.schema.diagnosis import AiDiagnosis, EyeDiagnosis
from eye_dx_core.schema.outgoing import (
    AI_RESULT,
    REPORT,
    AddendumSaid,
    AiResult,
    AiResultMessage,
    NotAssessed,
    PartnerEyeResult,
    ReportDelivery,
    ReportMessage,
    ResultCheck,
    ResultReport,
)
from eye_dx_core.schema.outgoing_reading import DiagnosisSummary, Outgoing, RoutingStatus
from eye_dx_core.schema.report import DiagnosisReport
from eye_dx_core.schema.review import Addendum

_PARTNER_FIELDS = {
    "AMD": Condition.AMD, "CSC": Condition.CSC, "RP": Condition.RP, "GLA": Condition.GLAUCOMA, "RVO": Condition.RVO, "DR": Condition.DR,
}  # fmt: skip
_ANTERIOR_NOT_ASSESSED = "未评估（本系统只判读眼底照片）"


def announce_diagnosis(
    case: Case, diagnosis: AiDiagnosis, *, names: QueueNames, now: datetime, not_assessed: NotAssessed = NotAssessed.NULL
) -> OutboxMessage:
    """The AI result as an outbox message: on the partner's queue in the partner's shape, else in our envelope.

    `not_assessed` decides how the partner's shape tells it; our envelope has words for it.
    """
    if case.wire is WireFormat.FOUR_QUEUE:
        answer = ResultCheck(
            osFundusResult=_partner_result(diagnosis.find_eye(Laterality.LEFT), not_assessed),
            odFundusResult=_partner_result(diagnosis.find_eye(Laterality.RIGHT), not_assessed),
            id=case.external_id or case.message_id,
        )
        return _outbox(case, names.partner_ai_results, AI_RESULT, answer, now)
    result = AiResult(patient_id=_patient_id(case), **summarise(diagnosis, RoutingStatus.PROPOSED))
    message = AiResultMessage(schema=AI_RESULT, body=result, **_envelope(case, AI_RESULT, now))
    return _outbox(case, names.ai_results, AI_RESULT, message, now)


def announce_report(
    case: Case, diagnosis: AiDiagnosis, report: DiagnosisReport, *, names: QueueNames, now: datetime, addenda: Sequence[Addendum] = ()
) -> OutboxMessage:
    """The written report as an outbox message; it carries no name and no phone, only the ids the receiver knows.

    With `addenda`, the newest last, it is a message of its own that takes the place of the one before.
    """
    edition = addenda[-1].addendum_id if addenda else ""
    if case.wire is WireFormat.FOUR_QUEUE:
        added = "".join(f"补充说明：{one.text}" for one in addenda)
        answer = ResultReport(
            fundusReport=_findings_text(report),
            fundusInterpret=f"{report.conclusion}。{report.opinion}{report.recommendation}{added}",
            anteriorReport=_ANTERIOR_NOT_ASSESSED,
            anteriorInterpret=_ANTERIOR_NOT_ASSESSED,
            id=case.external_id or case.message_id,
        )
        return _outbox(case, names.partner_reports, REPORT, answer, now, edition)
    said = DiagnosisSummary(**summarise(diagnosis, RoutingStatus.REVIEWED))
    added = tuple(AddendumSaid(text=one.text, doctor_name=one.doctor_name, added_at=one.added_at) for one in addenda)
    delivery = ReportDelivery(patient_id=_patient_id(case), report=report, ai_diagnosis=said, addenda=added)
    message = ReportMessage(schema=REPORT, body=delivery, **_envelope(case, REPORT, now, edition))
    return _outbox(case, names.reports, REPORT, message, now, edition)


def _partner_result(eye: EyeDiagnosis | None, not_assessed: NotAssessed) -> PartnerEyeResult:
    """One eye in the partner's fields, said only where it was assessed, because a 0 would be read as "healthy"."""
    unsaid: dict[str, int | str | None] = dict.fromkeys((*_PARTNER_FIELDS, "ON")) if not_assessed is NotAssessed.NULL else {}
    return PartnerEyeResult.model_validate(unsaid | _partner_findings(eye))


def _partner_findings(eye: EyeDiagnosis | None) -> dict[str, int | str]:
    """What the model said of one eye.

    A single-label model that names one disease has not ruled the others out, so only a normal eye gets zeros, and
    only for conditions the model can tell. ON (optic neuropathy) is in no label set of ours.
    """
    if eye is None or eye.label is None:
        return {}
    if eye.label.is_normal:
        told = {LABELS[code].condition for photo in eye.photos for code in photo.probabilities}
        return {field: 0 for field, condition in _PARTNER_FIELDS.items() if condition in told}
    field = next((field for field, condition in _PARTNER_FIELDS.items() if condition is eye.label.condition), None)
    if field == "DR":
        grade = eye.label.dr_grade
        return {"DR": int(grade)} if grade is not None else {"note": f"{eye.conclusion_zh}（分级未评估）"}
    return {field: 1} if field else {"note": eye.conclusion_zh}


def _findings_text(report: DiagnosisReport) -> str:
    return "\n".join(
        f"{one.eye.name_zh}：视网膜 {one.retina} 黄斑 {one.macula} 视盘 {one.optic_disc} 血管 {one.vessels}" for one in report.findings
    )


def _patient_id(case: Case) -> str | None:
    return case.screening.patient.patient_id if case.screening.patient else None


def _envelope(case: Case, schema: str, now: datetime, edition: str = "") -> dict[str, Any]:
    return {
        "message_id": _message_id(case, schema, edition),
        "occurred_at": now,
        "producer": "eye-dx",
        "case_id": case.case_id,
        "source_message_id": case.message_id,
    }


def _message_id(case: Case, schema: str, edition: str) -> str:
    """One id per case, kind and edition, so that a second publication of the same result is recognised as a repeat."""
    return hashlib.sha256("\n".join(filter(None, (case.case_id, schema, edition))).encode()).hexdigest()[:32]


def _outbox(case: Case, queue: str, schema: str, message: Outgoing, now: datetime, edition: str = "") -> OutboxMessage:
    return OutboxMessage(
        message_id=_message_id(case, schema, edition),
        case_id=case.case_id,
        queue=queue,
        type=schema,
        body=message.to_body(),
        created_at=now,
    )
