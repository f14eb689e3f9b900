"""Write the report of a case: facts by code, phrasing by a language model if it keeps the rules, else by the template."""

import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime

from eye_dx_core.errors import BadReport
from eye_dx_core.reporting.facts import LlmFacts, facts_of
from eye_dx_core.reporting.guard.echo import echo_violations
from eye_dx_core.reporting.guard.injection import gives_orders
from eye_dx_core.reporting.guard.leaks import leak_violations
from eye_dx_core.reporting.guard.rules import identifier_violations, texts_of, violations
from eye_dx_core.reporting.guard.support import known_claims
from eye_dx_core.reporting.guard.violation import RULES, Violation
from eye_dx_core.reporting.guard.wording import doctors_words
from eye_dx_core.reporting.identifiers import identifiers_of
from eye_dx_core.reporting.language_model.port import ChatModel, UselessAnswer
from eye_dx_core.reporting.language_model.prompt import SHIPPED_INSTRUCTIONS, Instructions, build_system_prompt, build_user_prompt
from eye_dx_core.reporting.narrative import ANSWER_SCHEMA, Echo, ReportNarrative, parse_answer
from eye_dx_core.reporting.template import TEMPLATE, write_by_template
from eye_dx_core.schema.case import Case
from eye_dx_core.schema.diagnosis import AiDiagnosis
from eye_dx_core.schema.report import DiagnosisReport, GuardOutcome, TokenUsage
from eye_dx_core.schema.review import DoctorReview

DISCLAIMER = (
    "本报告由人工智能辅助生成，并经医生审核。人工智能判读仅依据眼底彩色照片，不能代替完整的眼科检查；"
    "“未评估”不代表正常。请以医生结论为准，如有不适请及时就医。"
)
UNAVAILABLE = "model_unavailable"
ORDERS = "orders_in_doctors_text"
_TRIES = 2
_FINAL = re.compile(r"content_filter|refusal|request_refused|http_\d+")
"""What the same question would bring again."""


@dataclass(frozen=True)
class _Written:
    narrative: ReportNarrative
    writer: str = TEMPLATE
    guard: GuardOutcome | None = None
    rules: tuple[str, ...] = ()
    fallback_reason: str | None = None
    tokens: TokenUsage | None = None
    prompt_version: str | None = None


def write_report(
    case: Case,
    diagnosis: AiDiagnosis,
    review: DoctorReview,
    *,
    chat_model: ChatModel | None,
    now: datetime,
    fallback_reason: str | None = None,
    instructions: Instructions = SHIPPED_INSTRUCTIONS,
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
        instructions: what a language model is told.

    Raises:
        ChatModelUnavailable: the chat model does not answer. The caller may retry, or call again without it.
    """
    facts = facts_of(case, diagnosis, review)
    if chat_model is None:
        guard = GuardOutcome.UNAVAILABLE if fallback_reason == UNAVAILABLE else None
        written = _Written(write_by_template(facts), guard=guard, fallback_reason=fallback_reason)
    elif gives_orders(facts):
        written = _refused(facts, (ORDERS,))
    else:
        notes = case.screening.notes or ""
        written = _Session(facts, chat_model, instructions, identifiers_of(case, review), notes).write()
    return DiagnosisReport(
        report_id=report_id_of(case.case_id),
        case_id=case.case_id,
        written_at=now,
        writer=written.writer,
        fallback_reason=written.fallback_reason,
        prompt_version=written.prompt_version,
        guard=written.guard,
        guard_rules=written.rules,
        tokens=written.tokens,
        findings=written.narrative.findings,
        opinion=written.narrative.opinion,
        advice=written.narrative.advice,
        conclusion=review.conclusion,
        doctor_name=review.doctor_name,
        recommendation=review.recommendation,
        urgency=review.urgency,
        ai_conclusion=diagnosis.conclusion_zh,
        ai_model_version=diagnosis.model_version,
        disclaimer=DISCLAIMER,
    )


def report_id_of(case_id: str) -> str:
    """A case has one report, so writing it again after a crash gives the same id."""
    return f"report-{case_id.removeprefix('case-')}"


def _refused(facts: LlmFacts, rules: tuple[str, ...]) -> _Written:
    return _Written(write_by_template(facts), guard=GuardOutcome.REFUSED, rules=rules, fallback_reason=",".join(rules))


@dataclass
class _Session:
    """One report asked of a language model; nothing of it outlives the report."""

    facts: LlmFacts
    chat_model: ChatModel
    instructions: Instructions
    identifiers: tuple[re.Pattern[str], ...]
    notes: str
    canary: str = field(default_factory=lambda: secrets.token_hex(6))
    spent: list[TokenUsage] = field(default_factory=list[TokenUsage])

    def write(self) -> _Written:
        """Ask, tell what was wrong, ask once more; then the template."""
        found: tuple[Violation, ...] = ()
        broken: tuple[str, ...] = ()
        for number in range(_TRIES):
            try:
                narrative, echo = parse_answer(self._ask(found))
            except BadReport as error:
                found, broken = (), (_code_of(error),)
                if _FINAL.fullmatch(broken[0]):
                    break
                continue
            found = tuple(self._violations(narrative, echo))
            if not found:
                guard = GuardOutcome.PASSED_ON_RETRY if number else GuardOutcome.PASSED
                return self._signed(_Written(narrative, self.chat_model.name, guard, broken))
            broken = tuple(sorted({one.rule for one in found}, key=lambda rule: (RULES[rule].check, rule)))
        return self._signed(_refused(self.facts, broken))

    def _ask(self, found: tuple[Violation, ...]) -> dict[str, object]:
        system = build_system_prompt(self.instructions, self.canary)
        try:
            answer = self.chat_model.complete_json(system=system, user=build_user_prompt(self.facts, found), json_schema=ANSWER_SCHEMA)
        except UselessAnswer as error:
            self.spent += [error.tokens] if error.tokens else []
            raise
        self.spent += [answer.tokens] if answer.tokens else []
        return answer.content

    def _violations(self, narrative: ReportNarrative, echo: Echo) -> Iterator[Violation]:
        yield from echo_violations(echo, self.facts, known_claims(self.facts))
        yield from violations(narrative, self.facts)
        yield from identifier_violations(narrative, self.identifiers)
        rules, _, _ = self.instructions.text.partition("{")  # behind it stands an example, whose sentences may be used
        for slot, text in texts_of(narrative):
            yield from leak_violations(slot, text, canary=self.canary, secrets=(rules, self.notes), allowed=doctors_words(self.facts))

    def _signed(self, written: _Written) -> _Written:
        spent = self.spent
        tokens = TokenUsage(prompt=sum(one.prompt for one in spent), completion=sum(one.completion for one in spent)) if spent else None
        return replace(written, tokens=tokens, prompt_version=self.instructions.version)


def _code_of(error: BadReport) -> str:
    """The code in the error's text; another model's error may hold a sentence, and sentences are not stored."""
    return str(error) if re.fullmatch(r"[a-z_0-9]{1,40}", str(error)) else "bad_answer"
