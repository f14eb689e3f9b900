"""What a report must and must not say: plain checks of a text against the facts, each with a code."""

import re

from eye_dx_core.reporting.facts import EyeFacts, LlmFacts
from eye_dx_core.reporting.narrative import ReportNarrative
from eye_dx_core.schema.case import Laterality
from eye_dx_core.schema.diagnosis import Outcome

_FORBIDDEN = {
    "unperformed_exam": r"OCT|超声|B超|造影|视野检查|电生理|\bFFA\b|\bCT\b|MRI",
    "certainty": r"确诊|保证|100\s*%|百分之百|一定会|肯定是|绝对",
    "medication": r"雷珠单抗|阿柏西普|康柏西普|贝伐|滴眼液|阿托品|毛果芸香碱|口服|注射|\d+\s*(?:mg|毫克|滴|片|ml)\b",
    "markup": r"https?://|</?[a-z]+|\*\*|```|\{\{|\}\}",
    "identifier": r"1[3-9]\d{9}|[1-9]\d{16}[\dXx]|姓名|电话|手机",
}

# Diseases by the words a report may use for them.
_LEXICON = {
    "amd": ("黄斑变性", "AMD", "玻璃膜疣"), "cataract": ("白内障", "晶状体混浊", "晶体混浊"), "csc": ("浆液性", "中浆", "CSC"),
    "dr": ("糖尿病视网膜", "糖网", "微血管瘤", "增殖性视网膜", "DR"), "glaucoma": ("青光眼", "杯盘比增大", "杯盘比扩大"),
    "rp": ("视网膜色素变性", "骨细胞样"), "rvo": ("静脉阻塞", "RVO"), "myopia": ("近视",), "detachment": ("视网膜脱离", "网脱"),
    "optic_neuropathy": ("视神经病变", "视神经萎缩"), "macular_hole": ("黄斑裂孔",), "bleeding": ("玻璃体积血",),
}  # fmt: skip
_NEGATIONS = ("未见", "未发现", "无明显", "未提示", "排除", "不支持", "不考虑", "没有", "无")
_NORMAL_WORDS = re.compile(r"(?:未见(?:明显)?异常|大致正常|基本正常|正常)")
_SIDES = {Laterality.RIGHT: ("左眼", "OS"), Laterality.LEFT: ("右眼", "OD")}


def violations(narrative: ReportNarrative, facts: LlmFacts) -> tuple[str, ...]:
    """Codes of the rules that a text breaks, in a fixed order; empty when it may be delivered."""
    texts = {one.eye: " ".join((one.retina, one.macula, one.optic_disc, one.vessels)) for one in narrative.findings}
    whole = " ".join((*texts.values(), narrative.opinion, narrative.advice))
    broken = [code for code, pattern in _FORBIDDEN.items() if re.search(pattern, _without_facts(whole, facts), re.IGNORECASE)]
    if not _is_chinese(whole):
        broken.append("language")
    if set(texts) != set(Laterality):
        broken.append("eyes")
    by_eye = {one.eye: one for one in facts.eyes}
    for eye, text in texts.items():
        broken += _broken_by_eye(text, eye, by_eye[eye], facts)
    broken += _broken_by_diseases(f"{narrative.opinion} {narrative.advice}", _known_diseases(facts.eyes, facts), "opinion")
    if facts.doctor_conclusion not in narrative.opinion:
        broken.append("doctor_conclusion_missing")
    if not _numbers(whole) <= _allowed_numbers(facts):
        broken.append("number")
    return tuple(dict.fromkeys(broken))


def _broken_by_eye(text: str, eye: Laterality, known: EyeFacts, facts: LlmFacts) -> list[str]:
    broken = ["side"] if any(word in text for word in (*_SIDES[eye], "双眼", "OU")) else []
    if known.outcome is Outcome.NOT_ASSESSED and not known.doctor_features and _NORMAL_WORDS.search(text):
        broken.append("normal_without_assessment")
    return broken + _broken_by_diseases(text, _known_diseases((known,), facts), "finding")


def _broken_by_diseases(text: str, known: set[str], where: str) -> list[str]:
    """A disease that is stated and unknown, or known to the doctor and denied."""
    broken: list[str] = []
    for disease, words in _LEXICON.items():
        for word in words:
            for match in re.finditer(re.escape(word), text):
                is_denied = text[max(0, match.start() - 8) : match.start()].rstrip().endswith(_NEGATIONS)
                if is_denied and disease in known:
                    broken.append(f"{where}_denies_{disease}")
                if not is_denied and disease not in known:
                    broken.append(f"{where}_adds_{disease}")
    return broken


def _known_diseases(eyes: tuple[EyeFacts, ...], facts: LlmFacts) -> set[str]:
    """Diseases that the AI named for these eyes or the doctor named anywhere."""
    said = [facts.doctor_conclusion, facts.doctor_recommendation]
    said += [text for one in eyes for text in (one.ai_conclusion, *one.doctor_diseases, *one.doctor_features)]
    named = " ".join(said)
    return {disease for disease, words in _LEXICON.items() if any(word in named for word in words)}


def _without_facts(text: str, facts: LlmFacts) -> str:
    """The text without the doctor's own words, which are placed verbatim and may say what a model may not."""
    own = [facts.doctor_conclusion, facts.doctor_recommendation]
    own += [term for one in facts.eyes for term in (*one.doctor_features, *one.doctor_diseases)]
    for words in sorted(filter(None, own), key=len, reverse=True):
        text = text.replace(words, "")
    return text


def _is_chinese(text: str) -> bool:
    """At least two of three letters are Chinese; terms such as AI and mmHg are expected."""
    letters = [one for one in text if one.isalpha()]
    return bool(letters) and sum("\u4e00" <= one <= "\u9fff" for one in letters) >= 2 / 3 * len(letters)


def _numbers(text: str) -> set[float]:
    return {float(one) for one in re.findall(r"\d+(?:\.\d+)?", text)}


def _allowed_numbers(facts: LlmFacts) -> set[float]:
    """Numbers of the facts, confidences also as percentages, and 21 mmHg, the limit that the advice names."""
    allowed = _numbers(facts.model_dump_json()) | {21.0}
    return allowed | {round(one.confidence * 100, 2) for one in facts.eyes if one.confidence is not None}
