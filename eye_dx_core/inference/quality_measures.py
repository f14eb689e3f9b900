"""What is measured of a photograph before anybody reads it, on a square of its own fixed size: no threshold depends on the model."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import binary_opening, gaussian_filter, label, minimum_filter

from eye_dx_core.dataset.field_of_view import FieldOfView, crop_to_field
from eye_dx_core.dataset.photo import Rgb

WORKING_SIZE = 288
"""Side of the square that is measured. The field's radius is 128 of its pixels, and a rim of what lies around the field is seen."""
_MARGIN = WORKING_SIZE / 256
_LIT, _SECTORS, _RIM_PARTS = 15.0, 8, 48
_TOO_FEW = 500
"""Pixels of lit retina below which nothing is said of detail."""

Plane = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Measures:
    """Inside the field of view, each from 0 to 1 or a ratio unless it says otherwise. `local` is relative to a blur of 12 pixels."""

    pixels_across: float
    """Pixels of the file across the field."""
    framed: float
    """Share of the disc that lies inside the picture."""
    lit: float
    """Share of that which is not black."""
    brightness: float
    """Mean of the brightest channel."""
    clipped: float
    """Share where red and green are at their end."""
    evenness: float
    """The darkest of nine parts (a centre and eight sectors) by the brightest."""
    sharpness: float
    """Spread of green at the scale of small vessels (blurs of 1.6 to 3.2 pixels) by that at the scale of large ones (to 5.5)."""
    vessels: float
    """Strength of the dark lines: the second derivative across a line of 2.6 pixels that 5 % of the field exceed, in local contrast."""
    contrast: float
    """How far the brightest hundredth is above the darkest at the scale of the optic disc, in local contrast."""
    texture: float
    """Spread of the local contrast of green."""
    noise: float
    """Its standard deviation from pixel to pixel, in local contrast; what it adds to sharpness and vessels is taken off them."""
    obstruction: float
    """Share of dark but not black patches, in red light, that reach in from the rim. Blood and vessels are bright in red."""
    colour: float
    """Mean difference of the brightest and the darkest channel, by the brightest; 0 is grey."""
    warmth: float
    """Red by green."""
    fundus_hue: float
    """Share where red is not under green, nor green under blue."""
    bluish: float
    """Share where blue is the brightest channel."""
    rim: float
    """Share of the circle at which the picture steps from the field to a darker or clearly different surrounding."""

    def as_numbers(self) -> dict[str, float]:
        """By name, rounded to what means something."""
        return {name: round(float(value), 5) for name, value in asdict(self).items()}


def _build_grid() -> tuple[Plane, NDArray[np.int64], NDArray[np.int64]]:
    """Distance from the centre in field radii, and the number of the sector and of the rim part, for every pixel."""
    axis = ((np.arange(WORKING_SIZE) + 0.5) / WORKING_SIZE * 2 - 1) * _MARGIN
    turn = (np.arctan2(axis[:, None], axis[None, :]) + np.pi) / (2 * np.pi)
    distance = np.hypot(axis[None, :], axis[:, None])
    sector = np.where(distance < 0.35, _SECTORS, np.minimum((turn * _SECTORS).astype(np.int64), _SECTORS - 1))
    return distance, sector, np.minimum((turn * _RIM_PARTS).astype(np.int64), _RIM_PARTS - 1)


_DISTANCE, _SECTOR, _RIM_PART = _build_grid()
_DISC, _INSIDE, _CORE = _DISTANCE < 1, _DISTANCE < 0.96, _DISTANCE < 0.9
_HALF_PARTS = [np.flatnonzero(_SECTOR[::2, ::2] == part) for part in range(_SECTORS + 1)]
_EDGE, _AROUND = (_DISTANCE > 0.9) & (_DISTANCE < 0.97), (_DISTANCE > 1.03) & (_DISTANCE < 1.1)


