"""From photographs to the model's word on photo, eye and case. What cannot be read is not assessed, and never normal."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import TypeGuard, TypeVar

import numpy as np

from eye_dx_core.errors import BadPhoto
from eye_dx_core.inference.files import PhotoFile, readable
from eye_dx_core.inference.intake import PhotoIntake, Prepared
from eye_dx_core.inference.laterality import claims_of, decide_eye, has_conflict
from eye_dx_core.inference.pairing import hold_duplicates, unseen_eye
from eye_dx_core.inference.predictor import Predictor, SquareReading
from eye_dx_core.inference.preparing import PreparedPhoto
from eye_dx_core.inference.zones import find_zones, weights_of
from eye_dx_core.model.reference import UNLIKE_ABOVE
from eye_dx_core.routing.deciding import decide_eye_routing, decide_routing
from eye_dx_core.routing.rules import RoutingRules, shipped_rules
from eye_dx_core.schema.case import Case, FundusPhoto, Laterality, VisionData
from eye_dx_core.schema.condition import Label
from eye_dx_core.schema.diagnosis import AiDiagnosis, EyeDiagnosis, Outcome, PhotoPrediction
from eye_dx_core.schema.quality import QualityLevel

_Reading = TypeVar("_Reading", PhotoPrediction, EyeDiagnosis)


@dataclass(frozen=True)
class ReadPhoto:
    """The model's word on a photograph, and what it saw of it; None where the file could not be opened."""

    prediction: PhotoPrediction
    prepared: PreparedPhoto | None


def diagnose_cases(
    cases: Sequence[Case], predictor: Predictor, *, photos: PhotoIntake, now: datetime, rules: RoutingRules | None = None
) -> tuple[AiDiagnosis, ...]:
    """Read all photographs of all cases together, and give each case its diagnosis, in the order of the cases.

    `rules` propose how soon somebody is seen; None means those that come with the project.
    """
    wanted = [photo for case in cases for photo in case.screening.photos]
    prepared = photos.prepare([photo.location for photo in wanted], size=predictor.card.preprocess.size)
    read = _read_photos(zip(wanted, prepared, strict=True), predictor)
    diagnosed = (_diagnose(case, [next(read) for _ in case.screening.photos], predictor, now) for case in cases)
    return tuple(
        _route(diagnosis, case.screening.vision, rules or shipped_rules()) for case, diagnosis in zip(cases, diagnosed, strict=True)
    )


def predict_photos(files: Sequence[PhotoFile], predictor: Predictor, *, photos: PhotoIntake) -> Iterator[ReadPhoto]:
    """Read files that the caller names, one after the other; which eye it is, name and picture say."""
    named = (FundusPhoto(photo_id=str(number), location=readable(Path(path.name)) or "?") for number, (path, _) in enumerate(files, 1))
    prepared = photos.prepare_files(files, size=predictor.card.preprocess.size)
    return _read_photos(zip(named, prepared, strict=True), predictor)


def _read_photos(photos: Iterable[tuple[FundusPhoto, Prepared]], predictor: Predictor) -> Iterator[ReadPhoto]:
    """Read in batches as the photographs come, so that the next are prepared while these are read."""
    coming = iter(photos)
    while batch := list(islice(coming, predictor.batch_size)):
        squares = [one.square for _, one in batch if _is_readable(one)]
        readings = iter(predictor.read_squares(np.stack(squares)) if squares else ())
        for photo, one in batch:
            prediction = _predict(photo, one, next(readings) if _is_readable(one) else None, predictor)
            yield ReadPhoto(prediction, one if isinstance(one, PreparedPhoto) else None)


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
        camera=prepared.camera,
        notes=prepared.notes,
        outcome=Outcome.NOT_ASSESSED,
        reason=prepared.quality.issues[0] if prepared.quality.issues else None,
    )
    return _conclude(seen, prepared, reading, predictor) if reading else seen


def _conclude(seen: PhotoPrediction, prepared: PreparedPhoto, reading: SquareReading, predictor: Predictor) -> PhotoPrediction:
    label = predictor.labels[reading.condition_index]
    confidence = min(1.0, float(reading.probabilities[reading.condition_index]))
    distance = predictor.distance(reading.embedding)
    doubt = _find_doubt(seen, label, confidence, distance, predictor.card.uncertain_below)
    evidence = None if doubt else reading.evidence
    return seen.model_copy(
        update={
            "outcome": Outcome.UNCERTAIN if doubt else Outcome.ASSESSED,
            "conclusion": None if doubt else label.code,
            "confidence": confidence,
            "probabilities": {one.code: float(p) for one, p in zip(predictor.labels, reading.probabilities, strict=True)},
            "answer_set": predictor.answer_set(reading.probabilities),
            "distance": distance,
            "evidence": evidence,
            "abnormal_areas": find_zones(weights_of(evidence), prepared.disc, seen.eye) if evidence else (),
            "reason": doubt,
        }
    )


def _find_doubt(seen: PhotoPrediction, label: Label, confidence: float, distance: float | None, uncertain_below: float) -> str | None:
    """Why a reading gives no conclusion, the weightiest reason first; None when it may give one."""
    hides_findings = seen.quality.hides_findings if seen.quality else None
    if has_conflict(seen.eye_claims):
        return "laterality_conflict"
    if distance is not None and distance > UNLIKE_ABOVE:
        return "unlike_training_photos"
    if confidence < uncertain_below:
        return "low_confidence"
    # Signs of disease may hide behind it, so that nothing found does not mean normal; a sign that was found remains one.
    return hides_findings.value if hides_findings and label.is_normal else None


def _diagnose(case: Case, read: Sequence[ReadPhoto], predictor: Predictor, now: datetime) -> AiDiagnosis:
    pixels = [one.prepared.pixels_sha256 if one.prepared else None for one in read]
    eyes = _diagnose_eyes(hold_duplicates([one.prediction for one in read], pixels))
    worst = worst_of(eyes)
    return AiDiagnosis(
        case_id=case.case_id,
        model_name=predictor.model_name,
        model_version=predictor.model_version,
        checkpoint_sha256=predictor.checkpoint_sha256,
        engine=predictor.engine_name,
        diagnosed_at=now,
        eyes=eyes,
        outcome=worst.outcome if worst else Outcome.NOT_ASSESSED,
        conclusion=worst.conclusion if worst else None,
        confidence=worst.confidence if worst else None,
        abnormal_areas=worst.abnormal_areas if worst else (),
    )


def _route(diagnosis: AiDiagnosis, vision: VisionData, rules: RoutingRules) -> AiDiagnosis:
    eyes = tuple(eye.model_copy(update={"routing": decide_eye_routing(eye, vision, rules)}) for eye in diagnosis.eyes)
    return diagnosis.model_copy(update={"eyes": eyes, "routing": decide_routing(eyes, vision, rules)})


def _diagnose_eyes(photos: Sequence[PhotoPrediction]) -> tuple[EyeDiagnosis, ...]:
    """Both eyes, also one without a photograph, then what nobody knows the eye of; nothing for a case without photographs."""
    if not photos:
        return ()
    seen = {eye: [photo for photo in photos if photo.eye is eye] for eye in Laterality}
    sided = tuple(_diagnose_eye(eye, seen[eye]) if seen[eye] else unseen_eye(eye, photos) for eye in Laterality)
    unknown = [photo for photo in photos if photo.eye is None]
    return (*sided, _diagnose_eye(None, unknown)) if unknown else sided


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
