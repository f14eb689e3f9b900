"""What the photographs of one case say together: one picture sent as two eyes, and an eye that nobody photographed."""

from collections import defaultdict
from collections.abc import Sequence

from eye_dx_core.schema.case import Laterality
from eye_dx_core.schema.diagnosis import EyeDiagnosis, Outcome, PhotoPrediction
from eye_dx_core.schema.quality import QualityIssue

NO_PHOTO, EYE_UNKNOWN = "no_photo", "eye_unknown"


def hold_duplicates(photos: Sequence[PhotoPrediction], pixels: Sequence[str | None]) -> tuple[PhotoPrediction, ...]:
    """The photographs of a case, without a conclusion where one picture stands for both eyes; twice for one eye is only noted.

    Args:
        photos: as they were read one by one.
        pixels: for each photograph, what is equal for equal pictures; None for one that could not be opened.
    """
    same: defaultdict[str, list[int]] = defaultdict(list)
    for place, picture in enumerate(pixels):
        if picture is not None:
            same[picture].append(place)
    settled = list(photos)
    for places in same.values():
        eyes = {photos[place].eye for place in places} - {None}
        for place in places if len(eyes) > 1 else places[1:]:
            settled[place] = _held(photos[place]) if len(eyes) > 1 else _noted(photos[place])
    return tuple(settled)


def unseen_eye(eye: Laterality, photos: Sequence[PhotoPrediction]) -> EyeDiagnosis:
    """An eye that no photograph is known to show: not assessed, so that nobody takes the patient for normal by the other eye alone.

    A photograph whose eye nobody knows may show it, or the other eye once more: that is not guessed.
    """
    is_unknown = any(photo.eye is None for photo in photos)
    return EyeDiagnosis(eye=eye, photos=(), outcome=Outcome.NOT_ASSESSED, reason=EYE_UNKNOWN if is_unknown else NO_PHOTO)


def _held(photo: PhotoPrediction) -> PhotoPrediction:
    if photo.outcome is Outcome.NOT_ASSESSED:
        return _noted(photo)
    doubt = {"outcome": Outcome.UNCERTAIN, "conclusion": None, "abnormal_areas": (), "reason": QualityIssue.DUPLICATE.value}
    return photo.model_copy(update=doubt)


def _noted(photo: PhotoPrediction) -> PhotoPrediction:
    return photo.model_copy(update={"notes": (*photo.notes, QualityIssue.DUPLICATE.value)})
