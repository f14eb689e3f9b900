"""Train-time variation of whole batches, reproducible from a generator. At test time nothing of this happens."""

import math

import torch
from pydantic import Field
from torch.nn import functional

from eye_dx_core.schema.frozen import Frozen


class Augmentation(Frozen):
    """How far a photograph may be changed without its label becoming wrong.

    No hue: colour tells haemorrhage from exudate from pigment. A mirrored eye is the other eye, which no label speaks of.
    """

    flips: bool = True
    rotation_degrees: float = Field(default=10, ge=0, le=180)
    brightness: float = Field(default=0.15, ge=0, lt=1)
    contrast: float = Field(default=0.15, ge=0, lt=1)
    saturation: float = Field(default=0.15, ge=0, lt=1)


def augment_batch(photos: torch.Tensor, augmentation: Augmentation, generator: torch.Generator) -> torch.Tensor:
    """Photographs (photo, rgb, size, size) in 0 to 1, each changed in its own way; black surroundings stay black."""
    return _recolour(_turn(photos, augmentation, generator), augmentation, generator)


def _turn(photos: torch.Tensor, augmentation: Augmentation, generator: torch.Generator) -> torch.Tensor:
    """Mirror and rotate in one resampling."""
    angles = _spread(photos, math.radians(augmentation.rotation_degrees), generator)
    mirrors = (torch.rand(2, len(photos), generator=generator) < 0.5).to(photos) * -2 + 1
    if not augmentation.flips:
        mirrors = torch.ones_like(mirrors)
    turned = torch.stack([angles.cos() * mirrors[0], -angles.sin() * mirrors[0], angles.sin() * mirrors[1], angles.cos() * mirrors[1]])
    matrices = functional.pad(turned.T.reshape(-1, 2, 2), (0, 1))  # (photo, 2, 3), no shift
    grid = functional.affine_grid(matrices, list(photos.shape), align_corners=False)
    return functional.grid_sample(photos, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def _recolour(photos: torch.Tensor, augmentation: Augmentation, generator: torch.Generator) -> torch.Tensor:
    brightness, contrast, saturation = (
        (1 + _spread(photos, width, generator)).view(-1, 1, 1, 1)
        for width in (augmentation.brightness, augmentation.contrast, augmentation.saturation)
    )
    grey = photos.mean(dim=1, keepdim=True)
    photos = grey + (photos - grey) * saturation
    # Contrast as an exponent, because a stretch around the mean would light up the black surroundings.
    return (photos.clamp(0, 1) ** contrast * brightness).clamp(0, 1)


def _spread(photos: torch.Tensor, width: float, generator: torch.Generator) -> torch.Tensor:
    """One number per photograph between -width and width. Drawn on the CPU, so that every device gets the same."""
    return ((torch.rand(len(photos), generator=generator) * 2 - 1) * width).to(photos)
