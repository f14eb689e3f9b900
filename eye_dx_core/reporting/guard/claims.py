"""What a clinical text claims: which finding or number, of which eye, denied or not, and by whose word."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from eye_dx_core.reporting.guard import cues
from eye_dx_core.reporting.guard.due import NUMERAL, days_of, due_of, is_span
from eye_dx_core.reporting.guard.lexicon import ABNORMAL, CONCEPTS, HIGH_IOP, LOW_ACUITY, NORMAL, NORMAL_IOP, OPEN_CLASS, ZONES
from eye_dx_core.reporting.identifiers import normalise
from eye_dx_core.schema.case import Laterality
from eye_dx_core.schema.frozen import Frozen

Eyes = tuple[Laterality, ...]
_RIGHT, _LEFT = (Laterality.RIGHT,), (Laterality.LEFT,)
_EYES: dict[str, Eyes] = {"both": _RIGHT + _LEFT, "right": _RIGHT, "left": _LEFT, "unsided": ()}
_FELLOW: dict[Eyes, Eyes] = {_RIGHT: _LEFT, _LEFT: _RIGHT}


class Polarity(StrEnum):
    """How a finding is stated; `UNCLEAR` where negations pile up, which no fact supports."""

    STATED = "stated"
    SUSPECTED = "suspected"
    DENIED = "denied"
    UNCLEAR = "unclear"


class Voice(StrEnum):
    """Whose word it is."""

    AI = "ai"
    DOCTOR = "doctor"
    NOBODY = "nobody"


class Claim(Frozen):
    """One claim of a text. `concept` is a code of the lexicon, `other:<name>`, `zone:<name>` or `<kind>:<number>`.

    No `eyes` means none was named. `qualifier` is a word such as 重度 before the finding. `words` is how the text put it,
    for whoever must write it again.
    """

    concept: str
    polarity: Polarity
    eyes: Eyes
    voice: Voice
    qualifier: str = ""
    words: str = ""

    @property
    def is_number(self) -> bool:
        """Whether it claims a number."""
        return ":" in self.concept and not self.is_zone and not self.concept.startswith("other:")

    @property
    def is_zone(self) -> bool:
        """Whether it claims a place of the AI's evidence."""
        return self.concept.startswith("zone:")


_VOICES = {"ai": Voice.AI, "doctor": Voice.DOCTOR, "jointly": Voice.DOCTOR}
_KINDS = {"acuity": "acuity", "confidence": "confidence", "pressure": "iop"}
_UNIT = r"个?月|周|星期|季度|天|日|年|岁|小时|次|度|级|型|期|倍|mmHg|毫米汞柱|mm|mg|ml|%|D(?![A-Za-z])"
_SPOKEN_UNIT = "个?月|周|星期|季度|天|年|岁|小时|次|级|型|期|倍|毫米汞柱"
_SPOKEN = rf"[{NUMERAL}十百两半]+"
_VAGUE = (
    r"(?:数|几|若干|多)个?(?:天|日|周|月|年)|(?:明|后|次|隔|下个?)(?:天|日|周|星期|月|季度|年)(?!龄)"
    r"|每个?(?:半年|周|星期|月|季度|年)(?![一二两三四五六七八九十\d])"
)
_START = "|".join(f"(?:{one})" for one in (*cues.CUES.values(), *cues.NEGATIONS.values(), cues.PAUSE, cues.FUNCTION_WORDS))
_OTHER = rf"(?:(?!{_START})[\u4e00-\u9fff]){{1,8}}?(?:{OPEN_CLASS})"
_PATTERN = re.compile(
    "|".join(
        [
            f"(?P<stop>{cues.SENTENCE_END})|(?P<pause>{cues.PAUSE})",
            *(f"(?P<concept_{number}>{pattern})" for number, (_, pattern) in enumerate(CONCEPTS)),
            *(f"(?P<{name}>{pattern})" for name, pattern in (cues.CUES | cues.NEGATIONS).items()),
            "(?P<pressure>眼(?:内)?压)",
            f"(?P<zone>{'|'.join(ZONES)})",
            rf"(?P<vague>{_VAGUE})",
            r"(?P<share>百分之[零〇一二三四五六七八九十百点]+|[零〇一二三四五六七八九十]+分之[零〇一二三四五六七八九十]+)",
            rf"(?P<spoken>[{NUMERAL}十]+点[{NUMERAL}]+)",
            rf"(?P<number>(?<![A-Za-z0-9])\d+(?:[./:-]\d+)*|{_SPOKEN}(?=\s*(?:{_SPOKEN_UNIT})))\s*(?P<unit>{_UNIT})?",
            # Taken whole, so that no name of a disease begins in the middle of one.
            f"(?P<skip>{cues.FUNCTION_WORDS})",
            f"(?P<other>{_OTHER})",
        ]
    ),
    re.IGNORECASE,
)
_WHEN = re.compile(r"[^，。；]{0,8}(?:时|的话)")
_GENERIC = re.compile(r"(?:眼底|视网膜|眼部|眼|其它?|相关|严重|潜在|器质性|全身|系统性|基础|慢性|患|疾)*(?:病变|异常|病灶|病)")


