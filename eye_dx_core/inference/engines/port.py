"""What the reading of photographs needs of whatever computes the forward pass."""

from dataclasses import dataclass
from typing import Protocol

import torch

from eye_dx_core.inference.evidence import Tokens
from eye_dx_core.schema.engine import EngineName


@dataclass(frozen=True)
class Answer:
    """What the model says of a batch, on the CPU and in single precision."""

    logits: torch.Tensor
    """(photo, class)."""
    pooled: torch.Tensor
    """The mean of the patch tokens, before the norm of the head: (photo, dim)."""
    tokens: Tokens | None = None
    """What the evidence is found in, as the engine has it; None where it keeps nothing of the way."""


class Engine(Protocol):
    """One model, ready to read. What it says of a photograph does not depend on the batch, beyond the last digits."""

    @property
    def name(self) -> EngineName:
        """Which engine it is."""
        ...

    def read(self, batch: torch.Tensor) -> Answer:
        """Read a normalised batch (photo, rgb, size, size) of single precision, of any number of photographs."""
        ...
