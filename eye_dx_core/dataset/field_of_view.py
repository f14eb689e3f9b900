"""The lit disc of a fundus photograph: found, cut out, padded to the square that the model sees."""

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from pydantic import Field

from eye_dx_core.dataset.photo import Rgb, decode_photo
from eye_dx_core.errors import BadPhoto
from eye_dx_core.schema.frozen import Frozen

CROP_VERSION = "field-of-view/3"
_GOOD_FIT = 0.93
"""From this agreement of circle and lit area on, no other fit is tried."""
_LETTERS = 4
_PROBE = 256
"""Side at which the field of view is looked for; a circle needs no more."""


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

    The outermost lit pixels of every row vote by least squares (Kåsa's fit), again without those that lie far off; then
    those of every column. Rows serve a disc that is cut at top and bottom, columns one that is cut at its sides.

    Raises:
        BadPhoto: `no_field_of_view`: black, or lit in another shape than a disc.
    """
    height, width = rgb.shape[:2]
    scale = _PROBE / max(height, width)
    small = np.asarray(Image.fromarray(rgb).resize((max(8, round(width * scale)), max(8, round(height * scale))), Image.Resampling.BOX))
    bright = np.maximum(np.maximum(small[..., 0], small[..., 1]), small[..., 2]).astype(np.float32)  # ten times as fast as max(axis=2)
    lit = bright > max(12.0, 0.18 * float(np.percentile(bright, 95)))
    if lit.mean() < 0.15:
        raise BadPhoto("no_field_of_view", "no lit fundus disc in the picture")
    (center_x, center_y, radius), covered = _fit_and_cover(lit)
    if covered < _GOOD_FIT:
        (y, x, other_radius), other_covered = _fit_and_cover(lit.T)
        if other_covered > covered:
            (center_x, center_y, radius), covered = (x, y, other_radius), other_covered
    if covered < 0.75:
        raise BadPhoto("no_field_of_view", "what is lit has not the shape of a fundus disc")
    return FieldOfView(center_x=center_x / scale, center_y=center_y / scale, radius=radius / scale)


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


def _fit_and_cover(lit: NDArray[np.bool_]) -> tuple[tuple[float, float, float], float]:
    """The circle by the ends of the rows, and how well it covers what is lit."""
    circle = _fit_circle(*_edge_points(lit), lit.shape[1], lit.shape[0])
    return circle, _covered_share(lit, *circle)


def _edge_points(lit: NDArray[np.bool_]) -> tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]]]:
    """Left and right end of the lit run of each row."""
    rows = np.flatnonzero(lit.sum(axis=1) > 0.1 * lit.shape[1])
    left = lit[rows].argmax(axis=1)
    right = lit.shape[1] - lit[rows][:, ::-1].argmax(axis=1)
    return np.concatenate([left, right]).astype(np.float64), np.concatenate([rows, rows]) + 0.5


def _fit_circle(xs: NDArray[np.floating[Any]], ys: NDArray[np.floating[Any]], width: int, height: int) -> tuple[float, float, float]:
    """Kåsa's algebraic circle fit, repeated on the points near the first circle; edges on the frame do not count."""
    keep = (xs > 1) & (xs < width - 1)
    if keep.sum() < 12:
        # The disc fills the frame from side to side: nothing but the frame bounds it.
        return width / 2, height / 2, math.hypot(width, height) / 2
    xs, ys = xs[keep], ys[keep]
    center_x, center_y, radius = width / 2, height / 2, 1.0
    for _ in range(3):
        solution = np.linalg.lstsq(np.column_stack([2 * xs, 2 * ys, np.ones_like(xs)]), xs**2 + ys**2, rcond=None)[0]
        center_x, center_y = float(solution[0]), float(solution[1])
        radius = math.sqrt(max(float(solution[2]) + center_x**2 + center_y**2, 1.0))
        off = np.abs(np.hypot(xs - center_x, ys - center_y) - radius)
        near = off <= max(1.5, float(np.percentile(off, 80)))
        if near.sum() < 12:
            break
        xs, ys = xs[near], ys[near]
    return center_x, center_y, radius


def _covered_share(lit: NDArray[np.bool_], center_x: float, center_y: float, radius: float) -> float:
    """How well lit area and circle agree inside the frame: intersection over union."""
    y, x = np.mgrid[: lit.shape[0], : lit.shape[1]] + 0.5
    disc = np.hypot(x - center_x, y - center_y) <= radius
    return float((disc & lit).sum() / max(1, (disc | lit).sum()))


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