@dataclass
class _Context:
    """What the words before have set; a full stop resets all of it, a comma only the negation."""

    eyes: Eyes
    default_eyes: Eyes
    voice: Voice = Voice.NOBODY
    polarity: Polarity = Polarity.STATED
    is_disclaimed: bool = False
    is_conditional: bool = False
    kind: str = ""
    is_evidence: bool = False
    is_fresh_denial: bool = False
    """A denial was heard, and nothing yet that it denies: a second one would turn it round."""

    def hear(self, cue: str) -> None:
        """Take in a word that changes how the following is meant."""
        if cue in ("stop", "pause"):
            self._pause(is_stop=cue == "stop")
        elif cue in _EYES:
            self.eyes = _EYES[cue]
        elif cue == "fellow":
            self.eyes = _FELLOW.get(self.eyes, self.eyes)
        elif cue in _VOICES:
            self.voice = _VOICES[cue]
        elif cue in _KINDS:
            self.kind = _KINDS[cue]
        else:
            self._turn(cue)

    def _pause(self, *, is_stop: bool) -> None:
        if is_stop:
            self.eyes, self.voice, self.kind, self.is_conditional = self.default_eyes, Voice.NOBODY, "", False
        self.polarity, self.is_evidence, self.is_disclaimed, self.is_fresh_denial = Polarity.STATED, False, False, False

    def _turn(self, cue: str) -> None:
        """A negation, a doubt or a condition."""
        if cue in ("hedge", "hedge_first", "denial"):
            plain = Polarity.DENIED if cue == "denial" else Polarity.SUSPECTED
            self.polarity = Polarity.UNCLEAR if self.is_fresh_denial else plain
            self.is_fresh_denial = self.is_fresh_denial or cue == "denial"
        self.is_disclaimed = self.is_disclaimed or cue == "disclaim"
        self.is_conditional = self.is_conditional or cue == "conditional"
        self.is_evidence = self.is_evidence or cue == "evidence"

    def says_nothing_of(self, concept: str, after: str) -> bool:
        """Whether the words leave it open: "does not mean normal", "should your sight get worse", "when it gets worse"."""
        if concept == LOW_ACUITY:
            return self.is_conditional or _WHEN.match(after) is not None
        return self.is_disclaimed and concept in (NORMAL, ABNORMAL)


@lru_cache(maxsize=256)  # one text is read by several rules, and 未单独评估 stands in every report
def find_claims(text: str, *, eyes: Eyes = ()) -> tuple[Claim, ...]:
    """Everything the text claims, in its order.

    Args:
        text: prose; a side, a source or a negation counts for what follows it.
        eyes: whose eyes are meant where the text names none.
    """
    return tuple(_scan(re.sub(r"(?<=[\u4e00-\u9fff])[ \t\u3000]+(?=[\u4e00-\u9fff])", "", normalise(text)), eyes))


def _scan(text: str, eyes: Eyes) -> Iterator[Claim]:
    context = _Context(eyes=eyes, default_eyes=eyes)
    for match in _PATTERN.finditer(text):
        name = match.lastgroup or ""
        name = "number" if name == "unit" else name
        if name in ("number", "spoken", "share", "vague"):
            yield _claim(_counted(name, match, context.kind), Polarity.STATED, context, match)
        elif name == "zone" and context.is_evidence:
            yield _claim(f"zone:{match.group()}", Polarity.STATED, context, match)
        elif name.startswith("concept_") or name == "other":
            concept = _concept(name, match.group())
            if concept in (HIGH_IOP, NORMAL_IOP):
                context.kind = "iop"
            if not context.says_nothing_of(concept, match.string[match.end() :]):
                yield _finding(concept, context, match)
            context.is_fresh_denial = False
        else:
            context.hear(name)


