"""What of a case its day counts: a few hundred bytes instead of four whole documents, and nothing that names a person.

Rows of plain cells rather than values with names: a hundred thousand cases are read in one go, and counted by columns.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from pydantic_core import from_json

from eye_dx_core.schema.diagnosis import AiDiagnosis, EyeDiagnosis, Outcome, PhotoPrediction
from eye_dx_core.schema.review import DoctorReview, EyeReview

if TYPE_CHECKING:  # the port is made of this part of it
    from eye_dx_core.records.port import CaseRecord

VERSION = 1
"""Of the form in which they are kept; figures of another version are made anew from the whole records when they are next read."""

Cell = str | float | int | None
Row = list[Cell]

# Times are seconds since 1970; `reader` is the first letters of the checkpoint's hash.
CASE_COLUMNS = (
    "received_at", "site", "diagnosed_at", "model_version", "reader", "conclusion", "urgency",
    "reviewed_at", "said", "written_at", "writer", "fallback_reason", "guard", "guard_rules",
)  # fmt: skip
"""`said` is the doctor's text where the review names no eyes; `guard_rules` are separated by spaces."""
EYE_COLUMNS = (
    "eye", "outcome", "conclusion", "confidence", "reason", "photos", "ungradable_photos", "camera", "said", "said_blind",
)  # fmt: skip
"""`said` and `said_blind` are an `EyeReview` as JSON, in the end and before the AI's word was shown."""
PHOTO_COLUMNS = ("outcome", "conclusion", "confidence", "distance", "quality", "camera")
"""`quality` is the level and the worst issue where there is one: `usable, blurred`."""
DELIVERY_COLUMNS = ("case", "type", "sent_at")
"""`case` is the number of the case within the day, from 0."""
_KEPT_FROM = 2
"""The columns of a case before this one stand in the clear beside it."""
_READER_LETTERS = 16


@dataclass
class DayFigures:
    """Rows of a day's cases, their eyes, their photographs and the messages about them; eyes and photographs in the order of the cases."""

    cases: list[Row] = field(default_factory=list[Row])
    eyes: list[Row] = field(default_factory=list[Row])
    eyes_of_case: list[int] = field(default_factory=list[int])
    photos: list[Row] = field(default_factory=list[Row])
    photos_of_case: list[int] = field(default_factory=list[int])
    deliveries: list[Row] = field(default_factory=list[Row])

    def add(self, received_at: datetime, site: str, kept: "Kept") -> None:
        """Add a case."""
        case, eyes, photos = kept
        self.cases.append([received_at.timestamp(), site, *case])
        self.eyes += eyes
        self.eyes_of_case.append(len(eyes))
        self.photos += photos
        self.photos_of_case.append(len(photos))

    def add_delivery(self, case: int, kind: str, sent_at: datetime | None) -> None:
        """Add a message about a case."""
        self.deliveries.append([case, kind, _seconds(sent_at)])


Kept = tuple[Row, list[Row], list[Row]]
"""What is kept of a case, its eyes and its photographs."""
NOTHING_KEPT: Kept = ([None] * (len(CASE_COLUMNS) - _KEPT_FROM), [], [])


class Figures(Protocol):
    """What we need of the records for the clinic's day; part of the port `Records`."""

    def day_figures(self, *, since: datetime, until: datetime) -> DayFigures:
        """What counts of the cases received in the half-open interval, oldest first. It is kept with the case and erased with it."""
        ...

    def count_diagnosed(self, *, since: datetime, until: datetime) -> int:
        """How many of the cases received in the half-open interval have been read."""
        ...


def figures_of(records: Iterable["CaseRecord"]) -> DayFigures:
    """The same from whole records."""
    figures = DayFigures()
    for number, record in enumerate(records):
        figures.add(record.case.received_at, record.case.producer, keep(record))
        for message in record.outbox:
            figures.add_delivery(number, message.type, message.sent_at)
    return figures


def write_kept(record: "CaseRecord") -> str:
    """What is kept of a case, as JSON."""
    return json.dumps(keep(record), ensure_ascii=False, separators=(",", ":"))


def read_kept(contents: Iterable[bytes]) -> list[Kept]:
    """What was kept of many cases."""
    # Equal strings are one object: there are few different ones in a hundred thousand cases.
    return from_json(b"[" + b",".join(contents) + b"]", cache_strings="all")


def keep(record: "CaseRecord") -> Kept:
    """What is kept of a case: no name, no phone, no doctor, no location of a photograph."""
    diagnosis, review, report = record.diagnosis, record.review, record.report
    case: Row = [*_diagnosis_cells(diagnosis), *_review_cells(review)]
    case += (
        [_seconds(report.written_at), report.writer, report.fallback_reason, report.guard, " ".join(report.guard_rules) or None]
        if report
        else [None] * 5
    )
    eyes = diagnosis.eyes if diagnosis else ()
    return case, list(_eye_rows(eyes, review)), [_photo_row(photo) for eye in eyes for photo in eye.photos]


def _diagnosis_cells(diagnosis: AiDiagnosis | None) -> Row:
    if diagnosis is None:
        return [None] * 5
    urgency = diagnosis.routing.urgency if diagnosis.routing else None
    reader = diagnosis.checkpoint_sha256[:_READER_LETTERS]
    return [_seconds(diagnosis.diagnosed_at), diagnosis.model_version, reader, diagnosis.conclusion, urgency]


def _review_cells(review: DoctorReview | None) -> Row:
    return [_seconds(review.reviewed_at), None if review.eyes else review.conclusion] if review else [None, None]


def _eye_rows(eyes: Iterable[EyeDiagnosis], review: DoctorReview | None) -> Iterator[Row]:
    final, blind = ({one.eye: _said(one) for one in said or ()} for said in (review.eyes, review.blind_eyes)) if review else ({}, {})
    for eye in eyes:
        cameras = {photo.camera for photo in eye.photos}
        unread = sum(photo.outcome is Outcome.NOT_ASSESSED for photo in eye.photos)
        read: Row = [eye.eye, eye.outcome, eye.conclusion, _short(eye.confidence), eye.reason]
        words = [final.get(eye.eye), blind.get(eye.eye)] if eye.eye else [None, None]
        yield [*read, len(eye.photos), unread, cameras.pop() if len(cameras) == 1 else None, *words]


def _said(eye: EyeReview) -> str | None:
    """None where nothing is concluded of the eye."""
    return eye.model_copy(update={"features": ()}).model_dump_json(exclude_defaults=True) if eye.terms_zh else None


def _photo_row(photo: PhotoPrediction) -> Row:
    quality = ", ".join((photo.quality.level, *photo.quality.issues[:1])) if photo.quality else None
    return [photo.outcome, photo.conclusion, _short(photo.confidence), _short(photo.distance), quality, photo.camera]


def _short(value: float | None) -> float | None:
    """Four decimals are more than anybody reads, and half as many bytes."""
    return None if value is None else round(value, 4)


def _seconds(at: datetime | None) -> float | None:
    return None if at is None else at.timestamp()
