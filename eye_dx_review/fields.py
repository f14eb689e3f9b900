"""The review form as a browser sends it."""

from pydantic import BaseModel, Field, ValidationError

from eye_dx_core.reviewing.signing import EyeForm, ReviewForm


class ReviewFields(BaseModel):
    """Every field may be missing or odd: it is a draft until it is signed."""

    version: int = Field(default=0, ge=0)
    right_labels: list[str] = []
    right_grade: str = ""
    right_other: str = ""
    right_ungradable: str = ""
    left_labels: list[str] = []
    left_grade: str = ""
    left_other: str = ""
    left_ungradable: str = ""
    urgency: str = ""
    urgency_reason: str = ""
    recommendation: str = ""

    def to_form(self) -> ReviewForm:
        """What was filled in.

        Raises:
            ValueError: a choice is none that the page offers, or a text is too long.
        """
        try:
            return ReviewForm(
                right=_eye(self.right_labels, self.right_grade, self.right_other, self.right_ungradable),
                left=_eye(self.left_labels, self.left_grade, self.left_other, self.left_ungradable),
                urgency=self.urgency or None,  # pyright: ignore[reportArgumentType] - checked by the model
                urgency_reason=self.urgency_reason,
                recommendation=self.recommendation,
            )
        except ValidationError as error:
            raise ValueError(f"{error.error_count()} fields are no choice of the page") from None


def _eye(labels: list[str], grade: str, other: str, ungradable: str) -> EyeForm:
    said = {"labels": labels, "dr_grade": grade or None, "other": other, "ungradable": ungradable or None}
    return EyeForm.model_validate(said | ({"dr_grade": int(grade)} if grade.isdecimal() else {}))
