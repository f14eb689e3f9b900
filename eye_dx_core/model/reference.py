"""What the training photographs look like to the model, and how far from them another photograph is.

A softmax cannot say "nothing that I know": of a drawing, of a document, of another camera it names the likeliest disease.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields

import torch

from eye_dx_core.errors import BadCheckpoint

UNLIKE_ABOVE = 1.3
"""The distance above which a photograph is answered with `uncertain`. Lower doubts more good photographs, higher fewer odd ones."""
_PREFIX = "reference."


@dataclass(frozen=True)
class Reference:
    """The training photographs as a cloud around each label, all of one shape, by their pooled patch tokens (photo, dim).

    The distance is that of Mahalanobis to the nearest centre (Lee et al., NeurIPS 2018), in units of `unit`. The tokens are
    those before the norm of the head: it takes out how long they are, and with it most of what is odd about a photograph.
    """

    centres: torch.Tensor
    """Mean of the photographs of each label that was learnt, (label, dim)."""
    axes: torch.Tensor
    """Directions in which the photographs of a label differ most, (dim, axis), each of length 1."""
    deviations: torch.Tensor
    """How much they differ along each axis, (axis,)."""
    rest: torch.Tensor
    """How much they differ in every other direction, ()."""
    unit: torch.Tensor
    """Where the farthest hundredth of photographs that were held out begins, ()."""

    def distances(self, pooled: torch.Tensor) -> torch.Tensor:
        """How unlike the training photographs each of some photographs is: (photo, dim) to (photo,)."""
        offsets = pooled.double()[:, None] - self.centres.double()  # (photo, label, dim)
        along = offsets @ self.axes.double()  # (photo, label, axis)
        across = (offsets.square().sum(-1) - along.square().sum(-1)).clamp(min=0)
        squared = (along / self.deviations.double()).square().sum(-1) + across / self.rest.double().square()
        return squared.amin(dim=1).sqrt() / self.unit

    def tensors(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Under the names by which they lie among a checkpoint's weights."""
        return ((f"{_PREFIX}{field.name}", getattr(self, field.name).contiguous()) for field in fields(self))


def take_reference(weights: dict[str, torch.Tensor], *, dim: int) -> Reference | None:
    """Take the reference out of a checkpoint's weights; None in a checkpoint from before there was one.

    Raises:
        BadCheckpoint: there is a part of one, or it is of another width than the model.
    """
    own = {name.removeprefix(_PREFIX): weights.pop(name) for name in list(weights) if name.startswith(_PREFIX)}
    if not own:
        return None
    if own.keys() != {field.name for field in fields(Reference)} or own["centres"].shape[1] != dim:
        raise BadCheckpoint(f"weights do not fit the card: {', '.join(sorted(own))} are no reference of {dim} numbers a photograph")
    return Reference(**own)
