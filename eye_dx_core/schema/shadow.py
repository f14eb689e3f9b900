"""A challenger's word on a case that the champion has read. Nobody acts on it, and no message or report carries it."""

from typing import Self

from pydantic import AwareDatetime, Field, model_validator

from eye_dx_core.schema.diagnosis import AiDiagnosis
from eye_dx_core.schema.frozen import Frozen


class ShadowReading(Frozen):
    """What a challenger said of a case, or what kept it from saying anything."""

    case_id: str
    model_version: str
    checkpoint_sha256: str
    read_at: AwareDatetime
    diagnosis: AiDiagnosis | None = None
    failure: str | None = None
    """Class of the error where the challenger could not read the case."""
    seconds_per_photo: float | None = Field(default=None, ge=0)
    """Of the micro-batch that the case was read in, preparing included; None in the first of a pass, which warms up."""
    champion_seconds_per_photo: float | None = Field(default=None, ge=0)
    """The champion's on the same photographs, read again for this; None where it was not asked."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if (self.diagnosis is None) == (self.failure is None):
            raise ValueError("a shadow reading has a diagnosis or a failure")
        return self