def _concept(name: str, words: str) -> str:
    if name != "other":
        return CONCEPTS[int(name.removeprefix("concept_"))][0]
    return ABNORMAL if _GENERIC.fullmatch(words) else f"other:{words}"


def _finding(concept: str, context: _Context, match: re.Match[str]) -> Claim:
    before, after = match.string[: match.start()], match.string[match.end() :]
    if cues.EXCLUDED_BY_DOCTOR.match(after):
        claim = _claim(concept, Polarity.DENIED, context, match)
        return claim.model_copy(update={"voice": Voice.DOCTOR})
    qualifier = cues.QUALIFIER.search(before)
    return _claim(concept, _polarity_of(concept, context, after), context, match, qualifier[1] if qualifier else "")


def _claim(concept: str, polarity: Polarity, context: _Context, match: re.Match[str], qualifier: str = "") -> Claim:
    voice, after = context.voice, match.string[match.end() :]
    if voice is Voice.NOBODY and (named := cues.VOICE_AFTER.match(after)):
        voice = Voice.AI if named["ai"] else Voice.DOCTOR
    return Claim(
        concept=concept, polarity=polarity, eyes=_eyes_of(context, after), voice=voice, qualifier=qualifier, words=qualifier + match.group()
    )


def _eyes_of(context: _Context, after: str) -> Eyes:
    """The eyes named before; a side in brackets behind goes first, and one later in the clause counts where none came before."""
    named = cues.SIDE_AFTER.match(after) or (None if context.eyes else cues.SIDE_IN_CLAUSE.match(after))
    return _EYES[next(name for name in ("both", "right", "left") if named[name])] if named else context.eyes


def _polarity_of(concept: str, context: _Context, after: str) -> Polarity:
    if context.is_disclaimed:
        return Polarity.UNCLEAR
    if cues.HEDGED_AFTER.match(after) and context.polarity is Polarity.STATED and concept != NORMAL:
        return Polarity.SUSPECTED
    if cues.DENIED_AFTER.match(after) and not cues.HEDGED_AFTER.match(after):
        return Polarity.DENIED if context.polarity is Polarity.STATED else Polarity.UNCLEAR
    return context.polarity


def _counted(name: str, match: re.Match[str], kind: str) -> str:
    """A number with what it counts: `iop:19`, `after:91`, `confidence:87`; a vague one stays its own words."""
    if name == "vague":
        return f"vague:{match.group()}"
    if name == "share":
        return _share(match.group())
    if name == "spoken":
        whole, _, part = match.group().partition("点")
        value = f"{float(_value_of(whole) + '.' + ''.join(str(_digit(one)) for one in part)):g}"
        return f"{kind or 'number'}:{value}"
    return _number(match["number"], match["unit"], kind, (match.string[: match.start()], match.string[match.end() :]))


def _share(words: str) -> str:
    number = words.removeprefix("百分之")
    return f"confidence:{_value_of(number)}" if words != number and "点" not in number else f"share:{words}"


def _number(digits: str, unit: str | None, kind: str, around: tuple[str, str]) -> str:
    value = _value_of(digits)
    if unit == "%":
        return f"confidence:{value}"
    if unit and unit.lower() in ("mmhg", "毫米汞柱"):
        return f"iop:{value}"
    if unit and is_span(unit) and re.fullmatch(r"[\d.]+", value):
        days = days_of(value, unit)
        return due_of(around[0], days, around[1]) or f"{unit.removeprefix('个')}:{value}"
    if unit:
        return f"{unit.removeprefix('个')}:{value}"
    if kind == "confidence" and digits.startswith("0."):
        return f"confidence:{float(digits) * 100:g}"
    return f"{kind or 'number'}:{value}"


def _value_of(digits: str) -> str:
    if re.fullmatch(r"\d+(?:\.\d+)?", digits):
        return f"{float(digits):g}"
    if digits[0].isdigit() or "百" in digits:
        return digits
    if digits == "半":
        return "0.5"
    tens, _, ones = digits.replace("两", "二").replace("半", "").rpartition("十")
    return str((10 * (_digit(tens[-1]) if tens else 1) if "十" in digits else 0) + (_digit(ones[-1]) if ones else 0))


def _digit(numeral: str) -> int:
    return max(NUMERAL.replace("〇", "").find(numeral), 0)
