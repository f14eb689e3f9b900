"""From photographs to the model's word on photo, eye and case. What cannot be read is not assessed, and never normal."""

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from eye_dx_core.dataset.photo import read_square
from eye_dx_core.errors import BadPhoto
from eye_dx_core.inference.evidence import find_zones
from eye_dx_core.inference.photos import PhotoRoots
from eye_dx_core.inference.predictor import Predictor, SquareReading
from eye_dx_core.inference.quality import find_quality_problem
from eye_dx_core.schema.case import Case, FundusPhoto, Laterality, find_eye_in_name
from eye_dx_core.schema.diagnosis import AiDiagnosis, EyeDiagnosis, Outcome, PhotoPrediction

Square = NDArray[np.uint8]
_Reading = TypeVar("_Reading", PhotoPrediction, EyeDiagnosis)


def diagnose_cases(cases: Sequence[Case], predictor: Predictor, *, photos: PhotoRoots, now: datetime) -> tuple[AiDiagnosis, ...]:
    """Read all photographs of all cases together, and give each case its diagnosis, in the order of the cases."""
    wanted = [photo for case in cases for photo in case.screening.photos]
    read = iter(_read_photos(wanted, [_opener(photos, photo.location) for photo in wanted], predictor))
    return tuple(_diagnose(case, [next(read) for _ in case.screening.photos], predictor, now) for case in cases)


def predict_photos(paths: Sequence[Path], predictor: Predictor) -> tuple[PhotoPrediction, ...]:
    """Read files that the caller names; the eye is taken from the file name."""
    photos = [
        FundusPhoto(photo_id=str(number), location=path.name or "?", eye=find_eye_in_name(path.name))
        for number, path in enumerate(paths, 1)
    ]
    return tuple(_read_photos(photos, [lambda path=path: path for path in paths], predictor))


def _opener(photos: PhotoRoots, location: str) -> Callable[[], Path]:
    return lambda: photos.find_photo(location)


def _read_photos(photos: Sequence[FundusPhoto], openers: Sequence[Callable[[], Path]], predictor: Predictor) -> list[PhotoPrediction]:
    """Prepare each by itself, so that a bad one spoils nothing, then read the good ones in batches."""
    prepared = [_prepare(find, predictor.card.preprocess.size) for find in openers]
    good = [square for square in prepared if not isinstance(square, str)]
    readings = iter(predictor.read_squares(np.stack(good)) if good else ())
    return [
        PhotoPrediction(photo_id=photo.photo_id, eye=photo.eye, outcome=Outcome.NOT_ASSESSED, reason=square)
        if isinstance(square, str)
        else _predict(photo, square, next(readings), predictor)
        for photo, square in zip(photos, prepared, strict=True)
    ]


def _prepare(find: Callable[[], Path], size: int) -> Square | str:
    """The square the model sees, or the reason why there is none."""
    try:
        square = read_square(find(), size=size)
    except BadPhoto as error:
        return error.reason
    return find_quality_problem(square) or square


def _predict(photo: FundusPhoto, square: Square, reading: SquareReading, predictor: Predictor) -> PhotoPrediction:
    """A confidence under the card's threshold is `uncertain`: then no conclusion is given, only the probabilities."""
    label = predictor.labels[reading.condition_index]
    confidence = min(1.0, float(reading.probabilities[reading.condition_index]))
    is_sure = confidence >= predictor.card.uncertain_below
    return PhotoPrediction(
        photo_id=photo.photo_id,
        eye=photo.eye,
        outcome=Outcome.ASSESSED if is_sure else Outcome.UNCERTAIN,
        conclusion=label.code if is_sure else None,
        confidence=confidence,
        probabilities={one.code: float(p) for one, p in zip(predictor.labels, reading.probabilities, strict=True)},
        abnormal_areas=find_zones(reading.evidence, square, photo.eye) if is_sure and not label.is_normal else (),
        reason=None if is_sure else "low_confidence",
    )


def _diagnose(case: Case, photos: Sequence[PhotoPrediction], predictor: Predictor, now: datetime) -> AiDiagnosis:
    sides: tuple[Laterality | None, ...] = (Laterality.RIGHT, Laterality.LEFT, None)
    by_eye = {eye: [photo for photo in photos if photo.eye is eye] for eye in sides}
    eyes = tuple(_diagnose_eye(eye, seen) for eye, seen in by_eye.items() if seen)
    worst = worst_of(eyes)
    return AiDiagnosis(
        case_id=case.case_id,
        model_name=predictor.model_name,
        model_version=predictor.model_version,
        checkpoint_sha256=predictor.checkpoint_sha256,
        diagnosed_at=now,
        eyes=eyes,
        outcome=worst.outcome if worst else Outcome.NOT_ASSESSED,
        conclusion=worst.conclusion if worst else None,
        confidence=worst.confidence if worst else None,
        abnormal_areas=worst.abnormal_areas if worst else (),
    )


def _diagnose_eye(eye: Laterality | None, photos: Sequence[PhotoPrediction]) -> EyeDiagnosis:
    """An eye is as its worst photo, except that a photo which could not be read does not undo one that could."""
    read = [photo for photo in photos if photo.outcome is not Outcome.NOT_ASSESSED]
    worst = max(read or photos, key=_badness)  # the caller gives at least one photo
    return EyeDiagnosis(
        eye=eye,
        photos=tuple(photos),
        outcome=worst.outcome,
        conclusion=worst.conclusion,
        confidence=worst.confidence,
        abnormal_areas=worst.abnormal_areas,
        reason=worst.reason,
    )


def worst_of(readings: Sequence[_Reading]) -> _Reading | None:
    """The reading that the whole must take: a finding, else an uncertain or unread part, and normal only if all are normal.

    Among findings the one the model is surest of; among the rest, uncertain before not assessed.
    """
    return max(readings, key=_badness, default=None)


def _badness(reading: PhotoPrediction | EyeDiagnosis) -> tuple[int, float]:
    if reading.label is not None and not reading.label.is_normal:
        return 3, reading.confidence or 0.0
    return {Outcome.UNCERTAIN: 2, Outcome.NOT_ASSESSED: 1, Outcome.ASSESSED: 0}[reading.outcome], 0.0
