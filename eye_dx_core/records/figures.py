"""What of a case its day counts: a few hundred bytes instead of four whole documents, and nothing that names a person."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from pydantic import AwareDatetime

from eye_dx_core.records.case_record import CaseRecord
from eye_dx_core.schema.case import Laterality
from eye_dx_core.schema.diagnosis import AiDiagnosis, EyeDiagnosis, Outcome, PhotoPrediction
from eye_dx_core.schema.frozen import Frozen
from eye_dx_core.schema.report import DiagnosisReport, GuardOutcome
from eye_dx_core.schema.review import DoctorReview, EyeReview
from eye_dx_core.schema.routing import Urgency

VERSION = 1
"""Of the form in which they are kept; figures of another version are made anew from the whole records when they are next read."""


class PhotoFigures(Frozen):
    """One photograph's reading."""

    outcome: Outcome
    conclusion: str | None = None
    confidence: float | None = None
    distance: float | None = None
    quality: str | None = None
    """Level, and the worst issue where there is one: `usable, blurred`."""
    camera: str | None = None


class EyeFigures(Frozen):
    """One eye's reading, with how many of its photographs could not be read at all."""

    eye: Laterality | None
    outcome: Outcome
    conclusion: str | None = None
    confidence: float | None = None
    reason: str | None = None
    photos: tuple[PhotoFigures, ...] = ()


class DiagnosisFigures(Frozen):
    """The model's word on the case."""

    diagnosed_at: AwareDatetime
    model_version: str
    checkpoint_sha256: str
    outcome: Outcome
    conclusion: str | None = None
    urgency: Urgency | None = None
    eyes: tuple[EyeFigures, ...]


class ReviewFigures(Frozen):
    """The doctor's word, without doctor, recommendation and features."""

    reviewed_at: AwareDatetime
    conclusion: str
    eyes: tuple[EyeReview, ...] = ()
    blind_eyes: tuple[EyeReview, ...] | None = None
    urgency: Urgency | None = None


class ReportFigures(Frozen):
    """How the report came to be, without its text."""

    written_at: AwareDatetime
    writer: str
    fallback_reason: str | None = None
    guard: GuardOutcome | None = None
    guard_rules: tuple[str, ...] = ()


class DeliveryFigures(Frozen):
    """One message about the case, without its body."""

    type: str
    created_at: AwareDatetime
    sent_at: AwareDatetime | None = None


class KeptFigures(Frozen):
    """What is kept of a case; when it came and what went out stands in the clear beside it."""

    diagnosis: DiagnosisFigures | None = None
    review: ReviewFigures | None = None
    report: ReportFigures | None = None


@dataclass(frozen=True)
class CaseFigures:
    """One case as its day counts it. `site` is who sent it: the producer of its message."""

    case_id: str
    received_at: datetime
    site: str
    kept: KeptFigures = KeptFigures()
    deliveries: tuple[DeliveryFigures, ...] = ()

    @property
    def diagnosis(self) -> DiagnosisFigures | None:
        """What counts of the model's word."""
        return self.kept.diagnosis

    @property
    def review(self) -> ReviewFigures | None:
        """What counts of the doctor's word."""
        return self.kept.review

    @property
    def report(self) -> ReportFigures | None:
        """How the report came to be."""
        return self.kept.report


class Figures(Protocol):
    """What we need of the records for the clinic's day; part of the port `Records`."""

    def day_figures(self, *, since: datetime, until: datetime) -> Iterator[CaseFigures]:
        """What counts of the cases received in the half-open interval, oldest first. It is kept with the case and erased with it."""
        ...

    def count_diagnosed(self, *, since: datetime, until: datetime) -> int:
        """How many of the cases received in the half-open interval have been read."""
        ...


def figures_of(record: CaseRecord) -> CaseFigures:
    """What counts of everything that is known of a case."""
    return CaseFigures(
        case_id=record.case.case_id,
        received_at=record.case.received_at,
        site=record.case.producer,
        kept=keep(record),
        deliveries=tuple(DeliveryFigures(type=one.type, created_at=one.created_at, sent_at=one.sent_at) for one in record.outbox),
    )


def keep(record: CaseRecord) -> KeptFigures:
    """What is kept of it."""
    return KeptFigures(
        diagnosis=_figures_of_diagnosis(record.diagnosis) if record.diagnosis else None,
        review=_figures_of_review(record.review) if record.review else None,
        report=_figures_of_report(record.report) if record.report else None,
    )


def _figures_of_diagnosis(diagnosis: AiDiagnosis) -> DiagnosisFigures:
    """What counts of a diagnosis."""
    return DiagnosisFigures(
        diagnosed_at=diagnosis.diagnosed_at,
        model_version=diagnosis.model_version,
        checkpoint_sha256=diagnosis.checkpoint_sha256,
        outcome=diagnosis.outcome,
        conclusion=diagnosis.conclusion,
        urgency=diagnosis.routing.urgency if diagnosis.routing else None,
        eyes=tuple(_figures_of_eye(eye) for eye in diagnosis.eyes),
    )


def _figures_of_eye(eye: EyeDiagnosis) -> EyeFigures:
    return EyeFigures(
        eye=eye.eye,
        outcome=eye.outcome,
        conclusion=eye.conclusion,
        confidence=_short(eye.confidence),
        reason=eye.reason,
        photos=tuple(_figures_of_photo(photo) for photo in eye.photos),
    )


def _figures_of_photo(photo: PhotoPrediction) -> PhotoFigures:
    quality = photo.quality
    return PhotoFigures(
        outcome=photo.outcome,
        conclusion=photo.conclusion,
        confidence=_short(photo.confidence),
        distance=_short(photo.distance),
        quality=", ".join((quality.level, *quality.issues[:1])) if quality else None,
        camera=photo.camera,
    )


def _short(value: float | None) -> float | None:
    """Four decimals are more than anybody reads, and half as many bytes."""
    return None if value is None else round(value, 4)


def _figures_of_review(review: DoctorReview) -> ReviewFigures:
    """What counts of a review."""
    return ReviewFigures(
        reviewed_at=review.reviewed_at,
        conclusion=review.conclusion,
        eyes=_without_features(review.eyes),
        blind_eyes=None if review.blind_eyes is None else _without_features(review.blind_eyes),
        urgency=review.urgency,
    )


def _without_features(eyes: tuple[EyeReview, ...]) -> tuple[EyeReview, ...]:
    return tuple(eye.model_copy(update={"features": ()}) for eye in eyes)


def _figures_of_report(report: DiagnosisReport) -> ReportFigures:
    """What counts of a report."""
    return ReportFigures(
        written_at=report.written_at,
        writer=report.writer,
        fallback_reason=report.fallback_reason,
        guard=report.guard,
        guard_rules=report.guard_rules,
    )