def measure(rgb: Rgb, field: FieldOfView, *, pixels_across: float) -> Measures:
    """Measure a photograph.

    Args:
        rgb: the photograph.
        field: where its field of view lies.
        pixels_across: of the file across the field; the decoded photograph may be smaller.
    """
    wider = field.model_copy(update={"radius": field.radius * _MARGIN})
    square = _crop(rgb, wider)
    red, green, blue = (np.ascontiguousarray(square[..., channel], dtype=np.float32) for channel in range(3))
    framed = _framed(rgb, wider)
    brightest = np.maximum(np.maximum(red, green), blue)
    seen = framed & _INSIDE
    lit = seen & (brightest > _LIT)
    seen_count, lit_count = max(1, np.count_nonzero(seen)), max(1, np.count_nonzero(lit))
    darkest = np.minimum(np.minimum(red, green), blue)
    light = _Light(lit)
    detail = _detail(green, light)
    return Measures(
        pixels_across=pixels_across,
        framed=np.count_nonzero(framed & _DISC) / np.count_nonzero(_DISC),
        lit=np.count_nonzero(lit) / seen_count,
        brightness=brightest[seen].mean() / 255 if seen.any() else 0.0,
        clipped=np.count_nonzero(seen & (red >= 250) & (green >= 235)) / seen_count,
        evenness=_evenness((red + green) / 2, seen, lit),
        **detail,
        obstruction=_obstruction(red, lit, light) / seen_count,
        colour=float((brightest - darkest)[seen].sum() / max(brightest[seen].sum(), 1)),
        warmth=float(red[lit].sum() / max(green[lit].sum(), 1)),
        fundus_hue=np.count_nonzero(lit & (red >= green - 6) & (green >= blue - 6)) / lit_count,
        bluish=np.count_nonzero(lit & (blue > red + 6) & (blue > green - 6)) / lit_count,
        rim=_rim(brightest, framed),
    )


def _crop(rgb: Rgb, wider: FieldOfView) -> Rgb:
    """The square that is measured. A large photograph is averaged down by a whole number first, at a fifth of the cost of a resize."""
    factor = max(1, int(2 * wider.radius / WORKING_SIZE))
    reduced = np.asarray(Image.fromarray(rgb).reduce(factor))
    field = FieldOfView(center_x=wider.center_x / factor, center_y=wider.center_y / factor, radius=wider.radius / factor)
    return crop_to_field(reduced, size=WORKING_SIZE, field=field)


def _framed(rgb: Rgb, wider: FieldOfView) -> Mask:
    """Which pixels of the square lie inside the picture."""
    axis = ((np.arange(WORKING_SIZE) + 0.5) / WORKING_SIZE * 2 - 1) * wider.radius
    across, down = wider.center_x + axis, wider.center_y + axis
    return ((across > 0) & (across < rgb.shape[1]))[None, :] & ((down > 0) & (down < rgb.shape[0]))[:, None]


class _Light:
    """The smooth light of a channel over the lit part of the field, found at a quarter of the size, where a wide blur costs little."""

    def __init__(self, lit: Mask) -> None:
        self.lit = lit
        self._quarter = _half(_half(lit.astype(np.float32)))
        # Away from black, because its soft edge would pass for detail or for an eyelash; the circle's own edge is sharp.
        away = minimum_filter(_half(_half((lit | ~_INSIDE).astype(np.float32))), size=3) > 0.99
        self.away_from_black = np.repeat(np.repeat(away, 4, axis=0), 4, axis=1)
        self.inner = self.away_from_black & _CORE

    def of(self, channel: Plane, sigma: float) -> Plane:
        """The channel blurred by `sigma` pixels over what is lit; (size, size)."""
        light = _blur(_half(_half(channel * self.lit)), sigma / 4) / np.maximum(_blur(self._quarter, sigma / 4), 1e-3)
        return np.asarray(Image.fromarray(light).resize((WORKING_SIZE, WORKING_SIZE), Image.Resampling.BILINEAR))


# What white noise of strength 1 adds to each measure, found by drawing such noise; to the lines half as much again (0.16), because noise
# of a file is coarser than that once it is resized.
_NOISE_SEEN, _NOISE_IN_SMALL, _NOISE_IN_LARGE, _NOISE_IN_LINES = 0.79, 0.11, 0.054, 0.25


_OF_DETAIL = ("sharpness", "vessels", "contrast", "texture", "noise")


def _detail(green: Plane, light: _Light) -> dict[str, float]:
    """Sharpness, vessels, contrast, texture and noise; zeros where too little is lit."""
    inner = light.inner
    if np.count_nonzero(inner) < _TOO_FEW:
        return dict.fromkeys(_OF_DETAIL, 0.0)
    half_inner, quarter_inner = inner[::2, ::2], inner[::4, ::4]
    local = np.where(light.lit, green / np.maximum(light.of(green, 12), 4) - 1, 0).astype(np.float32)
    halved = _half(_blur(local, 1.6))
    small = _blur(halved, 1.4)
    quartered = _half(small)
    large = _blur(quartered, 1.4)
    noises = _by_part(np.abs(local - _blur(local, 0.8))[::2, ::2], half_inner, 0.5) * 1.4826 / _NOISE_SEEN
    if np.isnan(noises).all():  # enough is lit, in shreds of which none can be measured
        return dict.fromkeys(_OF_DETAIL, 0.0)
    lines = _by_part(_dark_lines(_blur(halved, 1.0)), half_inner, 0.95)
    noise = float(np.nanmedian(noises))
    small_spread = _without_noise((halved - small)[half_inner].std(), _NOISE_IN_SMALL * noise)
    large_spread = _without_noise((quartered - large)[quarter_inner].std(), _NOISE_IN_LARGE * noise)
    darkest, brightest = np.quantile((large - _blur(quartered, 3.7))[quarter_inner], (0.01, 0.99))
    return {
        "sharpness": float(small_spread / max(large_spread, 1e-6)),
        # The median of the parts, because one reflex or eyelash is no vascular tree.
        "vessels": float(np.nanmedian(_without_noise(lines, _NOISE_IN_LINES * noises))),
        "contrast": float(brightest - darkest),
        "texture": float(local[inner].std()),
        "noise": noise,
    }


