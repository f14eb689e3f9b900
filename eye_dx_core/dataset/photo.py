"""From a file's bytes to pixels; training and clinic take the same path."""

import io
import warnings
from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from eye_dx_core.errors import BadPhoto

Rgb = NDArray[np.uint8]

MAX_BYTES, MAX_PIXELS, MIN_SIDE = 64 * 2**20, 100_000_000, 64


class PhotoFormat(StrEnum):
    """Formats we read, told by content and never by suffix."""

    JPEG = "JPEG"
    PNG = "PNG"
    TIFF = "TIFF"


def sniff_format(head: bytes) -> PhotoFormat | None:
    """Tell the format from the first bytes of a file."""
    if head.startswith(b"\xff\xd8\xff"):
        return PhotoFormat.JPEG
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return PhotoFormat.PNG
    return PhotoFormat.TIFF if head[:4] in (b"II*\x00", b"MM\x00*") else None


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
