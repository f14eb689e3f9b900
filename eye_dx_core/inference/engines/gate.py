"""Whether an engine may speak for the model: held against single precision on photographs that neither has learnt from."""

from pydantic import Field

from eye_dx_core.schema.frozen import Frozen

LEAST_AGREEMENT, MOST_ECE_CHANGE, LEAST_PHOTOGRAPHS = 0.995, 0.005, 20


class Gate(Frozen):
    """How far an engine is from the model in single precision."""

    photographs: int = Field(ge=0)
    agreement: float = Field(ge=0, le=1)
    """Share of the photographs with the same likeliest label."""
    ece_change: float = Field(ge=0)
    """By how much the expected calibration error is another one, up or down."""

    @property
    def refusal(self) -> str | None:
        """Why the engine may not read, with figures; None when it may."""
        if self.photographs < LEAST_PHOTOGRAPHS:
            return f"{self.photographs} photographs for calibration are too few to tell: {LEAST_PHOTOGRAPHS} are needed"
        if self.agreement < LEAST_AGREEMENT:
            return (
                f"the likeliest label is the same for {self.agreement:.2%} of {self.photographs} photographs, under {LEAST_AGREEMENT:.1%}"
            )
        if self.ece_change > MOST_ECE_CHANGE:
            return f"the calibration error moves by {self.ece_change:.4f}, over {MOST_ECE_CHANGE}"
        return None
