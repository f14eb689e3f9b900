"""Photographs as files, for tests."""

import io

from PIL import Image

from eye_dx_core.dataset.photo import Rgb


def as_jpeg(rgb: Rgb) -> bytes:
    """Pixels (height, width, rgb) as a JPEG file."""
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, format="JPEG", quality=95)
    return file.getvalue()
