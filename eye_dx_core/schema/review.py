"""The doctor's word."""

from collections.abc import Iterable
from enum import StrEnum

from pydantic import AwareDatetime, Field

from eye_dx_core.schema.case import Laterality
from eye_dx_core.schema.condition import LABELS, DrGrade
from eye_dx_core.schema.frozen import Frozen
from eye_dx_core.schema.routing import Urgency


class Ungradable(StrEnum):
    """What is to be done about an eye of which no photograph can be read."""

    RETAKE = "retake"
    REFER = "refer"

    @property
    def name_zh(self) -> str:
        """As it stands in a doctor's conclusion."""
        return {"retake": "照片无法判读，需重新拍摄", "refer": "照片无法判读，建议转诊检查"}[self]

    @property
    def name_en(self) -> str:
        """The same in English."""
        return {"retake": "photograph cannot be read, take it again", "refer": "photograph cannot be read, refer"}[self]


class EyeReview(Frozen):
    """What the doctor confirmed for one eye: chosen labels and free terms, in the doctor's order."""

    eye: Laterality
    features: tuple[str, ...] = ()
    diseases: tuple[str, ...] = ()
    """Free terms: 高度近视 is no label of any model here."""
    labels: tuple[str, ...] = ()
    """Codes of `LABELS` that were chosen at the desk."""
    dr_grade: DrGrade | None = None
    """Where diabetic retinopathy was chosen and graded."""
    ungradable: Ungradable | None = None
    """Nothing is concluded of this eye; it is never normal."""

    @property
    def terms_zh(self) -> tuple[str, ...]:
        """All that the doctor says of this eye, in words."""
        codes = (f"D{self.dr_grade:d}" if code == "D" and self.dr_grade is not None else code for code in self.labels)
        said = (self.ungradable.name_zh,) if self.ungradable else ()
        return (*said, *(LABELS[code].name_zh for code in codes), *self.diseases)


def compose_conclusion(eyes: Iterable[EyeReview]) -> str:
    """The conclusion of a review that was given eye by eye, the right eye first: `右眼：白内障、高度近视；左眼：未见明显异常`."""
    ordered = sorted(eyes, key=lambda one: list(Laterality).index(one.eye))
    return "；".join(f"{one.eye.name_zh}：{'、'.join(one.terms_zh)}" for one in ordered if one.terms_zh)


class DoctorReview(Frozen):
    """A doctor's conclusion on a case, with what the AI had said at that moment.

    `conclusion` is free text (高度近视 is no label of any model here). `doctor_name` is None when the sender does not give it.
    """

    review_id: str
    case_id: str
    conclusion: str = Field(min_length=1)
    doctor_name: str | None = Field(default=None, repr=False)
    recommendation: str = ""
    eyes: tuple[EyeReview, ...] = ()
    urgency: Urgency | None = None
    """How soon the doctor wants the patient seen; None where the way of the review does not ask."""
    urgency_reason: str = ""
    """Why it is less urgent than the AI proposed; asked for at the desk."""
    reviewed_at: AwareDatetime
    source: str
    """By which way the review came: `queue`, `cli`, `desk`."""
    ai_conclusion: str | None = None
    """The AI's label code when the doctor decided; None when the AI had no conclusion."""
    ai_model_version: str | None = None
    blind_eyes: tuple[EyeReview, ...] | None = None
    """What the doctor said before the AI's word was shown; None where it was shown from the start."""
    second_doctor_name: str | None = Field(default=None, repr=False)
    """Who signed as well, where two had to."""

    def says_the_same_as(self, other: "DoctorReview") -> bool:
        """Whether another delivery repeats this review; when it came and what the AI had said by then may differ."""
        same = ("case_id", "conclusion", "doctor_name", "recommendation", "eyes", "urgency")
        return all(getattr(self, field) == getattr(other, field) for field in same)


class Addendum(Frozen):
    """What a doctor adds to a signed case. The signed review stays as it was; the report then counts as amended."""

    addendum_id: str
    case_id: str
    text: str = Field(min_length=1, max_length=2000)
    doctor_name: str = Field(repr=False)
    added_at: AwareDatetime
