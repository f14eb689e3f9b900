"""The writer that needs no language model: plain Chinese from what is known, and 未评估 where nothing is."""

import re
from collections.abc import Sequence

from eye_dx_core.reporting.facts import AiFacts, EyeFacts, LlmFacts
from eye_dx_core.reporting.narrative import ReportNarrative
from eye_dx_core.schema.case import Laterality
from eye_dx_core.schema.diagnosis import Outcome, Zone
from eye_dx_core.schema.report import EyeFindings
from eye_dx_core.schema.routing import Urgency

TEMPLATE = "template/1"
IOP_LIMIT_MMHG = 21
"""Above this an intraocular pressure is commonly called high; the doctor judges it."""
LOWEST_IOP_MMHG = 10
"""Below this nobody should read that the pressure is in the usual range."""

_HOW_SOON = {
    Urgency.SAME_DAY: "医生评定为特急：请当天到医院眼科就诊。",
    Urgency.URGENT: "医生评定为紧急：请尽快到医院眼科就诊。",
    Urgency.SOON: "医生评定为尽早就诊：请尽早到医院眼科就诊。",
    Urgency.ROUTINE: "医生评定为常规转诊：请按预约到眼科就诊。",
    Urgency.EARLY_RECALL: "医生评定为提前复查：请按医生给出的时间提前复查。",
    Urgency.RECALL: "医生评定为常规复查。",
}
"""The doctor's urgency as advice. Without an interval: that one is in the doctor's own recommendation, and two would be mixed up."""

_STRUCTURES = ("retina", "macula", "optic_disc", "vessels")
_ZONE_STRUCTURE = {Zone.MACULA.name_zh: "macula", Zone.DISC.name_zh: "optic_disc"}
_TERM_STRUCTURE = (
    ("optic_disc", re.compile(r"视盘|视乳头|盘沿|杯盘|视杯|视神经|青光眼|C/D")),
    ("macula", re.compile(r"黄斑|中心凹|中浆|中心性浆液|玻璃膜疣|AMD|CSC", re.IGNORECASE)),
    ("retina", re.compile(r"微动脉瘤|微血管瘤|新生血管")),
    ("vessels", re.compile(r"血管|动脉|静脉|动静脉|A/V|RVO", re.IGNORECASE)),
)


def write_by_template(facts: LlmFacts) -> ReportNarrative:
    """Phrase the facts. A structure that neither doctor nor AI evidence speaks of is never called normal."""
    return ReportNarrative(
        findings=tuple(_findings(eye) for eye in facts.eyes),
        opinion="".join(
            (
                _measured(facts),
                _ai_opinion(facts),
                _unread_by_doctor(facts),
                f"经医生审核，结论为“{facts.doctor_conclusion.rstrip('。')}”。",
            )
        ),
        advice=_advice(facts),
    )


def _findings(eye: EyeFacts) -> EyeFindings:
    retina, macula, optic_disc, vessels = (_structure(eye, name) for name in _STRUCTURES)
    return EyeFindings(eye=eye.eye, retina=retina, macula=macula, optic_disc=optic_disc, vessels=vessels)


def _structure(eye: EyeFacts, structure: str) -> str:
    terms = [term for term in dict.fromkeys((*eye.features, *eye.diseases)) if structure_of(term) == structure]
    confirmed = f"医生确认：{'、'.join(terms)}。" if terms else ""
    said = confirmed + _ai_evidence(eye.ai, structure)
    if eye.ungradable:
        return f"未评估（医生：{eye.ungradable}）。{said}"
    return said or _not_assessed(eye)


def structure_of(term: str) -> str:
    """Under which structure a doctor's term stands; under the retina where nothing says another."""
    return next((structure for structure, pattern in _TERM_STRUCTURE if pattern.search(term)), "retina")


def _ai_evidence(ai: AiFacts, structure: str) -> str:
    """What the AI has to say on one structure; what is not tied to a place stands under the retina."""
    areas = [area for area in ai.areas if _ZONE_STRUCTURE.get(area, "retina") == structure]
    if areas:
        return f"AI 判读证据位于{'、'.join(areas)}，提示{ai.conclusion}，仅供参考。"
    if structure != "retina" or ai.areas or ai.outcome is Outcome.NOT_ASSESSED:
        return ""
    if ai.outcome is Outcome.UNCERTAIN:
        return "AI 判读结果不确定，需医生判读。"
    return f"AI 判读：{ai.conclusion}，仅供参考。"


