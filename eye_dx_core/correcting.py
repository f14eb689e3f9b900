"""From signed reviews to labelled photographs: only where the label of an eye is beyond doubt the label of its photograph."""

import hashlib
import hmac
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from eye_dx_core.dataset.corrections import Against, CorrectedLabel, CorrectedLabels
from eye_dx_core.dataset.manifest import Manifest
from eye_dx_core.dataset.photo import read_photo
from eye_dx_core.dataset.scanning import hash_pixels, key_of_patient, key_of_patient_in_name
from eye_dx_core.dataset.splitting import Split, Splits, group_of_photos
from eye_dx_core.errors import BadPhoto
from eye_dx_core.records.port import CaseRecord
from eye_dx_core.reporting.agreement import decide_agreement
from eye_dx_core.schema.case import DELETED, Case, Laterality
from eye_dx_core.schema.condition import LABELS
from eye_dx_core.schema.diagnosis import AiDiagnosis, EyeDiagnosis
from eye_dx_core.schema.quality import QualityLevel
from eye_dx_core.schema.review import DoctorReview, EyeReview

FindPhoto = Callable[[str], bytes]
"""The content of a photograph at a location; raises `BadPhoto` for what is not there."""
LOCKED = "patient_in_locked_test"


@dataclass(frozen=True)
class TrainedOn:
    """Which patients the training photographs know, by key and by pixels, and who of them is in the locked test."""

    key_of_pixels: dict[str, str]
    keys: frozenset[str]
    locked_keys: frozenset[str]


def trained_on(manifest: Manifest | None, splits: Splits | None) -> TrainedOn:
    """What a manifest and its splits tell; without them nobody is known."""
    if manifest is None:
        return TrainedOn({}, frozenset(), frozenset())
    groups = group_of_photos(manifest)
    tested = {row.photo_id for row in manifest.rows if splits and splits.pixels.get(row.pixel_sha256) is Split.TEST}
    locked = {groups[photo_id] for photo_id in tested}
    return TrainedOn(
        key_of_pixels={row.pixel_sha256: row.patient_key for row in manifest.rows},
        keys=frozenset(row.patient_key for row in manifest.rows),
        locked_keys=frozenset(row.patient_key for row in manifest.rows if groups[row.photo_id] in locked),
    )


@dataclass(frozen=True)
class _Candidate:
    patient_id: str
    case: Case
    eye: EyeDiagnosis
    said: EyeReview
    review: DoctorReview
    diagnosis: AiDiagnosis


def gather_corrections(records: Iterable[CaseRecord], find_photo: FindPhoto, *, known: TrainedOn, salt: bytes) -> CorrectedLabels:
    """Label photographs by what doctors signed.

    A label is an eye's, not a photograph's: an eye with several photographs is left out, and so is one with several labels, one
    that nobody could read, and every eye of a patient who has a photograph in the locked test.

    Args:
        records: everything known of the cases.
        find_photo: where the photographs lie.
        known: whom the training photographs know.
        salt: of the hash that stands for a patient.
    """
    left_out = Counter[str]()
    found: list[tuple[_Candidate, str]] = []
    keys: dict[str, set[str]] = {}
    for candidate in _candidates(records, left_out):
        location = _location_of(candidate)
        try:
            pixels = hash_pixels(read_photo(find_photo(location)).rgb)
        except BadPhoto as error:
            left_out[f"photo_{error.reason}"] += 1
            continue
        keys.setdefault(candidate.patient_id, set()).update(_keys_of(candidate.patient_id, location, pixels, known))
        found.append((candidate, pixels))
    rows: list[CorrectedLabel] = []
    for candidate, pixels in found:
        theirs = keys[candidate.patient_id]
        if theirs & known.locked_keys:
            left_out[LOCKED] += 1
            continue
        key = min(theirs & known.keys, default=_salted(candidate.patient_id, salt))
        rows.append(_row(candidate, pixels, key))
    return CorrectedLabels(rows=tuple(rows), left_out=dict(sorted(left_out.items())))


def _candidates(records: Iterable[CaseRecord], left_out: Counter[str]) -> Iterator[_Candidate]:
    for record in records:
        review, diagnosis, patient = record.review, record.diagnosis, record.case.screening.patient
        if review is None or diagnosis is None:
            continue
        for said in review.eyes:
            eye = diagnosis.find_eye(said.eye)
            reason = _why_not(said, eye, record.case) if patient else "patient_unknown"
            if reason is None and eye is not None and patient is not None:
                yield _Candidate(patient.patient_id, record.case, eye, said, review, diagnosis)
            else:
                left_out[reason or "not_photographed"] += 1


def _why_not(said: EyeReview, eye: EyeDiagnosis | None, case: Case) -> str | None:
    """Why the doctor's word on an eye labels no photograph; None where it does."""
    photos = eye.photos if eye else ()
    is_normal = any(LABELS[code].is_normal for code in said.labels)
    reasons = {
        "ungradable": said.ungradable is not None,
        "no_label_chosen": not said.labels,
        "several_labels": len(said.labels) > 1,
        "normal_with_something_else": is_normal and bool(said.diseases),
        "not_photographed": not photos,
        "several_photos": len(photos) > 1,
        "photo_not_fit_to_be_read": any(photo.quality and photo.quality.level is QualityLevel.REJECT for photo in photos),
        "photo_deleted": all(one.location == DELETED for one in case.screening.photos),
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def _location_of(candidate: _Candidate) -> str:
    wanted = candidate.eye.photos[0].photo_id
    return next(one.location for one in candidate.case.screening.photos if one.photo_id == wanted)


def _keys_of(patient_id: str, location: str, pixels: str, known: TrainedOn) -> Iterator[str]:
    """Every key under which the training photographs may know this patient: by id, by the file's name, by the very photograph."""
    yield key_of_patient(patient_id)
    if (in_name := key_of_patient_in_name(location)) is not None:
        yield in_name
    if pixels in known.key_of_pixels:
        yield known.key_of_pixels[pixels]


def _row(candidate: _Candidate, pixels: str, key: str) -> CorrectedLabel:
    said, review = candidate.said, candidate.review
    code = said.labels[0]
    label = f"D{said.dr_grade:d}" if code == "D" and said.dr_grade is not None else code
    return CorrectedLabel(
        case_id=candidate.case.case_id,
        photo_id=candidate.eye.photos[0].photo_id,
        pixel_sha256=pixels,
        label=label,
        dr_grade=said.dr_grade if code == "D" else LABELS[code].dr_grade,
        eye=Laterality(said.eye),
        patient_key=key,
        against=_against(candidate),
        model_version=candidate.diagnosis.model_version,
        review_id=review.review_id,
        reviewed_at=review.reviewed_at,
    )


def _against(candidate: _Candidate) -> Against:
    label = candidate.eye.label
    if label is None:
        return Against.AI_HAD_NONE
    return Against.CONFIRMS if decide_agreement(label, "、".join(candidate.said.terms_zh)) else Against.OVERRIDES


def _salted(patient_id: str, salt: bytes) -> str:
    return hmac.new(salt, patient_id.encode(), hashlib.sha256).hexdigest()[:16]
