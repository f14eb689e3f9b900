"""The doctor's word."""

from pydantic import AwareDatetime, Field

from eye_dx_core.schema.case import Laterality
from eye_dx_core.schema.frozen import Frozen


class EyeReview(Frozen):
    """What the doctor confirmed for one eye: free terms, in the doctor's order."""

    eye: Laterality
    features: tuple[str, ...] = ()
    diseases: tuple[str, ...] = ()


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
    reviewed_at: AwareDatetime
    source: str
    """By which way the review came: `queue`, `cli`."""
    ai_conclusion: str | None = None
    """The AI's label code when the doctor decided; None when the AI had no conclusion."""
    ai_model_version: str | None = None

    def says_the_same_as(self, other: "DoctorReview") -> bool:
        """Whether another delivery repeats this review; when it came and what the AI had said by then may differ."""
        same = ("case_id", "conclusion", "doctor_name", "recommendation", "eyes")
        return all(getattr(self, field) == getattr(other, field) for field in same)
