"""The lit disc of a fundus photograph: found, cut out, padded to the square that the model sees."""

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from pydantic import Field

from eye_dx_core.dataset.lit_disc import Circle, agreement, find_part_disc, fit_lit_disc
from eye_dx_core.dataset.photo import Rgb, decode_photo
from eye_dx_core.errors import BadPhoto
from eye_dx_core.schema.frozen import Frozen

CROP_VERSION = "field-of-view/4"
_PROBE = 256
"""Side at which the field of view is looked for; a circle needs no more."""
_LEAST_LIT, _ALL_LIT = 0.15, 0.93
"""Share of the picture: less is no fundus, more has no black border."""
_ACCEPTED_FIT, _SURE_FIT, _CLEAR_GAIN = 0.75, 0.95, 0.055
"""Agreement of circle and lit area: enough for the usual idea of what is lit; enough for another one, which must also be clearly better."""
_FAINT, _UNLIKE = 7.0, 16.0
"""Grey levels by which the faintest rim is brighter than the border, and by which a disc differs from a lit border."""
_LETTERS = 4


class FieldOfView(Frozen):
    """The lit disc of a fundus photograph, in pixels."""

    center_x: float
    center_y: float
    radius: float = Field(gt=0)


def read_square(source: Path | bytes, *, size: int) -> Rgb:
    """The square (size, size, 3) that the model sees of a photograph: decoded, cut to the field of view, padded, resized.

    Raises:
        BadPhoto: from `decode_photo` and `find_field_of_view`.
    """
    return crop_to_field(decode_photo(source, enough_for=size), size=size)


def find_field_of_view(rgb: Rgb) -> FieldOfView:
    """Fit a circle to the edge of the lit area, also when the picture cuts it off at two sides.

    The outermost lit pixels of every row vote by least squares, again without those that lie far off; then those of every column.
    Rows serve a disc that is cut at top and bottom, columns one that is cut at its sides. Other ideas of what is lit are heard
    where they speak clearly: a rim that fades into a black border, a border that is itself lit, a disc of which a part is dark.

    Raises:
        BadPhoto: `no_field_of_view`: black, or lit in another shape than a disc.
    """
    height, width = rgb.shape[:2]
    scale = _PROBE / max(height, width)
    small = np.asarray(Image.fromarray(rgb).resize((max(8, round(width * scale)), max(8, round(height * scale))), Image.Resampling.BOX))
    circle = _find_circle(small)
    return FieldOfView(center_x=circle.x / scale, center_y=circle.y / scale, radius=circle.radius / scale)


def _find_circle(small: Rgb) -> Circle:
    bright = np.maximum(np.maximum(small[..., 0], small[..., 1]), small[..., 2]).astype(np.float32)  # ten times as fast as max(axis=2)
    border = _border_colour(small)
    lit, faint = bright > max(12.0, 0.18 * float(np.percentile(bright, 95))), bright > float(border.max()) + _FAINT
    if lit.mean() > _ALL_LIT:
        return _within_border(small, border) or fit_lit_disc(lit)[0]
    masks = [mask for mask in (lit, faint) if mask.mean() >= _LEAST_LIT]
    if not masks:
        raise BadPhoto("no_field_of_view", "no lit fundus disc in the picture")
    fits = [fit_lit_disc(mask) for mask in masks]
    (circle, covered), (fainter, faint_covered) = fits[0], fits[-1]
    if faint_covered >= _SURE_FIT and faint_covered - agreement(masks[-1], circle) >= _CLEAR_GAIN:
        return fainter
    if covered >= _ACCEPTED_FIT:
        return circle
    part = next(filter(None, map(find_part_disc, masks)), None)
    if part is None:
        raise BadPhoto("no_field_of_view", "what is lit has not the shape of a fundus disc")
    return part


def _border_colour(small: Rgb) -> NDArray[np.floating[Any]]:
    """Median colour of the four corners, (3,)."""
    side = max(2, round(0.03 * max(small.shape[:2])))
    corners = (small[:side, :side], small[:side, -side:], small[-side:, :side], small[-side:, -side:])
    return np.median(np.concatenate([corner.reshape(-1, 3) for corner in corners]), axis=0)


def _within_border(small: Rgb, border: NDArray[np.floating[Any]]) -> Circle | None:
    """The disc on a grey or white border, or None where no disc stands out from the colour of the corners."""
    differs = np.abs(small - border).max(axis=2) > _UNLIKE
    if differs.mean() < _LEAST_LIT or differs.mean() > _ALL_LIT:
        return None
    circle, covered = fit_lit_disc(differs)
    return circle if covered >= _SURE_FIT else None


def has_burned_in_text(rgb: Rgb, field: FieldOfView) -> bool:
    """Whether several small bright marks stand beside the disc, as the letters of a name or date do. A hint, not a proof."""
    from scipy import ndimage  # half of this module's import time, and only a scan needs it

    scale = 2 * _PROBE / max(rgb.shape[:2])
    small = Image.fromarray(rgb).resize((max(8, round(rgb.shape[1] * scale)), max(8, round(rgb.shape[0] * scale))), Image.Resampling.BOX)
    bright = np.asarray(small).max(axis=2) > 90
    y, x = np.mgrid[: bright.shape[0], : bright.shape[1]] + 0.5
    outside = np.hypot(x - field.center_x * scale, y - field.center_y * scale) > 1.02 * field.radius * scale
    parts = np.asarray(ndimage.label(bright, structure=np.ones((3, 3)))[0])  # pyright: ignore[reportIndexIssue]
    # Letters stand alone; the notch that marks which side is up hangs on the disc.
    on_disc = np.unique(parts[bright & ~outside])
    sizes = np.bincount(parts[bright & outside & ~np.isin(parts, on_disc)])
    letters = np.count_nonzero((sizes >= 4) & (sizes < 0.002 * bright.size))
    return bool(letters >= _LETTERS)


def crop_to_field(rgb: Rgb, *, size: int, field: FieldOfView | None = None) -> Rgb:
    """Cut the field of view out, pad it with black to a square, resize with antialiasing; (size, size, 3).

    Args:
        rgb: the photograph.
        size: side of the square in pixels.
        field: where the field lies, if it was looked for already.

    Raises:
        BadPhoto: `no_field_of_view`, from `find_field_of_view`.
    """
    field = field or find_field_of_view(rgb)
    left, top, right, bottom = (center + way * field.radius for way in (-1, 1) for center in (field.center_x, field.center_y))
    # What lies beyond the frame is black; the box keeps its fractions, so the square does not depend on the decoded size.
    pad = max(0, math.ceil(max(-left, -top, right - rgb.shape[1], bottom - rgb.shape[0])))
    padded = ImageOps.expand(Image.fromarray(rgb), pad)
    square = padded.resize((size, size), Image.Resampling.BICUBIC, box=(left + pad, top + pad, right + pad, bottom + pad), reducing_gap=2.0)
    axis = (np.arange(size) + 0.5) / size * 2 - 1
    outside = axis[None, :] ** 2 + axis[:, None] ** 2 > 1
    cropped = np.array(square)
    cropped[outside] = 0
    return cropped
