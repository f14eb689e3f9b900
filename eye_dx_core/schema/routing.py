"""Who should see a patient and how soon, by which rule, and where the rule comes from."""

from enum import StrEnum

from pydantic import ConfigDict, Field

from eye_dx_core.schema.case import Laterality
from eye_dx_core.schema.frozen import Frozen


class Urgency(StrEnum):
    """How soon; least urgent first."""

    RECALL = "recall"
    EARLY_RECALL = "early_recall"
    ROUTINE = "routine"
    SOON = "soon"
    URGENT = "urgent"
    SAME_DAY = "same_day"

    @property
    def rank(self) -> int:
        """Higher is more urgent."""
        return list(Urgency).index(self)

    @property
    def days(self) -> tuple[int, int]:
        """The fewest and the most days within which somebody of this urgency is seen."""
        return _DAYS[self]

    @property
    def review_hours(self) -> int:
        """Hours after a message came within which a doctor should have reviewed it: a rule of this house, no published standard."""
        return _REVIEW_HOURS[self]

    @property
    def name_zh(self) -> str:
        """The urgency as it stands in a Chinese report."""
        return _NAMES[self][0]

    @property
    def name_en(self) -> str:
        """The urgency in English."""
        return _NAMES[self][1]


# The spans touch and never cross, so that the earliest interval of several rules is that of the most urgent one.
_DAYS = {
    Urgency.SAME_DAY: (0, 0), Urgency.URGENT: (1, 14), Urgency.SOON: (15, 28), Urgency.ROUTINE: (29, 91),
    Urgency.EARLY_RECALL: (92, 365), Urgency.RECALL: (365, 730),
}  # fmt: skip
_REVIEW_HOURS = {
    Urgency.SAME_DAY: 2, Urgency.URGENT: 24, Urgency.SOON: 72, Urgency.ROUTINE: 168, Urgency.EARLY_RECALL: 336, Urgency.RECALL: 336,
}  # fmt: skip
_NAMES = {
    Urgency.RECALL: ("常规复查", "routine recall"), Urgency.EARLY_RECALL: ("提前复查", "early recall"),
    Urgency.ROUTINE: ("常规转诊", "routine referral"), Urgency.SOON: ("尽早就诊", "soon"),
    Urgency.URGENT: ("紧急", "urgent"), Urgency.SAME_DAY: ("特急", "emergency"),
}  # fmt: skip


IOP_IMPLAUSIBLE, ACUITY_IMPLAUSIBLE = "iop_implausible", "acuity_implausible"
"""Rules by which a measurement is told and not used."""


NOT_SIGNED_ZH = "转诊规则尚未经临床负责人签署"
NOT_SIGNED_EN = "no clinical owner has signed the routing rules yet"


class Subject(StrEnum):
    """What a reason rests on."""

    PHOTOGRAPH = "photograph"
    MEASUREMENT = "measurement"


class RoutingReason(Frozen):
    """One rule that applies, what made it apply, and where it comes from."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    rule: str
    """Id of the rule in the rules file: a label code, or such as `not_assessed` and `iop_urgent`."""
    subject: Subject
    """Whether it rests on a photograph or on a measurement in the chair."""
    eye: Laterality | None
    """OD = right eye, OS = left eye; null when it is about both or nothing says which."""
    urgency: Urgency
    """How urgent the rule calls it."""
    within_days: int = Field(ge=0)
    """Days within which the rule wants the patient seen; 0 is the same day."""
    icd10: str | None
    """ICD-10 code (WHO) of what is suspected or examined; null where the rule is about a measurement that cannot be right."""
    zh: str
    """What was found and what to do, in Chinese, as a patient can read it."""
    en: str
    """The same in English."""
    source: str
    """Where the rule comes from."""


class Routing(Frozen):
    """How soon the AI proposes that somebody is seen. It is a proposal: what counts is what the doctor says."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    urgency: Urgency
    """The most urgent of the reasons: recall, early_recall, routine, soon, urgent or same_day."""
    within_days: int = Field(ge=0)
    """The shortest interval of the reasons, in days; 0 is the same day."""
    icd10: tuple[str, ...]
    """ICD-10 codes (WHO) of the reasons, without repeats."""
    reasons: tuple[RoutingReason, ...] = Field(min_length=1)
    """Every rule that applies, the most urgent first."""
    rules_signed_by: str | None
    """Who in the clinic answers for the rules; null while nobody has signed them."""

    @property
    def interval_zh(self) -> str:
        """The interval in Chinese: 当天, 2 周内, 12 个月内."""
        return interval_words(self.within_days)[0]

    @property
    def interval_en(self) -> str:
        """The interval in English."""
        return interval_words(self.within_days)[1]

    def of(self, subject: Subject) -> tuple[RoutingReason, ...]:
        """The reasons that rest on photographs, or those that rest on measurements."""
        return tuple(one for one in self.reasons if one.subject is subject)


def interval_words(days: int) -> tuple[str, str]:
    """Days as people say them, in Chinese and English."""
    if days == 0:
        return "当天", "the same day"
    if days > Urgency.ROUTINE.days[1]:
        months = round(days * 12 / 365)
        return f"{months} 个月内", f"within {months} months"
    if days % 7:
        return f"{days} 天内", f"within {days} days"
    return f"{days // 7} 周内", f"within {days // 7} weeks"
