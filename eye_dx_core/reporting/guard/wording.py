"""What the words of a text give away on their own: language, length, markup, examinations, drugs, promises, identifiers."""

import re
from collections.abc import Iterable, Iterator

from eye_dx_core.reporting.facts import LlmFacts
from eye_dx_core.reporting.guard.due import unconditional
from eye_dx_core.reporting.guard.forbidden import COURSE, NEVER, ONLY_IF_THE_DOCTOR_WROTE_IT, TRADITIONAL, UNPERFORMED_EXAM
from eye_dx_core.reporting.guard.violation import Violation
from eye_dx_core.reporting.identifiers import has_identifier, normalise

_LENGTHS = {"retina": 200, "macula": 200, "optic_disc": 200, "vessels": 200, "opinion": 1000, "advice": 600}
_LATIN_ALLOWED = re.compile(r"(?<![A-Za-z])(?:AI|OD|OS|OU|mmHg)(?![A-Za-z])", re.IGNORECASE)
# Abbreviations that Chinese reports use; whether the finding is true is for the claims to say.
_MEDICAL = re.compile(r"(?<![A-Za-z])(?:AMD|ARMD|DR|NPDR|PDR|CSC|RVO|BRVO|CRVO|RP|C|D|A|V)(?![A-Za-z])")
_PLAIN = re.compile(r"[\u4e00-\u9fffA-Za-z0-9\s，。、；：？！“”‘’（）《》〈〉—…·,.;:?!'\"()%/~±<>=≤≥×+\-–～％﹪「」『』［］℃°^*]")
_WISH = re.compile(r"建议|请|需|必要时|完善|进一步|待|预约|拟行|可行")
_DONE = re.compile(r"完成|已|显示|提示|可见|未见|结果|示(?=[\u4e00-\u9fff])")
_PLACED = re.compile(
    r"(?:位于|分布于|集中于|局限于|发生于|出现于|起自)[^，。；]{0,6}?(视盘|黄斑|周边|颞[上下]?|鼻[侧上下]|后极|中心凹|上方|下方)"
)
_CLAUSE = re.compile(r"[^，。；！？!?;\n]+")


def wording_violations(slot: str, text: str, facts: LlmFacts) -> Iterator[Violation]:
    """Rules on the wording alone; what the doctor wrote may be repeated."""
    text, doctors = normalise(text), normalise(doctors_words(facts))
    yield from _of_form(slot, text, doctors)
    if has_identifier(text):
        yield identifier_violation(slot)
    for rule, pattern, why in NEVER:
        if any(match.group() not in doctors for match in pattern.finditer(text)):
            yield Violation(rule=rule, slot=slot, text=why)
    rest = _without(text, (problem for ai in (facts.right.ai, facts.left.ai, *facts.unsided) for problem in ai.photo_problems))
    for rule, pattern, why in ONLY_IF_THE_DOCTOR_WROTE_IT:
        for word in _found(pattern, rest):
            if word not in doctors:
                yield Violation(rule=rule, slot=slot, text=f"医生没有写过{why}：{word}")
    for word in _found(COURSE, "。".join(unconditional(rest))):
        if word not in doctors:
            yield Violation(rule="course", slot=slot, text=f"资料中没有病情变化：{word}")
    yield from _of_examinations(slot, rest, facts)
    yield from _of_places(slot, text, facts)


def doctors_words(facts: LlmFacts) -> str:
    """All that the doctor wrote or chose."""
    terms = [term for eye in facts.eyes for term in (*eye.features, *eye.diseases, eye.ungradable or "")]
    return "\n".join((facts.doctor_conclusion, facts.doctor_recommendation, *terms))


def identifier_violation(slot: str) -> Violation:
    """An identifier stands in a slot."""
    return Violation(rule="identifier", slot=slot, text="不得出现姓名、电话、证件号、编号或邮箱")


def _of_form(slot: str, text: str, doctors: str) -> Iterator[Violation]:
    longest = _LENGTHS[slot.rpartition(".")[2]]
    if not 2 <= len(text) <= longest:
        yield Violation(rule="length", slot=slot, text=f"长度须为 2 至 {longest} 字")
    foreign = [word for word in re.findall(r"[A-Za-z]+", _MEDICAL.sub("", _LATIN_ALLOWED.sub("", text))) if word not in doctors]
    share = 1 - sum(map(len, foreign)) / max(len(text), 1)
    if share < 0.9 or any(len(word) > 2 for word in foreign) or any(one in TRADITIONAL and one not in doctors for one in text):
        yield Violation(rule="language", slot=slot, text="须用简体中文书写，不夹外文词")
    if any(not _PLAIN.fullmatch(one) and one not in doctors for one in text):
        yield Violation(rule="markup", slot=slot, text="不得含有特殊符号")


def _of_places(slot: str, text: str, facts: LlmFacts) -> Iterator[Violation]:
    """Where something lies is for the doctor's words and the AI's evidence to say."""
    areas = (area for ai in (facts.right.ai, facts.left.ai, *facts.unsided) for area in ai.areas)
    places = "".join((normalise(doctors_words(facts)), *areas))
    for match in _PLACED.finditer(text):
        if match[1] not in places:
            yield Violation(rule="area", slot=slot, text=f"资料没有这一部位：{match[1]}")


def _of_examinations(slot: str, text: str, facts: LlmFacts) -> Iterator[Violation]:
    """An examination that the doctor only asks for may be asked for, and is not done."""
    done, asked = _examinations(facts)
    for clause in _CLAUSE.findall(text):
        for word in _found(UNPERFORMED_EXAM, clause):
            if word not in done and not (word in asked and _is_wish(clause)):
                yield Violation(rule="unperformed_exam", slot=slot, text=f"医生没有写过没有做过的检查：{word}")


def _examinations(facts: LlmFacts) -> tuple[set[str], set[str]]:
    """Examinations that the doctor writes about as done, and those that are recommended."""
    done: set[str] = set()
    asked: set[str] = set()
    for clause in _CLAUSE.findall(normalise(doctors_words(facts))):
        is_wish = _is_wish(clause) and clause in normalise(facts.doctor_recommendation)
        (asked if is_wish else done).update(_found(UNPERFORMED_EXAM, clause))
    return done, asked


def _is_wish(clause: str) -> bool:
    return _WISH.search(clause) is not None and _DONE.search(clause) is None


def _found(pattern: re.Pattern[str], text: str) -> list[str]:
    return sorted({match.group() for match in pattern.finditer(text)})


def _without(text: str, phrases: Iterable[str]) -> str:
    """The text without what is wrong with the photographs: 视野不完整 is no perimetry."""
    for phrase in phrases:
        text = text.replace(phrase, "")
    return text
