"""What a report must and must not say: deterministic checks of a narrative against the facts of its case."""

import re
from collections.abc import Iterable, Iterator

from eye_dx_core.reporting.claims import Claim, Voice, find_claims
from eye_dx_core.reporting.facts import EYES, EyeFacts, LlmFacts
from eye_dx_core.reporting.identifiers import has_identifier, normalise
from eye_dx_core.reporting.lexicon import ASSESSABLE, NORMAL, NORMAL_DETAILS, NOT_ASSESSED, UNCERTAIN
from eye_dx_core.reporting.narrative import ReportNarrative
from eye_dx_core.reporting.support import is_supported, known_claims
from eye_dx_core.schema.case import Laterality
from eye_dx_core.schema.diagnosis import Outcome
from eye_dx_core.schema.frozen import Frozen
from eye_dx_core.schema.report import EyeFindings


class Violation(Frozen):
    """A broken rule: its code for counting, where it was broken, and a sentence for whoever writes again."""

    rule: str
    slot: str
    text: str


_LENGTHS = {"retina": 200, "macula": 200, "optic_disc": 200, "vessels": 200, "opinion": 1000, "advice": 600}
_LATIN_ALLOWED = re.compile(r"(?<![A-Za-z])(?:AI|OD|OS|OU|mmHg)(?![A-Za-z])")
_OTHER_EYE = {Laterality.RIGHT: re.compile(r"左|双眼|两眼|\bO[SU]\b"), Laterality.LEFT: re.compile(r"右|双眼|两眼|\bO[DU]\b")}
_SAYS_NOT_ASSESSED = re.compile(r"未(?:单独|能)?评估")

_NEVER = (
    ("markup", re.compile(r"https?:|www\.|<[^>]*>|\*\*|`|\{\{|\}\}|^\s*#|\]\(", re.MULTILINE), "不得含有网址或标记符号"),
    ("placeholder", re.compile(r"某某|X{2,}|姓名|\[[^\]]*\]|【[^】]*】|_{2,}", re.IGNORECASE), "不得含有占位符或姓名栏"),
)
_ONLY_IF_THE_DOCTOR_WROTE_IT = (
    (
        "unperformed_exam",
        re.compile(
            r"OCTA?|光学相干|超声|B超|造影|FF?A(?![a-z])|ICGA|视野|电生理|ERG|裂隙灯|房角|验光|自发荧光|CT|磁共振|MRI", re.IGNORECASE
        ),
        "没有做过的检查",
    ),
    (
        "treatment",
        re.compile(
            r"单抗|西普|VEGF|地塞米松|曲安奈德|前列素|布林佐胺|噻吗洛尔|毛果芸香碱|阿托品|甲钴胺|叶黄素|羟苯磺酸钙|维生素|胰岛素|二甲双胍"
            r"|滴眼|眼药|眼膏|口服|静滴|注射|用药|服药|停药|药物|激光|光凝|手术|毫克|\d\s*m[gl]",
            re.IGNORECASE,
        ),
        "药物、剂量或治疗",
    ),
    (
        "certainty",
        re.compile(r"确诊|一定|必然|必定|保证|肯定|毫无疑问|绝对|百分之百|100\s*%|治愈|根治|痊愈|恢复正常"),
        "绝对化或预后承诺的用语",
    ),
    ("false_comfort", re.compile(r"(?:无需|无须|不必|不用|不需要?)(?:再)?(?:复查|就医|就诊|随访|担心|治疗)|放心"), "削弱随访的用语"),
)


def violations(narrative: ReportNarrative, facts: LlmFacts) -> tuple[Violation, ...]:
    """Every rule that the narrative breaks; none for a text that only repeats what is known."""
    if tuple(one.eye for one in narrative.findings) != EYES:
        return (Violation(rule="shape", slot="findings", text="必须按右眼、左眼的顺序各写一份检查所见"),)
    known = known_claims(facts)
    found: list[Violation] = []
    for eye, findings in zip(facts.eyes, narrative.findings, strict=True):
        for structure, text in _slots(findings):
            found += _of_text(f"{eye.eye}.{structure}", text, facts)
            found += _of_findings(structure, text, eye, facts, known)
    for slot, text in (("opinion", narrative.opinion), ("advice", narrative.advice)):
        found += _of_text(slot, text, facts)
        found += _of_claims(slot, find_claims(text), known)
    return (*found, *_unsaid(narrative, facts))


def identifier_violations(narrative: ReportNarrative, identifiers: Iterable[re.Pattern[str]]) -> tuple[Violation, ...]:
    """Where the narrative names the patient, the doctor or the case; facts cannot tell, they do not hold the names."""
    patterns = tuple(identifiers)
    texts = [(f"{one.eye}.{slot}", text) for one in narrative.findings for slot, text in _slots(one)]
    texts += [("opinion", narrative.opinion), ("advice", narrative.advice)]
    return tuple(_identifier(slot) for slot, text in texts if has_identifier(text, patterns))


def _slots(findings: EyeFindings) -> tuple[tuple[str, str], ...]:
    return (
        ("retina", findings.retina),
        ("macula", findings.macula),
        ("optic_disc", findings.optic_disc),
        ("vessels", findings.vessels),
    )


def _identifier(slot: str) -> Violation:
    return Violation(rule="identifier", slot=slot, text="不得出现姓名、电话、证件号、编号或邮箱")