def _by_part(plane: Plane, inner: Mask, quantile: float) -> Plane:
    """The quantile in each of the nine parts, of a plane of half the size; nan for a part of which too little is lit."""
    inside = (plane.ravel()[part[inner.ravel()[part]]] for part in _HALF_PARTS)
    return np.array([_quantile(values, quantile) if values.size > 100 else np.nan for values in inside])


def _quantile(values: Plane, quantile: float) -> float:
    """Without interpolation, which takes numpy's own far longer than finding the value."""
    place = int(quantile * (values.size - 1))
    return float(np.partition(values, place)[place])


def _without_noise(measured: Any, noise: Any) -> Any:  # noqa: ANN401 - numbers or arrays of numpy's
    return np.sqrt(np.maximum(measured**2 - noise**2, 0))


def _dark_lines(local: Plane) -> Plane:
    """The greater eigenvalue of the Hessian where the other is less than half of it (Frangi's idea), at the blur's own scale."""
    across, down, slant = np.zeros_like(local), np.zeros_like(local), np.zeros_like(local)
    across[:, 1:-1] = local[:, 2:] - 2 * local[:, 1:-1] + local[:, :-2]
    down[1:-1] = local[2:] - 2 * local[1:-1] + local[:-2]
    slant[1:-1, 1:-1] = (local[2:, 2:] - local[2:, :-2] - local[:-2, 2:] + local[:-2, :-2]) / 4
    mean, difference = (across + down) / 2, np.hypot((across - down) / 2, slant)
    greater, lesser = mean + difference, mean - difference
    return np.where(np.abs(lesser) < 0.5 * greater, greater, 0) * 1.28**2


def _evenness(luminance: Plane, seen: Mask, lit: Mask) -> float:
    """Mean light of the darkest part by that of the brightest; parts that the picture hardly shows do not count."""
    seen_parts = np.bincount(_SECTOR[seen & _CORE], minlength=_SECTORS + 1)
    light = np.bincount(_SECTOR[seen & _CORE], weights=(luminance * lit)[seen & _CORE], minlength=_SECTORS + 1)
    counted = seen_parts > 300
    if not counted.any():
        return 0.0
    means = light[counted] / seen_parts[counted]
    return float(means.min() / max(means.max(), 1))


def _obstruction(red: Plane, lit: Mask, light: _Light) -> int:
    """Pixels of patches darker than two thirds of the red light around them, at least three wide, that reach the rim."""
    around = light.of(red, 20)
    dark = lit & light.away_from_black & (red < 0.65 * around) & (around > 40)
    if not (dark & ~_CORE).any():
        return 0
    patches = np.asarray(label(binary_opening(dark, np.ones((3, 3))), np.ones((3, 3)))[0])  # pyright: ignore[reportIndexIssue]
    at_rim = np.unique(patches[~_CORE])
    return int(np.count_nonzero(np.isin(patches, at_rim[at_rim > 0])))


def _rim(brightest: Plane, framed: Mask) -> float:
    """Share of the circle's parts with a step between just inside and just outside; where the picture ends there is none."""
    inside, outside = _means(brightest, _EDGE & framed), _means(brightest, _AROUND & framed)
    with np.errstate(invalid="ignore"):  # parts outside the picture are nan, and no step
        steps = (outside < 0.6 * inside) | (np.abs(inside - outside) > 20)
    return float(np.count_nonzero(steps) / _RIM_PARTS)


def _means(brightest: Plane, ring: Mask) -> Plane:
    """Mean per part of a ring; nan where the picture shows none of it."""
    counts = np.bincount(_RIM_PART[ring], minlength=_RIM_PARTS)
    sums = np.bincount(_RIM_PART[ring], weights=brightest[ring], minlength=_RIM_PARTS)
    return np.where(counts > 3, sums / np.maximum(counts, 1), np.nan)


def _blur(plane: Plane, sigma: float) -> Plane:
    return gaussian_filter(plane, sigma, truncate=3)


def _half(plane: Plane) -> Plane:
    """Averages of two by two pixels."""
    return (plane[::2, ::2] + plane[1::2, ::2] + plane[::2, 1::2] + plane[1::2, 1::2]) / 4
