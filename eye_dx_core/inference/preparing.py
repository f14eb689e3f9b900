"""From a file to what the model needs of it: the square, its quality, its landmarks. No torch: this runs in worker processes."""

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

from eye_dx_core.dataset.field_of_view import crop_to_field, find_field_of_view
from eye_dx_core.dataset.photo import Rgb, read_photo
from eye_dx_core.errors import BadPhoto
from eye_dx_core.inference.landmarks import Disc, find_landmarks
from eye_dx_core.inference.laterality import claim_of_picture
from eye_dx_core.inference.quality import assess_quality
from eye_dx_core.inference.quality_measures import WORKING_SIZE, measure
from eye_dx_core.inference.quality_rules import RuleBook, load_rules
from eye_dx_core.schema.diagnosis import EyeClaim, EyeClaimSource
from eye_dx_core.schema.quality import Quality

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PreparedPhoto:
    """A photograph ready to be read; one whose quality is `reject` must not be."""

    square: Rgb
    quality: Quality
    camera: str | None
    """Make and model, as the camera wrote them into the file."""
    disc: Disc | None
    eye_claims: tuple[EyeClaim, ...]
    """What the file itself says of the eye: a DICOM tag, the picture."""
    notes: tuple[str, ...]
    pixels_sha256: str
    """Equal for pictures that are equal pixel by pixel, whatever their files are called."""


Prepared = PreparedPhoto | BadPhoto


def prepare_or_refuse(source: Path | bytes, *, size: int, rules: RuleBook | None = None) -> Prepared:
    """As `prepare_photo`, with every failure as a value: no photograph, whatever it leads a library to, spoils another."""
    try:
        return prepare_photo(source, size=size, rules=rules)
    except BadPhoto as error:
        return error
    except Exception as error:  # noqa: BLE001 - hostile pixels may drive arithmetic to anything
        # The class only: a library's own text may hold a path.
        _log.error("a photograph could not be prepared (%s)", type(error).__name__)
        return BadPhoto("cannot_be_prepared", f"decoded, and cannot be prepared ({type(error).__name__})")


def prepare_photo(source: Path | bytes, *, size: int, rules: RuleBook | None = None) -> PreparedPhoto:
    """Decode a photograph, cut out its field of view, and judge it.

    Args:
        source: a file, or its bytes.
        size: side of the square that the model sees.
        rules: what quality is held against, by camera; default is what we ship.

    Raises:
        BadPhoto: it cannot be decoded, or holds no fundus.
    """
    photo = read_photo(source, enough_for=max(size, WORKING_SIZE // 2))
    rgb = photo.rgb
    field = find_field_of_view(rgb)
    square = crop_to_field(rgb, size=size, field=field)
    measures = measure(rgb, field, pixels_across=2 * field.radius * photo.reduction)
    landmarks = find_landmarks(square)
    claim = claim_of_picture(landmarks)
    return PreparedPhoto(
        square=square,
        quality=assess_quality(measures, (rules or load_rules()).get_rules(photo.camera)),
        camera=photo.camera,
        disc=landmarks.disc,
        eye_claims=(*(EyeClaim(source=EyeClaimSource.DICOM, eye=eye) for eye in photo.eyes), *((claim,) if claim else ())),
        notes=photo.notes,
        pixels_sha256=hashlib.sha256(square.tobytes()).hexdigest(),
    )
