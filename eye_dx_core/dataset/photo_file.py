"""What a photograph's file is, before a decoder sees it: an ordinary file, of bounded size, in a format told by its content."""

import os
import stat
from enum import StrEnum
from pathlib import Path

from eye_dx_core.errors import BadPhoto

MAX_BYTES, MAX_PIXELS, MIN_SIDE, MAX_SIDE = 64 * 2**20, 100_000_000, 64, 20_000
HEAD_BYTES = 512
"""How much of a file its format is told by."""


class PhotoFormat(StrEnum):
    """Formats we read, told by content and never by suffix."""

    JPEG = "JPEG"
    PNG = "PNG"
    TIFF = "TIFF"
    DICOM = "DICOM"


# What else lies in photo folders: how it begins, and its name in the refusal.
_FOREIGN = (
    (b"GIF8", "a GIF picture"),
    (b"%PDF", "a PDF document"),
    (b"8BPS", "a Photoshop file"),
    (b"PK\x03\x04", "a ZIP archive or office document"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x00\x00\x00\x0cjP  ", "a JPEG 2000 picture"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 picture"),
    (b"\x00\x00\x00\x0cJXL ", "a JPEG XL picture"),
)
_FTYP = {
    b"avif": "an AVIF picture",
    b"avis": "an AVIF picture",
    b"heic": "a HEIC picture",
    b"heix": "a HEIC picture",
    b"mif1": "a HEIC picture",
}
_TIFF = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")  # `+` is BigTIFF


def sniff_format(head: bytes) -> PhotoFormat | None:
    """Tell the format from the first `HEAD_BYTES` of a file."""
    if head.startswith(b"\xff\xd8\xff"):
        return PhotoFormat.JPEG
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return PhotoFormat.PNG
    if head[128:132] == b"DICM":
        return PhotoFormat.DICOM
    return PhotoFormat.TIFF if head[:4] in _TIFF and head[8:10] != b"CR" else None


def get_format(content: bytes) -> PhotoFormat:
    """The format of a photograph.

    Raises:
        BadPhoto: `empty`, `too_large`, `unsupported_format` where the content is known to be something else, or `not_an_image`.
    """
    if not content:
        raise BadPhoto("empty", "the file is empty")
    if len(content) > MAX_BYTES:
        raise BadPhoto("too_large", f"larger than {MAX_BYTES // 2**20} MiB")
    found = sniff_format(content[:HEAD_BYTES])
    if found is not None:
        return found
    foreign = _name_foreign(content[:HEAD_BYTES])
    if foreign is not None:
        raise BadPhoto("unsupported_format", f"{foreign}: only JPEG, PNG, TIFF and DICOM are read")
    raise BadPhoto("not_an_image", "neither JPEG, PNG, TIFF nor DICOM by its content")


def _name_foreign(head: bytes) -> str | None:
    words = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    begun = next((name for start, name in _FOREIGN if head.startswith(start)), None)
    seen = {
        _FTYP.get(head[8:12], "a video"): head[4:8] == b"ftyp",
        "a WebP picture": head[:4] == b"RIFF" and head[8:12] == b"WEBP",
        "a BMP picture": head[:2] == b"BM" and head[6:10] == bytes(4),
        "a Canon raw picture": head[:4] in _TIFF and head[8:10] == b"CR",
        "an SVG or XML file": words.startswith((b"<svg", b"<?xml")),
        "a web page": words.startswith((b"<!doctype html", b"<html")),
    }
    return begun or next((name for name, is_it in seen.items() if is_it), None)


def read_photo_file(path: Path) -> bytes:
    """Bytes of a photograph. Never waits for a pipe, device or socket that bears a photograph's name.

    Raises:
        BadPhoto: `missing`, `not_a_file`, `unreadable` or `too_large`. The text holds no path.
    """
    try:
        _check_file(path.stat())  # opening a device can already do something to it
        # What was a file a moment ago may be a pipe now, and opening that would wait for somebody to write.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            _check_file(os.fstat(handle))
            return file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise BadPhoto("missing", "the file is not there") from None
    except (OSError, ValueError):  # ValueError: a null character in the name
        raise BadPhoto("unreadable", "the file cannot be opened or read") from None


def _check_file(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise BadPhoto("not_a_file", "a folder, pipe, socket or device, and no file")
    if status.st_size > MAX_BYTES:
        raise BadPhoto("too_large", f"larger than {MAX_BYTES // 2**20} MiB")


def check_sides(width: int, height: int) -> None:
    """Refuse what no fundus camera makes, by the size that the file declares, so before anything is decoded.

    Raises:
        BadPhoto: `too_small`, `too_long` or `too_many_pixels`.
    """
    if max(width, height) > MAX_SIDE:
        raise BadPhoto("too_long", f"a side is longer than {MAX_SIDE} pixels")
    if width * height > MAX_PIXELS:
        raise BadPhoto("too_many_pixels", f"more than {MAX_PIXELS // 1_000_000} megapixels")
    if min(width, height) < MIN_SIDE:
        raise BadPhoto("too_small", f"smaller than {MIN_SIDE} pixels")
