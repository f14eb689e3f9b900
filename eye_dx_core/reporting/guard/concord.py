"""Whether a text may say that AI and doctor agree, or that they differ."""

import re
from collections.abc import Iterator, Sequence

from eye_dx_core.reporting.facts import LlmFacts
from eye_dx_core.reporting.guard.claims import Claim, Polarity, Voice, find_claims
from eye_dx_core.reporting.guard.lexicon import ABNORMAL, everything_said_by
from eye_dx_core.reporting.guard.support import is_supported
from eye_dx_core.reporting.guard.violation import Violation
from eye_dx_core.reporting.identifiers import normalise
from eye_dx_core.schema.diagnosis import Outcome

_AI = r"(?:AI|人工智能|模型|算法|系统)"
_IT = rf"(?:{_AI}|该|此|这一|上述|其)"
_AGREES = "同意|认同|采纳|支持|赞同|认可|证实|印证|确认"
_NOT = r"(?P<not>不|未|没有|并未|并不)?"
_SAID = (
    re.compile(rf"医[生师][^，。；]{{0,4}}?{_NOT}(?:{_AGREES})了?[^，。；]{{0,2}}{_IT}"),
    re.compile(rf"(?:医[生师][^。；]{{0,12}}(?:与|和|同|跟)[^。；]{{0,6}}{_AI}|{_AI}[^。；]{{0,16}}(?:与|和|同|跟)[^，。；]{{0,4}}医[生师])[^。；]{{0,14}}?{_NOT}(?:完全)?(?:一致|相符|吻合|相同|符合)"),
    re.compile(rf"{_AI}[^。；]{{0,24}}?{_NOT}(?:被|得到|经|获|获得|已|为)[^，。；]{{0,2}}医[生师][^，。；]{{0,3}}(?:{_AGREES})(?!为|结论|诊断|：)"),
    re.compile(rf"{_AI}[^。；]{{0,30}}医[生师][^，。；]{{0,4}}?{_NOT}(?:予以)?(?:{_AGREES})(?=[。；，！]|$)"),
)  # fmt: skip
_BLAMED = re.compile(rf"医[生师][^。；]{{0,10}}{_AI}[^，。；]{{0,8}}(?:错误|有误|不准|不对|误判|误报|漏)")
_DISMISSED = re.compile(r"医[生师][^，。；]{0,10}(?:排除|否定|除外|推翻)")
_VAGUE_SIDE = re.compile(
    r"(?:左眼|右眼|对侧眼?|另一?(?:只)?眼|双眼|两眼)[^，。；]{0,4}(?:亦然|同上|同样|相同|类似|如此|一样|亦有|也有|亦同|如上|同前|相似)"
    r"|(?:同|如)(?:左|右)(?:眼|侧)?(?=[，。；]|$)|以上(?:双眼|两眼)"
)
_COMPARED = re.compile(
    r"(?P<one>[左右])眼?[^左右，。；]{0,6}(?:(?P<less>低于|差于|不如|不及)|(?P<more>高于|优于|好于|强于)|(?P<worse>重于|轻于|比))[^左右，。；]{0,4}(?P<than>[左右])"
)
_RETAKE = re.compile(r"(?:重新?|再次?|补)(?:拍|照|摄)")
_SENTENCE = re.compile(r"[^。！？；\n]+")


def concord_violations(slot: str, text: str, facts: LlmFacts, known: Sequence[Claim]) -> Iterator[Violation]:
    """Sentences that bring AI and doctor together, or one eye and the other, otherwise than the facts do."""
    for sentence in _SENTENCE.findall(normalise(text)):
        if _VAGUE_SIDE.search(sentence):
            yield Violation(rule="side", slot=slot, text="每只眼须各自写明，不得写“同上”“亦然”")
        if not _is_compared_rightly(sentence, facts):
            yield Violation(rule="side", slot=slot, text="两眼的比较与资料不符")
        if not _is_retaken_rightly(sentence, facts):
            yield Violation(rule="side", slot=slot, text="只有未能评估、不确定或照片有问题的眼需要重新拍摄")
        said = next((one for pattern in _SAID if (one := pattern.search(sentence))), None)
        if said and (said["not"] is None) != _agree(find_claims(sentence), facts, known):
            yield Violation(rule="agreement", slot=slot, text="医生与 AI 是否一致与资料不符")
        if _BLAMED.search(sentence):
            yield Violation(rule="agreement", slot=slot, text="医生没有评价 AI 的对错")
        if _DISMISSED.search(sentence) and not _denied_by_doctor(sentence, known):
            yield Violation(rule="agreement", slot=slot, text="医生没有写过排除")


def _agree(claims: Sequence[Claim], facts: LlmFacts, known: Sequence[Claim]) -> bool:
    """Whether the doctor states what the AI says: of the findings in the sentence, or of both eyes where it names none."""
    findings = [one for one in claims if not (one.is_number or one.is_zone) and one.polarity in (Polarity.STATED, Polarity.SUSPECTED)]
    of_ai = [one for one in findings if one.voice is Voice.AI] or _all_of_ai(facts)
    doubtful = any(eye.ai.outcome is not Outcome.ASSESSED for eye in facts.eyes) and not findings
    return not doubtful and all(
        is_supported(one.model_copy(update={"voice": Voice.DOCTOR, "polarity": Polarity.SUSPECTED, "qualifier": ""}), known)
        for one in of_ai
    )


def _all_of_ai(facts: LlmFacts) -> list[Claim]:
    return [one for eye in facts.eyes if eye.ai.outcome is Outcome.ASSESSED for one in find_claims(eye.ai.conclusion, eyes=(eye.eye,))]


def _denied_by_doctor(sentence: str, known: Sequence[Claim]) -> bool:
    """Whether the doctor denied something that the sentence speaks of."""
    spoken = {concept for one in find_claims(sentence) for concept in everything_said_by(one.concept) if concept != ABNORMAL}
    return any(one.voice is Voice.DOCTOR and one.polarity is Polarity.DENIED and one.concept in spoken for one in known)


def _is_compared_rightly(sentence: str, facts: LlmFacts) -> bool:
    """Whether "the right eye sees less than the left" is so; what no measurement can decide is not compared."""
    found = _COMPARED.search(sentence)
    if found is None:
        return True
    name = "iop_mmhg" if "压" in sentence else "acuity_decimal"
    values = {"右": getattr(facts.right, name), "左": getattr(facts.left, name)}
    one, than = values[found["one"]], values[found["than"]]
    if found["worse"] or found["one"] == found["than"] or one is None or than is None:
        return False
    return one < than if found["less"] else one > than


def _is_retaken_rightly(sentence: str, facts: LlmFacts) -> bool:
    """Whether only an eye is photographed again of which there is no good photograph; the doctor may ask for any."""
    if not _RETAKE.search(sentence):
        return True
    doctors = normalise(f"{facts.doctor_conclusion}{facts.doctor_recommendation}")
    named = [eye for eye in facts.eyes if eye.eye.name_zh in sentence or "双眼" in sentence or "两眼" in sentence]
    return all(
        eye.is_unread or eye.ai.outcome is not Outcome.ASSESSED or eye.ai.photo_problems or f"{eye.eye.name_zh}重" in doctors
        for eye in named
    )
