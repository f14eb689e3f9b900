"""How soon a text wants a patient seen: intervals in days, and words that weigh as much as one of the urgencies."""

import re

from eye_dx_core.schema.routing import Urgency

NUMERAL = "零〇一二三四五六七八九"
_DAYS_PER_UNIT = {"天": 1, "日": 1, "周": 7, "星期": 7, "月": 365 / 12, "季度": 365 / 4, "年": 365}
_AFTER = re.compile(r"\s*(?:左右|内|以内|之内|后|之后|以后|一次|1次|复查|随访|就诊|复诊|回诊|检查|再)")
_EVERY = re.compile(r"每隔?$")
_WITHIN = re.compile(r"\s*(?:左右)?(?:之|以)?内|\s*within", re.IGNORECASE)

# What a sentence says of how soon, the most urgent first; a word that the doctor did not write and that is weaker is refused.
_SAID = (
    (Urgency.SAME_DAY, re.compile(r"特急|当[天日]|今[天日]|立[即刻]|马上|急诊|即刻|same day|immediately", re.IGNORECASE)),
    (Urgency.URGENT, re.compile(r"紧急|尽快|尽速|从速|加急|urgent|as soon as possible", re.IGNORECASE)),
    (Urgency.SOON, re.compile(r"尽早|及早|早日|soon", re.IGNORECASE)),
    (Urgency.ROUTINE, re.compile(r"常规(?:转诊|就诊|预约|门诊)|按预约|择期|routine referral", re.IGNORECASE)),
    (Urgency.EARLY_RECALL, re.compile(r"提前复查|early recall", re.IGNORECASE)),
    (Urgency.RECALL, re.compile(r"(?:常规|例行)(?:随访|复查|体检)|年度(?:复查|体检)|每年(?:复查|体检)|年检|routine recall", re.IGNORECASE)),
)
SOFTENERS = re.compile(
    r"择期|有空|得空|方便(?:的)?时|不(?:着|必|用)?急|从容|暂(?:缓|不|可|时不)|缓一?缓|观察即可|定期观察|继续观察|密切观察即可|先观察|等等|延[后期迟]"
    r"|推[迟后]|晚一?[些点]|更晚|改期|不来|稍后|慢慢|不(?:太)?要紧|无急|没什么大|可以?不(?:去|用|必|处理|复查|就)|自行(?:恢复|缓解|观察)|体检时|以后(?=到|去|再|来|就|复)|至少[^，。；]{0,6}后|不早于"
)
CONDITIONAL = re.compile(
    r"如(?:果|有|出现|发生|突|遇|感|发现|伴|视|症|若)|若|一旦|倘若|假如|万一|出现[^。]{0,30}(?:时|请|应)|\bif\b", re.IGNORECASE
)
_SENTENCE = re.compile(r"[^。！？!?；;\n]+")


def days_of(value: str, unit: str) -> int:
    """A span in days: 12 months are as long as a year."""
    return round(float(value) * _DAYS_PER_UNIT[unit.removeprefix("个")])


def is_span(unit: str | None) -> bool:
    """Whether a number of this unit is a span of time."""
    return bool(unit) and (unit or "").removeprefix("个") in _DAYS_PER_UNIT


def due_of(before: str, days: int, after: str) -> str | None:
    """`within:91`, `after:91` or `every:91` where a span says when somebody is to come; None where it says something else."""
    if _EVERY.search(before):
        return f"every:{days}"
    if not _AFTER.match(after):
        return None
    return f"within:{days}" if _WITHIN.match(after) else f"after:{days}"


def unconditional(text: str) -> tuple[str, ...]:
    """The sentences that hold for this patient as things are; "if you see flashes, come at once" says nothing about today."""
    return tuple(one.group() for one in _SENTENCE.finditer(text) if not CONDITIONAL.search(one.group()))


def urgencies_in(text: str) -> tuple[tuple[Urgency, str], ...]:
    """Every urgency that the text speaks of unconditionally, with the word that does."""
    return tuple((urgency, one.group()) for sentence in unconditional(text) for urgency, said in _SAID for one in said.finditer(sentence))
