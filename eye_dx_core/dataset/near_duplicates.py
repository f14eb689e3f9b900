"""The same photograph again, under another name: flipped, rotated, re-encoded, resized, brightened.

A 64-bit perceptual hash does not survive a rotation. Here the picture is sampled on rings around the middle of its field of
view: a rotation becomes a shift along the rings, a mirror image their reversal, and the best of all shifts is one Fourier
transform away. Magnitudes of the transform ignore both and tell quickly which pairs are worth that look.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter, map_coordinates

from eye_dx_core.dataset.field_of_view import FieldOfView
from eye_dx_core.dataset.photo import Rgb

Rings = NDArray[np.float32]

_RINGS, _ANGLES, _SIDE = 24, 128, 160
_FULL_CONTRAST = 0.06
"""Contrast to the surroundings that counts in full, so that the disc, which every eye has, does not outweigh the vessels."""
_NOISE = 2.5
"""Detail of a photograph that shows next to nothing. Sharp ones have 6 to 14, through a dense cataract it is 1 to 5: of those
no two can be told apart, so none may be called alike."""
_WORTH_A_LOOK = 0.4
_BLOCK = 512


def sample_rings(rgb: Rgb, field: FieldOfView) -> Rings:
    """What the photograph shows on rings around the middle of its field: (ring, angle), of length 1 if it shows much.

    Vessels and lesions in green light, relative to what is around them, so that exposure and vignetting do not matter.
    """
    left, top, side = round(field.center_x - field.radius), round(field.center_y - field.radius), round(2 * field.radius)
    box = (left, top, left + side, top + side)
    square = np.asarray(Image.fromarray(rgb).crop(box).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC, reducing_gap=2.0), dtype=np.float32)
    brightest = square.max(axis=2)
    lit = (brightest > max(12.0, 0.18 * float(np.percentile(brightest, 95)))).astype(np.float32)
    around = _mean_of_lit(square[..., 1], lit, 5)
    detail = np.clip((_mean_of_lit(square[..., 1], lit, 1) - around) / (around + 8) * lit, -_FULL_CONTRAST, _FULL_CONTRAST)
    radius = (np.arange(_RINGS)[:, None] + 1) / _RINGS * 0.85 * _SIDE / 2
    angle = np.arange(_ANGLES) / _ANGLES * 2 * np.pi
    middle = _SIDE / 2 - 0.5
    rings = map_coordinates(detail, [middle + radius * np.sin(angle), middle + radius * np.cos(angle)], order=1)
    # An outer ring stands for more of the picture than an inner one.
    rings = (rings - rings.mean(axis=1, keepdims=True)) * np.sqrt(radius)
    return (rings / float(np.hypot(np.linalg.norm(rings), _NOISE))).astype(np.float32)


def similarity(one: Rings, other: Rings) -> float:
    """Correlation under the best rotation and mirroring: 0.8 to 1 for a copy, around 0.1 for another eye."""
    return float(_best_correlations(one, other[None])[0])


def find_look_alikes(rings: Sequence[Rings], *, at_least: float) -> Iterator[tuple[int, int, float]]:
    """Pairs of positions whose similarity is `at_least`, with it. All pairs are considered, block by block."""
    if len(rings) < 2:
        return
    everything = np.stack(rings)
    outlines = _outlines(everything)
    # What a few photographs have in common is no measure of what all have: then every pair is looked at.
    floor = _WORTH_A_LOOK if len(rings) > _BLOCK else -1.0
    for start in range(0, len(rings), _BLOCK):
        near = outlines[start : start + _BLOCK] @ outlines[start:].T > floor
        for row, candidates in enumerate(near):
            others = start + np.flatnonzero(candidates)
            others = others[others > start + row]
            if len(others):
                found = _best_correlations(everything[start + row], everything[others])
                yield from ((start + row, int(other), float(one)) for other, one in zip(others, found, strict=True) if one >= at_least)


def _mean_of_lit(values: NDArray[np.float32], lit: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    return np.asarray(gaussian_filter(values * lit, sigma) / (gaussian_filter(lit, sigma) + 1e-3), dtype=np.float32)


def _outlines(rings: NDArray[np.float32]) -> NDArray[np.float32]:
    """What neither rotation nor mirroring changes, (photo, feature): how strong each frequency is on each ring."""
    strengths = np.abs(np.fft.rfft(rings, axis=2))[:, :, 1:33].reshape(len(rings), _RINGS, 16, 2).mean(axis=3)
    flat = strengths.reshape(len(rings), -1)
    flat = flat - flat.mean(axis=0)  # what every fundus has in common tells nothing
    return (flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)).astype(np.float32)


def _best_correlations(one: Rings, others: NDArray[np.float32]) -> NDArray[np.floating]:
    spectrum = np.fft.rfft(one, axis=1).conj()
    seen = [
        np.fft.irfft((spectrum * np.fft.rfft(turned, axis=2)).sum(axis=1), n=_ANGLES, axis=1) for turned in (others, others[:, :, ::-1])
    ]
    return np.maximum(seen[0].max(axis=1), seen[1].max(axis=1))
