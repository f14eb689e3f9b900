"""What a Chinese clinical text claims: which finding or number, of which eye, denied or not, and by whose word."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from eye_dx_core.reporting.identifiers import normalise
from eye_dx_core.reporting.lexicon import CONCEPTS, HIGH_IOP, NORMAL, ZONES
from eye_dx_core.schema.case import Laterality
from eye_dx_core.schema.frozen import Frozen

Eyes = tuple[Laterality, ...]
_RIGHT, _LEFT = (Laterality.RIGHT,), (Laterality.LEFT,)


class Polarity(StrEnum):
    """How a finding is stated."""

    STATED = "stated"
    SUSPECTED = "suspected"
    DENIED = "denied"


class Voice(StrEnum):
    """Whose word it is."""

    AI = "ai"
    DOCTOR = "doctor"
    NOBODY = "nobody"


class Claim(Frozen):
    """One claim of a text. `concept` is a key of the lexicon, `zone:<name>` or `<kind>:<number>`; no `eyes` means none was named.

    `words` is how the text put it, for whoever must write it again.
    """

    concept: str
    polarity: Polarity
    eyes: Eyes
    voice: Voice
    words: str = ""

    @property
    def is_number(self) -> bool:
        """Whether it claims a number."""
        return ":" in self.concept and not self.is_zone

    @property
    def is_zone(self) -> bool:
        """Whether it claims a place of the AI's evidence."""
        return self.concept.startswith("zone:")


_NUMERAL = "零一二三四五六七八九"
_UNIT = r"个?月|周|星期|天|日|年|岁|小时|次|度|级|型|期|mmHg|mm|mg|ml|%|D(?![A-Za-z])"
_CUES = {
    "stop": r"[。！？!?\n]",
    "pause": r"[，,；;]|但|而(?!且)",
    "both": r"双眼|两眼|双侧|左右眼|(?<![A-Za-z])OU(?![A-Za-z])",
    "right": r"右眼|右侧|(?<![A-Za-z])OD(?![A-Za-z])",
    "left": r"左眼|左侧|(?<![A-Za-z])OS(?![A-Za-z])",
    "unsided": r"眼别不明",
    "ai": r"(?<![A-Za-z])AI(?![A-Za-z])|人工智能|模型|算法",
    "doctor": r"(?<![需由请以待])医[生师]",
    "evidence": r"证据",
    "acuity": r"视力",
    "confidence": r"置信度|可信度|概率",
}
_NEGATIONS = {
    "hedge_first": r"不(?:能)?(?:完全)?(?:排除|除外)|无法排除",
    "denial": (
        r"未(?![来单])|无(?![法论需])|没有|否认|不支持|不考虑|不符合|并非|不是|不伴|排除|除外"
        r"|不代表|不等于|不意味|不能(?:据此)?(?:认为|视为|说明)"
    ),
    "hedge": r"疑似|可疑|可能|考虑|倾向|待排|待查|警惕",
}
_PATTERN = re.compile(
    "|".join(
        [
            *(f"(?P<{name}>{pattern})" for name, pattern in _CUES.items() if name in ("stop", "pause")),
            *(f"(?P<concept_{number}>{pattern})" for number, pattern in enumerate(CONCEPTS.values())),
            *(f"(?P<{name}>{pattern})" for name, pattern in (_CUES | _NEGATIONS).items() if name not in ("stop", "pause")),
            "(?P<pressure>眼压)",
            f"(?P<zone>{'|'.join(ZONES)})",
            rf"(?P<number>(?<![A-Za-z0-9])\d+(?:[./:-]\d+)*|[{_NUMERAL}十两半]+(?=个?月|周|星期|天|年|岁|小时|次|级|型|期))\s*(?P<unit>{_UNIT})?",
        ]
    ),
    re.IGNORECASE,
)
_CONCEPT_NAMES = tuple(CONCEPTS)
_HEDGED_AFTER = re.compile(r"[（(]?\s*(?:疑似|可疑|可能|待排|待查|待除外|待定|[?？])")
_DENIED_AFTER = re.compile(r"[（(]?\s*(?:阴性|已排除|排除|除外|不成立)")
_VOICE_AFTER = re.compile(rf"^[^。！？\n]*?(?:(?P<ai>{_CUES['ai']})|(?P<doctor>{_CUES['doctor']}))")