def _of_text(slot: str, text: str, facts: LlmFacts) -> Iterator[Violation]:
    """Rules on the wording alone."""
    text, doctors = normalise(text), normalise(_doctors_words(facts))
    longest = _LENGTHS[slot.rpartition(".")[2]]
    if not 2 <= len(text) <= longest:
        yield Violation(rule="length", slot=slot, text=f"长度须为 2 至 {longest} 字")
    if _chinese_share(text, doctors) < 0.9:
        yield Violation(rule="language", slot=slot, text="须用中文书写")
    if has_identifier(text):
        yield _identifier(slot)
    for rule, pattern, why in _NEVER:
        if pattern.search(text):
            yield Violation(rule=rule, slot=slot, text=why)
    rest = _without(text, (problem for ai in (facts.right.ai, facts.left.ai, *facts.unsided) for problem in ai.photo_problems))
    for rule, pattern, why in _ONLY_IF_THE_DOCTOR_WROTE_IT:
        for word in sorted({match.group() for match in pattern.finditer(rest)}):
            if word not in doctors:
                yield Violation(rule=rule, slot=slot, text=f"医生没有写过{why}：{word}")


def _without(text: str, phrases: Iterable[str]) -> str:
    """The text without what is wrong with the photographs: 视野不完整 is no perimetry."""
    for phrase in phrases:
        text = text.replace(phrase, "")
    return text


def _chinese_share(text: str, doctors: str) -> float:
    """Share of characters that are not Latin letters; what the doctor wrote in Latin letters is not held against it."""
    foreign = [word for word in re.findall(r"[A-Za-z]+", _LATIN_ALLOWED.sub("", text)) if word not in doctors]
    return 1 - sum(map(len, foreign)) / max(len(text), 1)


def _doctors_words(facts: LlmFacts) -> str:
    terms = [term for eye in facts.eyes for term in (*eye.features, *eye.diseases)]
    return "\n".join((facts.doctor_conclusion, facts.doctor_recommendation, *terms))


def _of_findings(structure: str, text: str, eye: EyeFacts, facts: LlmFacts, known: Iterable[Claim]) -> Iterator[Violation]:
    """Rules on the findings of one eye: its own eye only, and no structure called normal that nobody looked at."""
    slot = f"{eye.eye}.{structure}"
    if _OTHER_EYE[eye.eye].search(text):
        yield Violation(rule="side", slot=slot, text=f"此处只写{eye.eye.name_zh}")
    other = facts.left if eye is facts.right else facts.right
    own_terms, foreign_terms = {*eye.features, *eye.diseases}, {*other.features, *other.diseases}
    for term in sorted(foreign_terms - own_terms):
        if term in text and not any(term in own for own in own_terms) and term not in facts.doctor_conclusion:
            yield Violation(rule="side", slot=slot, text=f"这是另一只眼的所见：{term}")
    claims = find_claims(text, eyes=(eye.eye,))
    if not claims and not any(term in text for term in own_terms) and not _SAYS_NOT_ASSESSED.search(text):
        yield Violation(rule="says_nothing", slot=slot, text="没有依据时须写“未单独评估”")
    if eye.ai.outcome is Outcome.NOT_ASSESSED and not eye.has_doctors_words and not _SAYS_NOT_ASSESSED.search(text):
        yield Violation(rule="assessment", slot=slot, text="该眼未评估，须写“未评估”")
    if structure != "retina" and any(one.concept == NORMAL and one.voice is Voice.AI for one in claims):
        yield Violation(rule="invented_normal", slot=slot, text="AI 只对整只眼给出判读，不能写成该结构正常")
    # "不单独评估" of a structure claims nothing about the eye as a whole.
    yield from _of_claims(slot, [one for one in claims if one.concept != NOT_ASSESSED or eye.ai.outcome is not Outcome.ASSESSED], known)


def _of_claims(slot: str, claims: Iterable[Claim], known: Iterable[Claim]) -> Iterator[Violation]:
    for claim in dict.fromkeys(claims):
        if not is_supported(claim, known):
            yield Violation(rule=_rule_of(claim, known), slot=slot, text=_explanation(claim))


def _rule_of(claim: Claim, known: Iterable[Claim]) -> str:
    if claim.is_number:
        return "number"
    if claim.is_zone:
        return "area"
    if claim.concept in (NOT_ASSESSED, ASSESSABLE, UNCERTAIN):
        return "assessment"
    if claim.concept == NORMAL or claim.concept in NORMAL_DETAILS:
        return "invented_normal"
    same = [one for one in known if one.concept == claim.concept]
    if not same:
        return "unknown_finding"
    return "side" if any(is_supported(claim.model_copy(update={"eyes": one.eyes}), known) for one in same) else "polarity"


def _explanation(claim: Claim) -> str:
    where = "、".join(eye.name_zh for eye in claim.eyes) or "全文"
    return f"资料不支持（{where}）：{claim.words}；只有 AI 提示过的须注明是 AI 提示"


def _unsaid(narrative: ReportNarrative, facts: LlmFacts) -> Iterator[Violation]:
    """What must be said: an eye without a reading is named as such, or its silence would be read as health."""
    claims = find_claims(narrative.opinion)
    for eye in facts.eyes:
        needed = {Outcome.NOT_ASSESSED: NOT_ASSESSED, Outcome.UNCERTAIN: UNCERTAIN}.get(eye.ai.outcome)
        if needed and not any(one.concept == needed and eye.eye in (one.eyes or EYES) for one in claims):
            yield Violation(rule="assessment", slot="opinion", text=f"须说明{eye.eye.name_zh}的 AI 判读为未能评估或不确定")
