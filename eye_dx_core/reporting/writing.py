"""Write the report of a case: facts by code, phrasing by a language model if it keeps the rules, else by the template."""

import re
from dataclasses import dataclass
from datetime import datetime

from eye_dx_core.errors import BadReport
from eye_dx_core.reporting.facts import LlmFacts, facts_of
from eye_dx_core.reporting.identifiers import identifiers_of
from eye_dx_core.reporting.narrative import ANSWER_SCHEMA, ReportNarrative, parse_narrative
from eye_dx_core.reporting.port import ChatModel
from eye_dx_core.reporting.prompt import SYSTEM, build_user_prompt
from eye_dx_core.reporting.rules import Violation, identifier_violations, violations
from eye_dx_core.reporting.template import TEMPLATE, write_by_template
from eye_dx_core.schema.case import Case
from eye_dx_core.schema.diagnosis import AiDiagnosis
from eye_dx_core.schema.report import DiagnosisReport
from eye_dx_core.schema.review import DoctorReview

DISCLAIMER = (
    "本报告由人工智能辅助生成，并经医生审核。人工智能判读仅依据眼底彩色照片，不能代替完整的眼科检查；"
    "“未评估”不代表正常。请以医生结论为准，如有不适请及时就医。"
)
UNAVAILABLE = "model_unavailable"
_TRIES = 2


@dataclass(frozen=True)
class _Written:
    narrative: ReportNarrative
    writer: str
    fallback_reason: str | None = None


def write_report(
    case: Case,
    diagnosis: AiDiagnosis,
    review: DoctorReview,
    *,
    chat_model: ChatModel | None,
    now: datetime,
    fallback_reason: str | None = None,
) -> DiagnosisReport:
    """Write the report of a reviewed case.

    The doctor's conclusion, name and recommendation are placed verbatim. A model whose text breaks a rule is told so
    and asked once more; after that the template writes, and `fallback_reason` holds the codes of what went wrong.

    Args:
        case: whose report it is.
        diagnosis: the AI's word.
        review: the doctor's word.
        chat_model: None lets the template write.
        now: aware time of writing.
        fallback_reason: why the template writes where a language model is configured, such as `UNAVAILABLE`.

    Raises:
        ChatModelUnavailable: the chat model does not answer. The caller may retry, or call again without it.
    """
    facts = facts_of(case, diagnosis, review)
    written = _write_checked(facts, chat_model, identifiers_of(case, review)) if chat_model else _by_template(facts, fallback_reason)
    return DiagnosisReport(
        report_id=report_id_of(case.case_id),
        case_id=case.case_id,
        written_at=now,
        writer=written.writer,
        fallback_reason=written.fallback_reason,
        findings=written.narrative.findings,
        opinion=written.narrative.opinion,
        advice=written.narrative.advice,
        conclusion=review.conclusion,
        doctor_name=review.doctor_name,
        recommendation=review.recommendation,
        ai_conclusion=diagnosis.conclusion_zh,
        ai_model_version=diagnosis.model_version,
        disclaimer=DISCLAIMER,
    )


def report_id_of(case_id: str) -> str:
    """A case has one report, so writing it again after a crash gives the same id."""
    return f"report-{case_id.removeprefix('case-')}"


def _by_template(facts: LlmFacts, reason: str | None = None) -> _Written:
    return _Written(write_by_template(facts), TEMPLATE, reason)


def _write_checked(facts: LlmFacts, chat_model: ChatModel, identifiers: tuple[re.Pattern[str], ...]) -> _Written:
    found: tuple[Violation, ...] = ()
    reason = ""
    for _ in range(_TRIES):
        try:
            answer = chat_model.complete_json(system=SYSTEM, user=build_user_prompt(facts, found), json_schema=ANSWER_SCHEMA)
            narrative = parse_narrative(answer)
        except BadReport as error:
            found, reason = (), _code_of(error)
            continue
        found = (*violations(narrative, facts), *identifier_violations(narrative, identifiers))
        if not found:
            return _Written(narrative, chat_model.name)
        reason = ",".join(sorted({one.rule for one in found}))
    return _by_template(facts, reason)


def _code_of(error: BadReport) -> str:
    """The code in the error's text; another model's error may hold a sentence, and sentences are not stored."""
    return str(error) if re.fullmatch(r"[a-z_0-9]{1,40}", str(error)) else "bad_answer"
