"""Pictures of 16 bits per value: brought to eight by the bits that the camera used, never by the picture's own brightness."""

import io
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps, TiffImagePlugin

from eye_dx_core.dataset.photo_file import PhotoFormat
from eye_dx_core.errors import BadPhoto

_DEPTHS = (8, 10, 12, 14, 16)
"""Bits that cameras use of sixteen. A dark picture of a deep camera passes for a bright one of a shallower; no file tells."""
_SWAPPED = {"16L": "16B", "16B": "16L", "16N": "16B" if sys.byteorder == "little" else "16L"}
_BITS, _PLANES = 258, 284  # TIFF tags BitsPerSample and PlanarConfiguration


def is_deep_colour(picture: Image.Image) -> bool:
    """Whether an opened file holds 16 bits per colour; grey ones are not meant.

    Raises:
        BadPhoto: `unsupported_mode`: one plane per colour, which Pillow reads wrongly.
    """
    if picture.mode.startswith("I;16"):
        return False
    if not isinstance(picture, TiffImagePlugin.TiffImageFile):
        return any(";16" in _raw_mode(args) for *_, args in _tiles(picture))
    is_deep = 16 in picture.tag_v2.get(_BITS, ())
    if is_deep and picture.tag_v2.get(_PLANES) == 2:
        raise BadPhoto("unsupported_mode", "16 bits per colour in separate planes are not supported")
    return is_deep


def deepen(upper: NDArray[np.uint8], content: bytes, photo_format: PhotoFormat) -> NDArray[np.uint8]:
    """The picture in eight bits, given what Pillow made of it: the upper eight of sixteen (height, width, 3).

    A camera that uses 12 bits leaves next to nothing up there. The lower byte comes by decoding once more, as if the bytes of
    each value stood the other way round.
    """
    if upper.max(initial=0) >= 1 << _DEPTHS[-2] - 8:
        return upper
    with Image.open(io.BytesIO(content), formats=[photo_format.value]) as picture:
        modes = [_raw_mode(args) for *_, args in _tiles(picture)]
        if not all(mode.split(";")[0] in ("RGB", "RGBA", "RGBX") for mode in modes):
            return upper
        for place, tile in enumerate(_tiles(picture)):
            _tiles(picture)[place] = tile._replace(args=_swap_bytes(tile.args))
        lower = np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
    return scale_to_8_bit((upper.astype(np.uint16) << 8 | lower).astype(np.uint16))


def scale_to_8_bit(values: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Drop the lowest bits, by the smallest usual depth that holds the largest value."""
    used = int(values.max(initial=0)).bit_length()
    depth = next(one for one in _DEPTHS if one >= used)
    return (values >> (depth - 8)).astype(np.uint8)


def _tiles(picture: Image.Image) -> list[Any]:
    """How Pillow will decode an opened file: codec, extents, offset, and arguments that begin with the raw mode."""
    return picture.tile if isinstance(picture, ImageFile.ImageFile) else []


def _raw_mode(args: str | tuple[Any, ...]) -> str:
    return str(args[0] if isinstance(args, tuple) else args)


def _swap_bytes(args: str | tuple[Any, ...]) -> str | tuple[Any, ...]:
    bands, order = _raw_mode(args).split(";")
    swapped = f"{bands};{_SWAPPED[order]}"
    return (swapped, *args[1:]) if isinstance(args, tuple) else swapped
