"""Whether what a text claims is what the facts say: findings, sides, places, numbers, and what must not be passed over."""

from collections.abc import Iterable, Iterator, Sequence

from eye_dx_core.reporting.facts import EYES, EyeFacts, LlmFacts
from eye_dx_core.reporting.guard.claims import Claim, Polarity, Voice, find_claims
from eye_dx_core.reporting.guard.lexicon import ASSESSABLE, NORMAL, NORMAL_DETAILS, NORMAL_IOP, NOT_ASSESSED, UNCERTAIN
from eye_dx_core.reporting.guard.support import is_supported
from eye_dx_core.reporting.guard.violation import Violation
from eye_dx_core.schema.diagnosis import Outcome

_SAYS_NOT_ASSESSED = ("未评估", "未单独评估", "未能评估", "未被评估")
_CONCLUSION_IS_THE_DOCTORS = ("医生结论", "医生的结论", "医生审核结论", "医生最终结论", "医生诊断")
_RULE_OF_CONCEPT = dict.fromkeys((NOT_ASSESSED, ASSESSABLE, UNCERTAIN), "assessment") | dict.fromkeys(
    (NORMAL, NORMAL_IOP, *NORMAL_DETAILS), "invented_normal"
)
_SIDES = {
    "OD": ("左", "双眼", "两眼", "双侧", "OS", "OU", "对侧", "另一"),
    "OS": ("右", "双眼", "两眼", "双侧", "OD", "OU", "对侧", "另一"),
}


def finding_violations(structure: str, text: str, eye: EyeFacts, facts: LlmFacts, known: Sequence[Claim]) -> Iterator[Violation]:
    """Rules on the findings of one eye: its own eye only, and no structure called normal that nobody looked at."""
    slot = f"{eye.eye}.{structure}"
    if any(word in text.upper() for word in _SIDES[eye.eye]):
        yield Violation(rule="side", slot=slot, text=f"此处只写{eye.eye.name_zh}")
    yield from _foreign_terms(slot, text, eye, facts)
    claims = find_claims(text, eyes=(eye.eye,))
    is_silent = any(word in text for word in _SAYS_NOT_ASSESSED)
    if not claims and not is_silent and not any(term in text for term in (*eye.features, *eye.diseases)):
        yield Violation(rule="says_nothing", slot=slot, text="没有依据时须写“未单独评估”")
    if eye.is_unread and not is_silent:
        yield Violation(rule="assessment", slot=slot, text="该眼未评估，须写“未评估”")
    if structure != "retina" and any(one.concept == NORMAL and one.voice is Voice.AI for one in claims):
        yield Violation(rule="invented_normal", slot=slot, text="AI 只对整只眼给出判读，不能写成该结构正常")
    # "未单独评估" of a structure claims nothing about the eye as a whole.
    is_read = eye.ai.outcome is Outcome.ASSESSED and eye.ungradable is None
    yield from claim_violations(slot, [one for one in claims if one.concept != NOT_ASSESSED or not is_read], known)


def claim_violations(slot: str, claims: Iterable[Claim], known: Sequence[Claim]) -> Iterator[Violation]:
    """Every claim that nothing known carries."""
    for claim in dict.fromkeys(claims):
        if not is_supported(claim, known):
            yield Violation(rule=_rule_of(claim, known), slot=slot, text=_explanation(claim))


def silence_violations(opinion: str, facts: LlmFacts) -> Iterator[Violation]:
    """What must be said: an eye without a reading is named as such, or its silence would be read as health; and the doctor's word."""
    claims = find_claims(opinion)
    for eye in facts.eyes:
        needed = NOT_ASSESSED if eye.ungradable else {Outcome.NOT_ASSESSED: NOT_ASSESSED, Outcome.UNCERTAIN: UNCERTAIN}.get(eye.ai.outcome)
        if needed and not any(one.concept == needed and eye.eye in (one.eyes or EYES) for one in claims):
            yield Violation(rule="assessment", slot="opinion", text=f"须说明{eye.eye.name_zh}未能评估或不确定")
    said = {one.concept for one in claims if one.polarity is not Polarity.DENIED}
    if not any(word in opinion for word in _CONCLUSION_IS_THE_DOCTORS) and not said.issuperset(facts.conclusion_codes):
        yield Violation(rule="omission", slot="opinion", text="须写出医生结论的全部内容，或写明以医生结论为准")


def _foreign_terms(slot: str, text: str, eye: EyeFacts, facts: LlmFacts) -> Iterator[Violation]:
    """A term of the other eye that no row of the lexicon need know."""
    other = facts.left if eye is facts.right else facts.right
    own = {*eye.features, *eye.diseases}
    for term in sorted({*other.features, *other.diseases} - own):
        if term in text and not any(term in one for one in own) and not find_claims(term):
            yield Violation(rule="side", slot=slot, text=f"这是另一只眼的所见：{term}")


def _rule_of(claim: Claim, known: Sequence[Claim]) -> str:
    if claim.is_number:
        return "number"
    if claim.is_zone:
        return "area"
    if claim.concept in _RULE_OF_CONCEPT:
        return _RULE_OF_CONCEPT[claim.concept]
    return _rule_of_finding(claim, [one for one in known if one.concept == claim.concept], known)


def _rule_of_finding(claim: Claim, same: Sequence[Claim], known: Sequence[Claim]) -> str:
    if not same:
        return "unknown_finding"
    if claim.qualifier and is_supported(claim.model_copy(update={"qualifier": ""}), known):
        return "severity"
    return "side" if any(is_supported(claim.model_copy(update={"eyes": one.eyes}), known) for one in same) else "polarity"


def _explanation(claim: Claim) -> str:
    where = "、".join(eye.name_zh for eye in claim.eyes) or "全文"
    return f"资料不支持（{where}）：{claim.words}；只有 AI 提示过的须注明是 AI 提示"
