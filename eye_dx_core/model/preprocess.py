"""From square photographs to what the model sees: the same in training and in the clinic, and stored in the checkpoint."""

from typing import Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator

from eye_dx_core.errors import BadSettings
from eye_dx_core.schema.frozen import Frozen


class Preprocess(Frozen):
    """How a photograph becomes model input. `crop` names the step before this one: the field of view, padded to a square."""

    size: int = Field(ge=16, le=2048)
    patch: int = Field(ge=1)
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    crop: Literal["field_of_view"] = "field_of_view"

    @model_validator(mode="after")
    def _sees_every_pixel(self) -> Self:
        check_size(self.size, self.patch)
        return self

    def to_batch(self, squares: NDArray[np.uint8]) -> torch.Tensor:
        """Squares (photo, size, size, rgb) in 0 to 255 to a normalised batch (photo, rgb, size, size)."""
        return self.normalise(to_unit(squares))

    def normalise(self, photos: torch.Tensor) -> torch.Tensor:
        """Photographs (photo, rgb, size, size) in 0 to 1 to the range that the trunk was trained on."""
        mean, std = (photos.new_tensor(values).view(1, 3, 1, 1) for values in (self.mean, self.std))
        return (photos - mean) / std


def to_unit(squares: NDArray[np.uint8]) -> torch.Tensor:
    """Squares (photo, size, size, rgb) in 0 to 255 to photographs (photo, rgb, size, size) in 0 to 1."""
    # The copy lets squares be a read-only memory map.
    return torch.from_numpy(squares.astype(np.float32)).permute(0, 3, 1, 2).contiguous() / 255


def check_size(size: int, patch: int) -> None:
    """Refuse a size that patches do not tile.

    Raises:
        BadSettings: naming the two sizes next to it that work.
    """
    if size % patch == 0:
        return
    below = size // patch * patch
    unseen = 1 - (below / size) ** 2
    raise BadSettings(
        f"photographs of {size} pixels are no multiple of the patch of {patch}: {unseen:.1%} of each would never be seen; "
        f"take {below} or {below + patch}"
    )