@dataclass
class _Context:
    """What the words before have set; a full stop resets all of it, a comma only the negation."""

    eyes: Eyes
    default_eyes: Eyes
    voice: Voice = Voice.NOBODY
    polarity: Polarity = Polarity.STATED
    kind: str = ""
    is_evidence: bool = False
    eye_cues: dict[str, Eyes] = field(default_factory=lambda: {"both": _RIGHT + _LEFT, "right": _RIGHT, "left": _LEFT, "unsided": ()})

    def hear(self, cue: str) -> None:
        """Take in a word that changes how the following is meant."""
        if cue == "stop":
            self.eyes, self.voice, self.kind = self.default_eyes, Voice.NOBODY, ""
        if cue in ("stop", "pause"):
            self.polarity, self.is_evidence = Polarity.STATED, False
        elif cue in self.eye_cues:
            self.eyes = self.eye_cues[cue]
        elif cue in ("ai", "doctor"):
            self.voice = Voice(cue)
        elif cue in ("hedge", "hedge_first"):
            self.polarity = Polarity.SUSPECTED
        elif cue == "denial":
            self.polarity = Polarity.DENIED
        elif cue == "evidence":
            self.is_evidence = True
        elif cue in ("acuity", "confidence", "pressure"):
            self.kind = "iop" if cue == "pressure" else cue


def find_claims(text: str, *, eyes: Eyes = ()) -> tuple[Claim, ...]:
    """Everything the text claims, in its order.

    Args:
        text: Chinese prose; a side, a source or a negation counts for what follows it.
        eyes: whose eyes are meant where the text names none.
    """
    return tuple(_scan(normalise(text), eyes))


def _scan(text: str, eyes: Eyes) -> Iterator[Claim]:
    context = _Context(eyes=eyes, default_eyes=eyes)
    for match in _PATTERN.finditer(text):
        name = match.lastgroup or ""
        if match["number"]:
            yield _claim(_number(match["number"], match["unit"], context.kind), Polarity.STATED, context, match)
        elif name == "zone" and context.is_evidence:
            yield _claim(f"zone:{match.group()}", Polarity.STATED, context, match)
        elif name.startswith("concept_"):
            concept = _CONCEPT_NAMES[int(name.removeprefix("concept_"))]
            if concept == HIGH_IOP:
                context.kind = "iop"
            yield _claim(concept, _polarity_of(concept, context, match.string[match.end() :]), context, match)
        else:
            context.hear(name)


def _claim(concept: str, polarity: Polarity, context: _Context, match: re.Match[str]) -> Claim:
    voice = context.voice
    if voice is Voice.NOBODY and (named := _VOICE_AFTER.match(match.string[match.end() :])):
        voice = Voice.AI if named["ai"] else Voice.DOCTOR
    return Claim(concept=concept, polarity=polarity, eyes=context.eyes, voice=voice, words=match.group())


def _polarity_of(concept: str, context: _Context, after: str) -> Polarity:
    if _DENIED_AFTER.match(after):
        return Polarity.DENIED
    if context.polarity is Polarity.STATED and concept != NORMAL and _HEDGED_AFTER.match(after):
        return Polarity.SUSPECTED
    return context.polarity


def _number(digits: str, unit: str | None, kind: str) -> str:
    """A number with what it counts: `iop:19`, `月:3`, `confidence:87`."""
    value = _value_of(digits)
    if unit == "%":
        return f"confidence:{value}"
    if unit and unit.lower() == "mmhg":
        return f"iop:{value}"
    if unit:
        return f"{unit.removeprefix('个')}:{value}"
    if kind == "confidence" and digits.startswith("0."):
        return f"confidence:{float(digits) * 100:g}"
    return f"{kind or 'number'}:{value}"


def _value_of(digits: str) -> str:
    if re.fullmatch(r"\d+(?:\.\d+)?", digits):
        return f"{float(digits):g}"
    if digits[0].isdigit():
        return digits
    if digits == "半":
        return "0.5"
    tens, _, ones = digits.replace("两", "二").rpartition("十")
    return str((10 * (_NUMERAL.find(tens) if tens else 1) if "十" in digits else 0) + max(_NUMERAL.find(ones), 0))
