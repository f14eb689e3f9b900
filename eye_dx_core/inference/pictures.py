"""A case's photograph as people are shown it: the square that was read, and where the conclusion was seen. No torch."""

import io

import numpy as np
from PIL import Image

from eye_dx_core.errors import BadPhoto
from eye_dx_core.inference.intake import PhotoIntake
from eye_dx_core.inference.overlay import draw_on_grey, evidence_layer
from eye_dx_core.schema.case import DELETED
from eye_dx_core.schema.diagnosis import PhotoPrediction
from eye_dx_core.schema.picture import FundusPicture

_JPEG_QUALITY = 88


def picture_of(location: str, prediction: PhotoPrediction | None, photos: PhotoIntake, *, side: int) -> FundusPicture:
    """Fetch one photograph and make it fit to be shown, also one whose quality was too low to be read.

    Args:
        location: as the message named it.
        prediction: what was read of it; None leaves the evidence out.
        photos: who finds and decodes it.
        side: of the pictures, in pixels.

    Raises:
        BadPhoto: it was deleted, or cannot be had or decoded.
        ServiceUnavailable: the place where it lies does not answer.
    """
    if location == DELETED:
        raise BadPhoto("deleted", "the photograph was deleted")
    prepared = next(photos.prepare([location], size=side))
    if isinstance(prepared, BadPhoto):
        raise prepared
    evidence = prediction.evidence if prediction else None
    return FundusPicture(
        photo_jpeg=_jpeg(Image.fromarray(prepared.square)),
        evidence_png=_png(evidence_layer(evidence, side)) if evidence else None,
        side=side,
    )


def evidence_on_grey(picture: FundusPicture) -> bytes | None:
    """The evidence over the photograph in grey, for paper, as JPEG; None where nothing was localised."""
    if picture.evidence_png is None:
        return None
    with Image.open(io.BytesIO(picture.photo_jpeg)) as photo, Image.open(io.BytesIO(picture.evidence_png)) as layer:
        return _jpeg(draw_on_grey(np.asarray(photo), layer))


def _jpeg(picture: Image.Image) -> bytes:
    # Full colour resolution: halved, small red signs on red ground fade.
    return _file(picture, "JPEG", quality=_JPEG_QUALITY, subsampling=0, optimize=True)


def _png(picture: Image.Image) -> bytes:
    return _file(picture, "PNG")


def _file(picture: Image.Image, kind: str, **options: int) -> bytes:
    file = io.BytesIO()
    picture.save(file, format=kind, **options)
    return file.getvalue()