def _not_assessed(eye: EyeFacts) -> str:
    if eye.ai.outcome is not Outcome.NOT_ASSESSED or eye.has_doctors_words:
        return "未单独评估。"
    return "未评估（照片不能判读）。" if eye.ai.has_photo else "未评估（没有该眼的照片）。"


def _measured(facts: LlmFacts) -> str:
    acuity = [f"{eye.eye.name_zh} {eye.acuity_decimal:g}" for eye in facts.eyes if eye.acuity_decimal is not None]
    pressure = [f"{eye.eye.name_zh} {eye.iop_mmhg:g} mmHg" for eye in facts.eyes if eye.iop_mmhg is not None]
    high = [eye.eye for eye in facts.eyes if (eye.iop_mmhg or 0) > IOP_LIMIT_MMHG]
    text = f"视力：{'，'.join(acuity)}。" if acuity else ""
    text += f"眼压：{'，'.join(pressure)}。" if pressure else ""
    text += f"{_names(high)}眼压高于常用参考范围，请医生结合临床评估。" if high else ""
    return text + "".join(doubt for eye in facts.eyes for doubt in eye.measurement_doubts)


def _ai_opinion(facts: LlmFacts) -> str:
    """What the AI said of each eye, marked as the AI's."""
    words = [f"{eye.eye.name_zh}{_ai_words(eye.ai)}" for eye in facts.eyes]
    words += [f"眼别不明的照片{_ai_words(ai)}" for ai in facts.unsided]
    return f"AI 辅助判读：{'；'.join(words)}。AI 提示仅供参考，以医生结论为准。"


def _unread_by_doctor(facts: LlmFacts) -> str:
    return "".join(f"{eye.eye.name_zh}照片医生无法判读，不代表正常。" for eye in facts.eyes if eye.ungradable)


def _ai_words(ai: AiFacts) -> str:
    if not ai.has_photo:
        return "没有照片，未评估"
    if ai.outcome is Outcome.NOT_ASSESSED:
        return f"照片未能评估{_in_brackets(ai.photo_problems)}，不代表正常"
    details = [ai.doubt] if ai.doubt else []
    details += [f"置信度 {ai.confidence_percent}%"] if ai.confidence_percent is not None else []
    details += [f"证据区域：{'、'.join(ai.areas)}"] if ai.areas else []
    word = "结果不确定" if ai.outcome is Outcome.UNCERTAIN else f"提示{ai.conclusion}"
    return word + _in_brackets((*details, *ai.photo_problems))


def _in_brackets(details: Sequence[str]) -> str:
    return f"（{'，'.join(details)}）" if details else ""


def _advice(facts: LlmFacts) -> str:
    """What follows from the state of the examination; the doctor's own recommendation stands beside it verbatim."""
    sentences = [_HOW_SOON[facts.urgency]] if facts.urgency else []
    sentences += ["请按照医生的建议随访和复查。" if facts.doctor_recommendation.strip() else "复查安排请咨询就诊医生。"]
    retake = [eye.eye for eye in facts.eyes if eye.ai.outcome is Outcome.NOT_ASSESSED and eye.ungradable is None]
    if retake:
        sentences.append(f"{_names(retake)}未能评估，不代表正常，建议重新拍摄眼底照片。")
    uncertain = [eye.eye for eye in facts.eyes if eye.ai.outcome is Outcome.UNCERTAIN]
    if uncertain:
        sentences.append(f"{_names(uncertain)}的 AI 结果不确定，以医生判读为准。")
    sentences.append("如出现视力突然下降、视物变形、眼前黑影增多、闪光感或眼痛，请尽快到医院眼科就诊。")
    return "".join(sentences)


def _names(eyes: list[Laterality]) -> str:
    return "双眼" if len(eyes) == 2 else eyes[0].name_zh
