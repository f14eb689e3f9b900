"""Which eye a photograph shows, by everyone who says so: message, file name, DICOM tag, and the picture itself."""

from collections.abc import Sequence

from eye_dx_core.schema.case import FundusPhoto, Laterality, find_eye_in_name
from eye_dx_core.schema.diagnosis import EyeClaim, EyeClaimSource

_ORDER = (EyeClaimSource.MESSAGE, EyeClaimSource.DICOM, EyeClaimSource.FILE_NAME, EyeClaimSource.PICTURE)
STRONG = 0.8
"""A picture that is less sure than this neither names the eye nor contradicts anyone."""


def claims_of(photo: FundusPhoto) -> tuple[EyeClaim, ...]:
    """What message and file name say of a photograph."""
    named = find_eye_in_name(photo.location)
    said = ((EyeClaimSource.MESSAGE, photo.eye), (EyeClaimSource.FILE_NAME, named))
    return tuple(EyeClaim(source=source, eye=eye) for source, eye in said if eye is not None)


def decide_eye(claims: Sequence[EyeClaim]) -> Laterality | None:
    """The eye by the most trusted source that says anything; None when nobody does."""
    heard = sorted((one for one in claims if one.strength >= STRONG), key=lambda one: _ORDER.index(one.source))
    return heard[0].eye if heard else None


def has_conflict(claims: Sequence[EyeClaim]) -> bool:
    """Whether two sources that are to be heard name different eyes: then only a doctor can tell."""
    return len({one.eye for one in claims if one.strength >= STRONG}) > 1
