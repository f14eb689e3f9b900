"""From a file's bytes to pixels; training and clinic take the same path."""

import io
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from eye_dx_core.dataset.deep_colour import deepen, is_deep_colour, scale_to_8_bit
from eye_dx_core.dataset.dicom import decode_dicom
from eye_dx_core.dataset.photo_file import PhotoFormat, check_sides, get_format, read_photo_file
from eye_dx_core.errors import BadPhoto
from eye_dx_core.schema.case import Laterality

Rgb = NDArray[np.uint8]

# Modes in which Pillow gives what the formats hold, with the note that each deserves. Others (1 bit, LAB, 32 bit, floating point)
# do not come from cameras and have no one right reading.
_NOTE_OF_MODE = {
    "RGB": None, "YCbCr": None, "L": "greyscale", "I;16": "greyscale", "I;16B": "greyscale", "P": "palette", "CMYK": "converted_from_cmyk",
    "RGBA": "transparency_dropped", "LA": "transparency_dropped", "PA": "transparency_dropped",
}  # fmt: skip


@dataclass(frozen=True)
class DecodedPhoto:
    """A photograph's pixels and what its file says beside them."""

    format: PhotoFormat
    rgb: Rgb
    """(height, width, 3), upright."""
    notes: tuple[str, ...] = ()
    """Codes of what was done to it: `rotated_by_exif`, `first_of_several_pages`, `greyscale`, `scaled_from_16_bit` and the like."""
    eyes: tuple[Laterality, ...] = ()
    """Which eye it is by its DICOM tags; two when they contradict each other."""
    camera: str | None = None
    """Make and model, as the camera wrote them into the file."""
    reduction: float = 1.0
    """Pixels of the file to one of these, along a side."""


def decode_photo(source: Path | bytes, *, enough_for: int | None = None) -> Rgb:
    """As `read_photo`, the pixels only."""
    return read_photo(source, enough_for=enough_for).rgb


def read_photo(source: Path | bytes, *, enough_for: int | None = None) -> DecodedPhoto:
    """Decode a photograph to RGB, upright by its EXIF tag; of several pages or frames the first.

    Args:
        source: a file, or its bytes.
        enough_for: side of the square that will be made of it. A JPEG may then come at a half, quarter or eighth of its size, but
            never with a shorter side below twice this: its decoder averages pixels at a fraction of the cost of a resize.

    Raises:
        BadPhoto: with a reason of `read_photo_file`, `get_format`, `check_sides` or `decode_dicom`, or `truncated`,
            `unsupported_mode` or `out_of_memory`. The text holds no path.
    """
    content = source if isinstance(source, bytes) else read_photo_file(source)
    photo_format = get_format(content)
    try:
        with warnings.catch_warnings():
            # The libraries warn of odd metadata; only pixels matter here, and damage to them raises.
            warnings.simplefilter("ignore")
            if photo_format is PhotoFormat.DICOM:
                rgb, notes, eyes = decode_dicom(content)
                return DecodedPhoto(photo_format, rgb, notes, eyes)
            rgb, notes, longest_side = _decode(content, photo_format, enough_for)
            return DecodedPhoto(photo_format, rgb, notes, camera=find_camera(content), reduction=longest_side / max(rgb.shape[:2]))
    except BadPhoto:
        raise
    except MemoryError:
        raise BadPhoto("out_of_memory", "takes more memory than there is") from None
    except Image.DecompressionBombError:
        raise BadPhoto("too_many_pixels", "far more pixels than a photograph has") from None
    except Exception:  # noqa: BLE001 - decoders raise whatever a hostile file leads them to
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


def _decode(content: bytes, photo_format: PhotoFormat, enough_for: int | None) -> tuple[Rgb, tuple[str, ...], int]:
    """Pixels, notes, and the longest side that the file holds."""
    with Image.open(io.BytesIO(content), formats=[photo_format.value]) as picture:
        check_sides(*picture.size)
        longest_side = max(picture.size)
        if picture.mode not in _NOTE_OF_MODE:
            raise BadPhoto("unsupported_mode", f"colour mode {picture.mode} is not supported")
        if enough_for is not None:
            picture.draft(None, (2 * enough_for, 2 * enough_for))
        is_deep = is_deep_colour(picture)
        notes = _notes_of(picture, is_deep=is_deep)
        upright = ImageOps.exif_transpose(picture)
    if upright.mode.startswith("I;16"):
        grey = scale_to_8_bit(np.asarray(upright).astype(np.uint16))
        return np.repeat(grey[..., None], 3, axis=2), notes, longest_side
    rgb = np.asarray(upright if upright.mode == "RGB" else upright.convert("RGB"))
    return deepen(rgb, content, photo_format) if is_deep else rgb, notes, longest_side


def _notes_of(picture: Image.Image, *, is_deep: bool) -> tuple[str, ...]:
    found = {
        "rotated_by_exif": picture.getexif().get(ExifTags.Base.Orientation) in range(2, 9),
        "first_of_several_pages": getattr(picture, "n_frames", 1) > 1,
        "scaled_from_16_bit": is_deep or picture.mode.startswith("I;16"),
    }
    of_mode = _NOTE_OF_MODE[picture.mode]
    return tuple(note for note, is_there in found.items() if is_there) + ((of_mode,) if of_mode else ())
