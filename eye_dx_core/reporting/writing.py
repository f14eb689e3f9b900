"""Writes the report: a language model or the template tells, code places what must not be altered."""

from datetime import datetime

from pydantic import ValidationError

from eye_dx_core.errors import BadReport
from eye_dx_core.reporting.facts import LlmFacts, facts_of
from eye_dx_core.reporting.narrative import ReportNarrative
from eye_dx_core.reporting.port import ChatModel
from eye_dx_core.reporting.prompt import SYSTEM_PROMPT, answer_schema, user_prompt
from eye_dx_core.reporting.rules import violations
from eye_dx_core.reporting.template import TEMPLATE_WRITER, write_by_template
from eye_dx_core.schema.case import Case
from eye_dx_core.schema.diagnosis import AiDiagnosis
from eye_dx_core.schema.report import DiagnosisReport
from eye_dx_core.schema.review import DoctorReview

DISCLAIMER = "本报告由人工智能辅助判读并经医生复核，仅反映所拍眼底照片的情况，不能替代全面的眼科检查。如有不适请及时就医。"


def write_report(
    case: Case, diagnosis: AiDiagnosis, review: DoctorReview, *, chat_model: ChatModel | None, now: datetime
) -> DiagnosisReport:
    """Write the report of a case. Conclusion, doctor and recommendation are the review's, verbatim.

    The model is asked at most twice; what still breaks a rule is thrown away and the template writes.

    Raises:
        ServiceUnavailable: the model does not answer; the caller may come again or pass None.
    """
    facts = facts_of(case, diagnosis, review)
    narrative, writer, fallback = write_by_template(facts), TEMPLATE_WRITER, None
    if chat_model is not None:
        told, fallback = _ask(chat_model, facts)
        if told is not None:
            narrative, writer = told, chat_model.name
    return DiagnosisReport(
        report_id=f"report-{case.case_id.removeprefix('case-')}",
        case_id=case.case_id,
        written_at=now,
        writer=writer,
        fallback_reason=fallback,
        findings=narrative.findings,
        opinion=narrative.opinion,
        advice=narrative.advice,
        conclusion=review.conclusion,
        doctor_name=review.doctor_name,
        recommendation=review.recommendation,
        ai_conclusion=diagnosis.conclusion_zh,
        ai_model_version=diagnosis.model_version,
        disclaimer=DISCLAIMER,
    )


def _ask(chat_model: ChatModel, facts: LlmFacts) -> tuple[ReportNarrative | None, str | None]:
    """The model's text if it keeps the rules, else the codes of what it broke."""
    complaints: tuple[str, ...] = ()
    for _ in range(2):
        try:
            answer = chat_model.complete_json(system=SYSTEM_PROMPT, user=user_prompt(facts, complaints), json_schema=answer_schema())
            narrative = ReportNarrative.model_validate(answer)
        except BadReport as error:
            complaints = (str(error),)
            continue
        except ValidationError as error:
            complaints = ("bad fields: " + ", ".join(sorted({".".join(map(str, one["loc"])) for one in error.errors()})),)
            continue
        complaints = violations(narrative, facts)
        if not complaints:
            return narrative, None
    return None, "; ".join(complaints)
