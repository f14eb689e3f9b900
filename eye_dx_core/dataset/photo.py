"""From a file's bytes to the square the model sees; training and clinic take the same path."""

import io
import math
import warnings
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps
from pydantic import Field

from eye_dx_core.errors import BadPhoto
from eye_dx_core.schema.frozen import Frozen

Rgb = NDArray[np.uint8]

MAX_BYTES, MAX_PIXELS, MIN_SIDE = 64 * 2**20, 100_000_000, 64
CROP_VERSION = "field-of-view/3"
_GOOD_FIT = 0.93
"""From this agreement of circle and lit area on, no other fit is tried."""
_LETTERS = 4
_PROBE = 256
"""Side at which the field of view is looked for; a circle needs no more."""


class PhotoFormat(StrEnum):
    """Formats we read, told by content and never by suffix."""

    JPEG = "JPEG"
    PNG = "PNG"
    TIFF = "TIFF"


class FieldOfView(Frozen):
    """The lit disc of a fundus photograph, in pixels."""

    center_x: float
    center_y: float
    radius: float = Field(gt=0)


def sniff_format(head: bytes) -> PhotoFormat | None:
    """Tell the format from the first bytes of a file."""
    if head.startswith(b"\xff\xd8\xff"):
        return PhotoFormat.JPEG
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return PhotoFormat.PNG
    return PhotoFormat.TIFF if head[:4] in (b"II*\x00", b"MM\x00*") else None


def read_square(source: Path | bytes, *, size: int) -> Rgb:
    """The square (size, size, 3) that the model sees of a photograph: decoded, cut to the field of view, padded, resized.

    Raises:
        BadPhoto: from `decode_photo` and `find_field_of_view`.
    """
    return crop_to_field(decode_photo(source, enough_for=size), size=size)


def decode_photo(source: Path | bytes, *, enough_for: int | None = None) -> Rgb:
    """Decode a photograph to RGB, (height, width, 3), upright by its EXIF tag; of a multi-page TIFF the first page.

    Args:
        source: a file, or its bytes.
        enough_for: side of the square that will be made of it. A JPEG may then come at a half, quarter or eighth of its size, but
            never with a shorter side below twice this: its decoder averages pixels at a fraction of the cost of a resize.

    Raises:
        BadPhoto: with the reason `missing`, `too_large`, `not_an_image`, `too_many_pixels`, `too_small`, `truncated` or
            `unsupported_mode`. The text holds no path.
    """
    return decode_with_format(source, enough_for=enough_for)[1]


def decode_with_format(source: Path | bytes, *, enough_for: int | None = None) -> tuple[PhotoFormat, Rgb]:
    """As `decode_photo`, with the format that the content showed."""
    content = source if isinstance(source, bytes) else read_photo_file(source)
    if len(content) > MAX_BYTES:
        raise BadPhoto("too_large", f"larger than {MAX_BYTES // 2**20} MiB")
    photo_format = sniff_format(content[:8])
    if photo_format is None:
        raise BadPhoto("not_an_image", "neither JPEG, PNG nor TIFF by its content")
    try:
        with warnings.catch_warnings():
            # Pillow warns of odd metadata; only pixels matter here, and damage to them raises.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content), formats=[photo_format.value]) as picture:
                _check_size(*picture.size)
                if enough_for is not None:
                    picture.draft(None, (2 * enough_for, 2 * enough_for))
                return photo_format, _to_rgb(ImageOps.exif_transpose(picture))
    except BadPhoto:
        raise
    except Exception:  # noqa: BLE001 - Pillow's decoders raise whatever a hostile file leads them to
        raise BadPhoto("truncated", "damaged or cut off") from None


def find_camera(content: bytes) -> str | None:
    """Make and model as the camera wrote them into the file, or None."""
    try:
        with warnings.catch_warnings(), Image.open(io.BytesIO(content)) as picture:
            warnings.simplefilter("ignore")
            tags = picture.getexif()
    except Exception:  # noqa: BLE001 - damaged tags raise whatever Pillow's parser meets, and the pixels are read without them
        return None
    words = [str(tags[tag]).strip(" \0") for tag in (ExifTags.Base.Make, ExifTags.Base.Model) if tag in tags]
    return " ".join(words) or None


def read_photo_file(path: Path) -> bytes:
    """Bytes of a photograph, at most one more than the limit.

    Raises:
        BadPhoto: `missing`.
    """
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError:
        raise BadPhoto("missing", "the file cannot be opened") from None


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise BadPhoto("too_many_pixels", f"more than {MAX_PIXELS // 1_000_000} megapixels")
    if min(width, height) < MIN_SIDE:
        raise BadPhoto("too_small", f"smaller than {MIN_SIDE} pixels")


def _to_rgb(picture: Image.Image) -> Rgb:
    if picture.mode in ("I;16", "I;16B", "I;16L", "I", "F"):
        # 16-bit grey: scaled by its own range, because cameras use 10, 12 or 14 of the bits.
        grey = np.asarray(picture, dtype=np.float32)
        grey = (grey - grey.min()) / max(float(grey.max() - grey.min()), 1.0) * 255
        return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)
    if picture.mode not in ("RGB", "RGBA", "L", "LA", "P", "PA", "1", "CMYK", "YCbCr", "LAB", "HSV"):
        raise BadPhoto("unsupported_mode", f"colour mode {picture.mode} is not supported")
    return np.asarray(picture.convert("RGB"))


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
    bright = small.max(axis=2).astype(np.float32)
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


def crop_to_field(rgb: Rgb, *, size: int) -> Rgb:
    """Cut the field of view out, pad it with black to a square, resize with antialiasing; (size, size, 3).

    Raises:
        BadPhoto: `no_field_of_view`, from `find_field_of_view`.
    """
    field = find_field_of_view(rgb)
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
