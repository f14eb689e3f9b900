"""Forgets persons when a term is over or when they ask for it: rows, pages and photographs; the audit log tells of each act."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from eye_dx_core.casework import draft_of, report_page
from eye_dx_core.dataset.photo import sniff_format
from eye_dx_core.errors import BadPhoto, NotFound
from eye_dx_core.inference.photos import PhotoRoots
from eye_dx_core.records.audit import AuditEvent, pseudonym
from eye_dx_core.records.port import Records
from eye_dx_core.schema.case import Case
from eye_dx_core.schema.frozen import Frozen

_BATCH = 200


class Terms(Frozen):
    """How long what tells of a person is kept; None is for ever.

    Identities count from the last screening, photographs and messages from the receipt of their case.
    """

    identities: timedelta | None = None
    photos: timedelta | None = None
    messages: timedelta | None = None


class Forgotten(Frozen):
    """What was deleted."""

    identities: int = 0
    photos: int = 0
    messages: int = 0


class Erased(Frozen):
    """What was deleted of one patient, and how many photographs were left where they lie."""

    cases: int
    photos: int
    photos_left: int


@dataclass(frozen=True)
class Shelves:
    """Where files of patients lie: delivered pages, and photographs, of which training photographs are never deleted."""

    pages: Path
    photos: PhotoRoots
    training_photos: Path


def erase_patient(
    records: Records, patient_id: str, *, shelves: Shelves, with_photos: bool, actor: str, reason: str, at: datetime
) -> Erased:
    """Delete a patient: pages, then photographs if asked for, then rows; a crash in between leaves the rows for another try.

    What still waits in a queue comes as a new case; drain first, or erase again.

    Raises:
        NotFound: there is no case of this patient.
    """
    cases = [records.get_case(case_id) for case_id in records.find_case_ids(patient_id=patient_id)]
    if not cases:
        raise NotFound("there is no case of this patient")
    _delete_pages(shelves, (case.case_id for case in cases))
    photos = sum(len(case.screening.photos) for case in cases)
    deleted = sum(_delete_photos(shelves, case) for case in cases) if with_photos else 0
    counts: dict[str, int | str] = {"cases": len(cases), "photos_deleted": deleted, "photos_left": photos - deleted, "reason": reason}
    event = AuditEvent(at=at, actor=actor, action="erase", subject=pseudonym(patient_id), details=counts)
    records.erase_patient(patient_id, event)
    return Erased(cases=len(cases), photos=deleted, photos_left=photos - deleted)


def forget_after_terms(records: Records, terms: Terms, *, shelves: Shelves, actor: str, now: Callable[[], datetime]) -> Forgotten:
    """Delete what is kept longer than its term."""
    at = now()
    return Forgotten(
        identities=_forget_identities(records, shelves, actor, at, before=at - terms.identities) if terms.identities else 0,
        photos=_forget_photos(records, shelves, actor, at, before=at - terms.photos) if terms.photos else 0,
        messages=records.drop_raw_messages(
            before=at - terms.messages, event=AuditEvent(at=at, actor=actor, action="drop_messages", subject="messages")
        )
        if terms.messages
        else 0,
    )


def _forget_identities(records: Records, shelves: Shelves, actor: str, at: datetime, *, before: datetime) -> int:
    unseen = records.find_identities_to_forget(unseen_since=before)
    for patient_id in unseen:
        _delete_pages(shelves, records.find_case_ids(patient_id=patient_id))
        records.forget_identity(patient_id, AuditEvent(at=at, actor=actor, action="forget_identity", subject=pseudonym(patient_id)))
    return len(unseen)


def _forget_photos(records: Records, shelves: Shelves, actor: str, at: datetime, *, before: datetime) -> int:
    total = 0
    while cases := records.cases_with_photos(before=before, limit=_BATCH):
        deleted = sum(_delete_photos(shelves, case) for case in cases)
        event = AuditEvent(at=at, actor=actor, action="delete_photos", subject=f"{len(cases)} cases", details={"photos_deleted": deleted})
        records.mark_photos_deleted([case.case_id for case in cases], event)
        total += deleted
    return total


def _delete_pages(shelves: Shelves, case_ids: Iterable[str]) -> None:
    for case_id in case_ids:
        page = report_page(shelves.pages, case_id)
        for file in (page, draft_of(page)):
            file.unlink(missing_ok=True)


def _delete_photos(shelves: Shelves, case: Case) -> int:
    """Delete the photographs of a case; return how many.

    A message may name any file under the roots: what is no picture, or is a training photograph, stays.
    """
    deleted = 0
    for photo in case.screening.photos:
        try:
            path = shelves.photos.find_photo(photo.location)
        except BadPhoto:
            continue
        with path.open("rb") as file:
            is_picture = sniff_format(file.read(16)) is not None
        if is_picture and not path.is_relative_to(shelves.training_photos):
            path.unlink()
            deleted += 1
    return deleted
