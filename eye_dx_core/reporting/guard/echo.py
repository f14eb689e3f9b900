"""Whether what a language model says it wrote is what the facts say."""

from collections.abc import Iterator, Sequence

from eye_dx_core.reporting.facts import LlmFacts
from eye_dx_core.reporting.guard.claims import Claim, Polarity, Voice
from eye_dx_core.reporting.guard.lexicon import NOT_A_FINDING
from eye_dx_core.reporting.guard.support import is_supported
from eye_dx_core.reporting.guard.violation import Violation
from eye_dx_core.reporting.narrative import Echo, EchoedClaim


def sayable_claims(known: Sequence[Claim]) -> tuple[EchoedClaim, ...]:
    """The findings that a text may make of either eye, as the model is told them and is to name them again."""
    found = (
        EchoedClaim(eye=eye, concept_code=one.concept, polarity=one.polarity.value, source="ai" if one.voice is Voice.AI else "doctor")
        for one in known
        for eye in one.eyes
        if ":" not in one.concept and one.polarity is not Polarity.UNCLEAR and one.voice is not Voice.NOBODY and _is_told(one.concept)
    )
    return tuple(dict.fromkeys(found))


def echo_violations(echo: Echo, facts: LlmFacts, known: Sequence[Claim]) -> Iterator[Violation]:
    """Conclusion, urgency and claims must be those of the facts."""
    if set(echo.conclusion_codes) != set(facts.conclusion_codes):
        yield Violation(rule="echo", slot="conclusion_codes", text="必须与资料中的“结论代码”完全相同")
    if echo.urgency_code != facts.urgency:
        yield Violation(rule="echo", slot="urgency_code", text="必须与资料中的“就诊要求代码”相同")
    wrong = sorted({one.concept_code for one in echo.claims if not is_supported(_as_claim(one), known)})
    if wrong:
        # What a model wrote here is not repeated: it may be anything.
        yield Violation(rule="echo", slot="claims", text=f"有 {len(wrong)} 项不在资料的“可用陈述”中")


def _as_claim(one: EchoedClaim) -> Claim:
    return Claim(concept=one.concept_code, polarity=Polarity(one.polarity), eyes=(one.eye,), voice=Voice(one.source))


def _is_told(concept: str) -> bool:
    return concept not in NOT_A_FINDING or concept == "normal"
