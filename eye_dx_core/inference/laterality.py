"""Which eye a photograph shows, by everyone who says so: message, file name, DICOM tag, and the picture itself."""

from collections.abc import Sequence

from eye_dx_core.inference.landmarks import Landmarks
from eye_dx_core.schema.case import FundusPhoto, Laterality, find_eye_in_name
from eye_dx_core.schema.diagnosis import EyeClaim, EyeClaimSource

_ORDER = (EyeClaimSource.MESSAGE, EyeClaimSource.DICOM, EyeClaimSource.FILE_NAME, EyeClaimSource.PICTURE)
STRONG = 0.85
"""A picture that is less sure than this neither names the eye nor contradicts anyone. `docs/decisions/which-eye.md` has the figures."""
_ASIDE = 0.25
"""A disc nearer to the middle of the field, in units of its radius, belongs to a picture taken around the disc: less and less of a side."""


def claims_of(photo: FundusPhoto) -> tuple[EyeClaim, ...]:
    """What message and file name say of a photograph."""
    named = find_eye_in_name(photo.location)
    said = ((EyeClaimSource.MESSAGE, photo.eye), (EyeClaimSource.FILE_NAME, named))
    return tuple(EyeClaim(source=source, eye=eye) for source, eye in said if eye is not None)


def claim_of_picture(landmarks: Landmarks) -> EyeClaim | None:
    """What the picture says: a right eye has its disc to the right of the fovea, as long as the picture is the right way up.

    Its strength is the chance that this is right: where the disc is none, it lies on either side; where the picture is turned
    round or mirrored, on the wrong one. None where that is no more than a guess.
    """
    disc = landmarks.disc
    if disc is None:
        return None
    strength = (0.5 + 0.5 * disc.strength * min(abs(disc.x) / _ASIDE, 1.0)) * landmarks.upright
    eye = Laterality.RIGHT if disc.x > 0 else Laterality.LEFT
    return EyeClaim(source=EyeClaimSource.PICTURE, eye=eye, strength=strength) if strength > 0.5 else None


def decide_eye(claims: Sequence[EyeClaim]) -> Laterality | None:
    """The eye by the most trusted source that says anything; None when nobody does."""
    heard = sorted((one for one in claims if one.strength >= STRONG), key=lambda one: _ORDER.index(one.source))
    return heard[0].eye if heard else None


def has_conflict(claims: Sequence[EyeClaim]) -> bool:
    """Whether two sources that are to be heard name different eyes: then only a doctor can tell."""
    return len({one.eye for one in claims if one.strength >= STRONG}) > 1
