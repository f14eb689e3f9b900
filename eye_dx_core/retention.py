"""Forgets persons when a term is over or when they ask for it: rows, pages and photographs; the audit log tells of each act."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path, PurePosixPath

from eye_dx_core.casework import delete_report_files, report_page, report_pdf
from eye_dx_core.dataset.photo_file import HEAD_BYTES, sniff_format
from eye_dx_core.errors import BadPhoto, EyeDxError, NotFound, ServiceUnavailable
from eye_dx_core.files.port import FileStore
from eye_dx_core.inference.sources.folders import FolderPhotos
from eye_dx_core.queue.port import Queue
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
    pages: int = 0
    """Of patients who were erased or forgotten before, pages and PDFs."""


class Erased(Frozen):
    """What was deleted of one patient, and how many photographs were left where they lie."""

    cases: int
    photos: int
    photos_left: int


@dataclass(frozen=True)
class Shelves:
    """Where files of patients lie: delivered reports, and photographs, of which training photographs are never deleted.

    Photographs on web servers and in object stores are their owners' to delete.
    """

    files: FileStore
    photos: FolderPhotos
    training_photos: Path


def erase_patient(
    records: Records, patient_id: str, *, shelves: Shelves, with_photos: bool, actor: str, reason: str, at: datetime
) -> Erased:
    """Delete a patient: pages, then photographs if asked for, then rows; a crash in between leaves the rows for another try.

    What still waits in a queue comes as a new case; drain first, or erase again.

    Raises:
        NotFound: there is no case of this patient.
        FilesUnavailable: the pages could not be deleted, so nothing else was.
    """
    cases = [records.get_case(case_id) for case_id in records.find_case_ids(patient_id=patient_id)]
    if not cases:
        raise NotFound("there is no case of this patient")
    _delete_pages(shelves, (case.case_id for case in cases))
    photos = sum(len(case.screening.photos) for case in cases)
    deleted = sum(_delete_photos(shelves, case, is_mounted=True).deleted for case in cases) if with_photos else 0
    counts: dict[str, int | str] = {"cases": len(cases), "photos_deleted": deleted, "photos_left": photos - deleted, "reason": reason}
    event = AuditEvent(at=at, actor=actor, action="erase", subject=pseudonym(patient_id), details=counts)
    records.erase_patient(patient_id, event)
    return Erased(cases=len(cases), photos=deleted, photos_left=photos - deleted)


def forget_after_terms(
    queue: Queue, records: Records, terms: Terms, *, shelves: Shelves, actor: str, now: Callable[[], datetime]
) -> Forgotten:
    """Delete what is kept longer than its term, and pages that were to be deleted before. Dead letters are messages too.

    Raises:
        EyeDxError: photographs could not be deleted; everything else was done, and they are tried again next time.
    """
    at = now()
    messages = identities = 0
    if terms.messages:
        event = AuditEvent(at=at, actor=actor, action="drop_messages", subject="messages")
        messages = records.drop_raw_messages(before=at - terms.messages, event=event)
        messages += queue.discard_dead_letters(before=at - terms.messages)
    if terms.photos:  # before the identities: with an identity go the locations of its photographs
        photos, left = _forget_photos(records, shelves, actor, at, before=at - terms.photos)
    else:
        photos, left = 0, 0
    if terms.identities:
        identities = _forget_identities(records, shelves, actor, at, before=at - terms.identities)
    pages = _delete_lost_pages(records, shelves, actor, at)
    if left:
        raise EyeDxError(f"the photographs of {left} cases could not be deleted: are their folders mounted, and may we write there?")
    return Forgotten(identities=identities, photos=photos, messages=messages, pages=pages)


def _forget_identities(records: Records, shelves: Shelves, actor: str, at: datetime, *, before: datetime) -> int:
    forgotten = 0
    for patient_id in records.find_identities_to_forget(unseen_since=before):
        _delete_pages(shelves, records.find_case_ids(patient_id=patient_id))
        event = AuditEvent(at=at, actor=actor, action="forget_identity", subject=pseudonym(patient_id))
        forgotten += records.forget_identity(patient_id, unseen_since=before, event=event)
    return forgotten


def _forget_photos(records: Records, shelves: Shelves, actor: str, at: datetime, *, before: datetime) -> tuple[int, int]:
    """Delete photographs case by case; return how many, and of how many cases some had to stay."""
    total, left = 0, set[str]()
    is_mounted = shelves.photos.are_there  # asked once: the last photograph of a folder leaves it empty too
    while True:
        found = records.cases_with_photos(before=before, limit=_BATCH + len(left))
        cases = [case for case in found if case.case_id not in left]
        if not cases:
            return total, len(left)
        deleted = {case.case_id: _delete_photos(shelves, case, is_mounted=is_mounted) for case in cases}
        left |= {case_id for case_id, outcome in deleted.items() if outcome.stuck}
        done = [case_id for case_id in deleted if case_id not in left]
        count = sum(outcome.deleted for outcome in deleted.values())
        if done:
            details: dict[str, int | str] = {"photos_deleted": count}
            event = AuditEvent(at=at, actor=actor, action="delete_photos", subject=f"{len(done)} cases", details=details)
            records.mark_photos_deleted(done, event)
        total += count


def _delete_pages(shelves: Shelves, case_ids: Iterable[str]) -> None:
    for case_id in case_ids:
        delete_report_files(shelves.files, case_id)


def _delete_lost_pages(records: Records, shelves: Shelves, actor: str, at: datetime) -> int:
    """Delete pages of persons who were erased while their pages were being written; return how many files.

    What these records never heard of stays: it is the page of another installation in the same folder, or newer than a backup.
    """
    names = shelves.files.sizes("reports").keys()
    case_ids = sorted({PurePosixPath(name).stem for name in names})
    forgotten = frozenset[str]().union(
        *(records.find_forgotten(case_ids[start : start + _BATCH]) for start in range(0, len(case_ids), _BATCH))
    )
    lost = {case_id: names & {report_page(case_id), report_pdf(case_id)} for case_id in sorted(forgotten)}
    lost = {case_id: pages for case_id, pages in lost.items() if pages}
    count = sum(map(len, lost.values()))
    _delete_pages(shelves, lost)
    if lost:
        details: dict[str, int | str] = {"pages_deleted": count}
        records.add_audit(AuditEvent(at=at, actor=actor, action="delete_pages", subject=f"{len(lost)} cases", details=details))
    return count


@dataclass
class _Outcome:
    """Of one case: photographs deleted, and those that are still there, or may be, because their folder is not."""

    deleted: int = 0
    stuck: int = 0


def _delete_photos(shelves: Shelves, case: Case, *, is_mounted: bool) -> _Outcome:
    """Delete the photographs of a case.

    A message may name any file under the roots: what is no picture, or is a training photograph, stays and counts as settled.
    """
    outcome = _Outcome()
    for photo in case.screening.photos:
        try:
            path = shelves.photos.find_file(photo.location)
            with path.open("rb") as file:
                is_picture = sniff_format(file.read(HEAD_BYTES)) is not None
            if is_picture and not path.is_relative_to(shelves.training_photos):
                path.unlink()
                outcome.deleted += 1
        except BadPhoto as error:
            # A folder that is not mounted looks empty, and its photographs are not gone.
            outcome.stuck += error.reason == "forbidden" or (error.reason == "missing" and not is_mounted)
        except (OSError, ServiceUnavailable):
            outcome.stuck += 1
    return outcome
