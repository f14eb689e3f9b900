"""From photographs to the model's word on photo, eye and case. What cannot be read is not assessed, and never normal."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import TypeGuard, TypeVar

import numpy as np

from eye_dx_core.errors import BadPhoto
from eye_dx_core.inference.intake import PhotoIntake, Prepared
from eye_dx_core.inference.laterality import claims_of, decide_eye, has_conflict
from eye_dx_core.inference.predictor import Predictor, SquareReading
from eye_dx_core.inference.preparing import PreparedPhoto
from eye_dx_core.inference.zones import find_zones, weights_of
from eye_dx_core.schema.case import Case, FundusPhoto, Laterality
from eye_dx_core.schema.diagnosis import AiDiagnosis, EyeDiagnosis, Outcome, PhotoPrediction
from eye_dx_core.schema.quality import QualityLevel

_Reading = TypeVar("_Reading", PhotoPrediction, EyeDiagnosis)


def diagnose_cases(cases: Sequence[Case], predictor: Predictor, *, photos: PhotoIntake, now: datetime) -> tuple[AiDiagnosis, ...]:
    """Read all photographs of all cases together, and give each case its diagnosis, in the order of the cases."""
    wanted = [photo for case in cases for photo in case.screening.photos]
    prepared = photos.prepare([photo.location for photo in wanted], size=predictor.card.preprocess.size)
    read = _read_photos(zip(wanted, prepared, strict=True), predictor)
    return tuple(_diagnose(case, [next(read) for _ in case.screening.photos], predictor, now) for case in cases)


def predict_photos(paths: Sequence[Path], predictor: Predictor, *, photos: PhotoIntake) -> Iterator[PhotoPrediction]:
    """Read files that the caller names, one after the other; which eye it is, name and picture say."""
    named = (FundusPhoto(photo_id=str(number), location=path.name or "?") for number, path in enumerate(paths, 1))
    prepared = photos.prepare_files(paths, size=predictor.card.preprocess.size)
    return _read_photos(zip(named, prepared, strict=True), predictor)


def _read_photos(photos: Iterable[tuple[FundusPhoto, Prepared]], predictor: Predictor) -> Iterator[PhotoPrediction]:
    """Read in batches as the photographs come, so that the next are prepared while these are read."""
    coming = iter(photos)
    while batch := list(islice(coming, predictor.batch_size)):
        squares = [one.square for _, one in batch if _is_readable(one)]
        readings = iter(predictor.read_squares(np.stack(squares)) if squares else ())
        yield from (_predict(photo, one, next(readings) if _is_readable(one) else None, predictor) for photo, one in batch)


def _is_readable(prepared: Prepared) -> TypeGuard[PreparedPhoto]:
    return isinstance(prepared, PreparedPhoto) and prepared.quality.level is not QualityLevel.REJECT


def _predict(photo: FundusPhoto, prepared: Prepared, reading: SquareReading | None, predictor: Predictor) -> PhotoPrediction:
    """What is said of one photograph. Anything that speaks against a conclusion leaves the probabilities, and no conclusion."""
    if isinstance(prepared, BadPhoto):
        claims = claims_of(photo)
        return PhotoPrediction(
            photo_id=photo.photo_id, eye=decide_eye(claims), eye_claims=claims, outcome=Outcome.NOT_ASSESSED, reason=prepared.reason
        )
    claims = claims_of(photo) + prepared.eye_claims
    seen = PhotoPrediction(
        photo_id=photo.photo_id,
        eye=decide_eye(claims),
        eye_claims=claims,
        quality=prepared.quality,
        notes=prepared.notes,
        outcome=Outcome.NOT_ASSESSED,
        reason=prepared.quality.issues[0] if prepared.quality.issues else None,
    )
    return _conclude(seen, prepared, reading, predictor) if reading else seen


def _conclude(seen: PhotoPrediction, prepared: PreparedPhoto, reading: SquareReading, predictor: Predictor) -> PhotoPrediction:
    label = predictor.labels[reading.condition_index]
    confidence = min(1.0, float(reading.probabilities[reading.condition_index]))
    doubt = "laterality_conflict" if has_conflict(seen.eye_claims) else None
    doubt = doubt or ("low_confidence" if confidence < predictor.card.uncertain_below else None)
    evidence = None if doubt else reading.evidence
    return seen.model_copy(
        update={
            "outcome": Outcome.UNCERTAIN if doubt else Outcome.ASSESSED,
            "conclusion": None if doubt else label.code,
            "confidence": confidence,
            "probabilities": {one.code: float(p) for one, p in zip(predictor.labels, reading.probabilities, strict=True)},
            "answer_set": predictor.answer_set(reading.probabilities),
            "evidence": evidence,
            "abnormal_areas": find_zones(weights_of(evidence), prepared.disc, seen.eye) if evidence else (),
            "reason": doubt,
        }
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
