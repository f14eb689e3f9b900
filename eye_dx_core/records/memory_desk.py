"""What the review desk keeps, in this process; and who may work there."""

import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from eye_dx_core.errors import ConflictingMessage, NotFound
from eye_dx_core.records.accounts import User, UserExists
from eye_dx_core.records.audit import AuditEvent
from eye_dx_core.records.desk import (
    CaseStage,
    DeskNote,
    Held,
    NoteKind,
    PatientLink,
    StaleForm,
    WorkFilter,
    WorkItem,
    WorkList,
    review_due_at,
    work_order,
)
from eye_dx_core.records.outgoing import OutboxMessage
from eye_dx_core.records.port import FARTHEST_SECONDS
from eye_dx_core.schema.review import Addendum, DoctorReview
from eye_dx_core.schema.routing import Urgency

if TYPE_CHECKING:
    from eye_dx_core.records.memory import HeldCase


class MemoryDesk(ABC):
    """The parts `Desk` and `Accounts` of the port `Records`; `MemoryRecords` holds the cases."""

    _lock: AbstractContextManager[object]
    _held: "dict[str, HeldCase]"
    _outbox: dict[str, OutboxMessage]

    def __init__(self) -> None:
        self._notes: dict[tuple[str, NoteKind, str], DeskNote] = {}
        self._addenda: dict[str, Addendum] = {}
        self._links: dict[str, PatientLink] = {}
        self._users: dict[str, User] = {}

    @abstractmethod
    def _get(self, case_id: str) -> "HeldCase":
        """A case that is there."""

    @abstractmethod
    def add_audit(self, event: AuditEvent) -> None:
        """See the port."""

    def work_list(self, wanted: WorkFilter, *, now: datetime, limit: int, offset: int = 0) -> WorkList:
        """See the port."""
        with self._lock:
            items = [_to_item(held, now) for held in self._held.values() if not held.is_erased]
            found = [item for item in items if _is_wanted(item, wanted, now)]
            found.sort(key=lambda item: (_order(item), item.received_at, item.case_id))
            return WorkList(items=tuple(found[offset : offset + limit]), total=len(found))

    def count_work(self, *, now: datetime) -> dict[str, int]:
        """See the port."""
        waiting = self.work_list(WorkFilter(), now=now, limit=len(self._held)).items
        by_urgency = {one.value: sum(_order(item) == work_order(one) for item in waiting) for one in Urgency}
        overdue = sum(_is_overdue(item, now) for item in waiting)
        return by_urgency | {"overdue": overdue, "needs_second": sum(item.needs_second for item in waiting)}

    def hold_case(self, case_id: str, *, holder: str, lease_seconds: float) -> datetime:
        """See the port."""
        with self._lock:
            held = self._get(case_id)
            _refuse_if_held(held, by_other_than=holder)
            held.held_by, held.held_until = holder, time.time() + min(lease_seconds, FARTHEST_SECONDS)
            return datetime.fromtimestamp(held.held_until, UTC)

    def let_go(self, case_id: str, *, holder: str) -> None:
        """See the port."""
        with self._lock:
            held = self._held.get(case_id)
            if held is not None and held.held_by == holder:
                held.held_by, held.held_until = None, 0.0

    def find_holder(self, case_id: str) -> str | None:
        """See the port."""
        held = self._held.get(case_id)
        return _holder(held, time.time()) if held else None

    def save_note(self, note: DeskNote, *, event: AuditEvent | None = None) -> None:
        """See the port."""
        with self._lock:
            held, only_one = self._get(note.case_id), note.kind is NoteKind.FIRST_SIGNATURE
            current = self.find_note(note.case_id, note.kind, written_by=None if only_one else note.written_by)
            if (current.version if current else 0) != note.version - 1 or (current and current.written_by != note.written_by):
                raise StaleForm(current)
            self._notes[note.case_id, note.kind, note.written_by] = note
            held.needs_second = held.needs_second or only_one
            if event is not None:
                self.add_audit(event)

    def find_note(self, case_id: str, kind: NoteKind, *, written_by: str | None = None) -> DeskNote | None:
        """See the port."""
        with self._lock:
            kept = (note for key, note in self._notes.items() if key[:2] == (case_id, kind) and written_by in (None, key[2]))
            return max(kept, key=lambda note: note.written_at, default=None)

    def sign_review(self, review: DoctorReview, *, signer: str, draft_version: int, event: AuditEvent) -> None:
        """See the port."""
        with self._lock:
            held = self._get(review.case_id)
            if _stage(held) is not CaseStage.TO_REVIEW:
                raise ConflictingMessage(f"{review.case_id} does not wait for a review: it was reviewed meanwhile, or not read yet")
            _refuse_if_held(held, by_other_than=signer)
            draft = self.find_note(review.case_id, NoteKind.DRAFT, written_by=signer)
            if (draft.version if draft else 0) != draft_version:
                raise StaleForm(draft)
            held.reviews.append(review)
            held.attempts, held.claimed_until = 0, 0.0
            held.held_by, held.held_until, held.needs_second = None, 0.0, False
            self._drop_notes(review.case_id, but=(NoteKind.BLIND_READING,))
            self.add_audit(event)

    def add_addendum(self, addendum: Addendum, outbox: Sequence[OutboxMessage], *, event: AuditEvent) -> bool:
        """See the port."""
        with self._lock:
            self._get_reported(addendum.case_id)
            if addendum.addendum_id in self._addenda:
                return False
            self._addenda[addendum.addendum_id] = addendum
            self._outbox |= {message.message_id: message for message in outbox}
            self.add_audit(event)
            return True

    def addenda(self, case_id: str) -> tuple[Addendum, ...]:
        """See the port."""
        return tuple(one for one in self._addenda.values() if one.case_id == case_id)

    def add_link(self, link: PatientLink, *, event: AuditEvent) -> None:
        """See the port."""
        with self._lock:
            self._get_reported(link.case_id)
            self._links[link.token_sha256] = link
            self.add_audit(event)

    def find_link(self, token_sha256: str) -> PatientLink | None:
        """See the port."""
        return self._links.get(token_sha256)

    def revoke_links(self, case_id: str, *, at: datetime, event: AuditEvent) -> int:
        """See the port."""
        with self._lock:
            kept = [one for one in self._links.values() if one.case_id == case_id and one.revoked_at is None and one.expires_at > at]
            self._links |= {one.token_sha256: one.model_copy(update={"revoked_at": at}) for one in kept}
            self.add_audit(event)
            return len(kept)

    def add_user(self, user: User, *, event: AuditEvent) -> None:
        """See the port."""
        with self._lock:
            if user.user_name in self._users:
                raise UserExists(f"there is a user {user.user_name} already")
            self._users[user.user_name] = user
            self.add_audit(event)

    def change_user(self, user: User, *, event: AuditEvent) -> None:
        """See the port."""
        with self._lock:
            if user.user_name not in self._users:
                raise NotFound(f"there is no user {user.user_name}")
            self._users[user.user_name] = user.in_place_of(self._users[user.user_name])
            self.add_audit(event)

    def find_user(self, user_name: str) -> User | None:
        """See the port."""
        return self._users.get(user_name)

    def users(self) -> tuple[User, ...]:
        """See the port."""
        return tuple(self._users[name] for name in sorted(self._users))

    def _get_reported(self, case_id: str) -> "HeldCase":
        held = self._get(case_id)
        if held.report is None:
            raise NotFound(f"{case_id} has no report yet")
        return held

    def _drop_notes(self, case_id: str, *, but: Collection[NoteKind] = ()) -> None:
        self._notes = {key: note for key, note in self._notes.items() if key[0] != case_id or key[1] in but}

    def _forget_desk(self, case_ids: Collection[str]) -> None:
        for case_id in case_ids:
            self._drop_notes(case_id)
        self._addenda = {key: one for key, one in self._addenda.items() if one.case_id not in case_ids}
        self._links = {key: one for key, one in self._links.items() if one.case_id not in case_ids}


def _stage(held: "HeldCase") -> CaseStage:
    if held.report is not None:
        return CaseStage.REPORTED
    if held.diagnosis is None:
        return CaseStage.UNREAD
    return CaseStage.REVIEWED if held.reviews else CaseStage.TO_REVIEW


def _to_item(held: "HeldCase", now: datetime) -> WorkItem:
    routing = held.diagnosis.routing if held.diagnosis else None
    urgency = routing.urgency if routing else None
    holder = _holder(held, now.timestamp())
    return WorkItem(
        case_id=held.case.case_id,
        received_at=held.case.received_at,
        stage=_stage(held),
        urgency=urgency,
        review_due_at=review_due_at(held.case.received_at, urgency) if held.diagnosis else None,
        needs_second=held.needs_second,
        held_by=holder,
        held_until=datetime.fromtimestamp(held.held_until, UTC) if holder else None,
    )


def _order(item: WorkItem) -> int:
    return len(Urgency) if item.review_due_at is None else work_order(item.urgency)


def _is_overdue(item: WorkItem, now: datetime) -> bool:
    return item.stage is CaseStage.TO_REVIEW and item.review_due_at is not None and item.review_due_at < now


def _is_wanted(item: WorkItem, wanted: WorkFilter, now: datetime) -> bool:
    return all(
        (
            item.stage in (wanted.stages or tuple(CaseStage)),
            not wanted.urgencies or _order(item) in {work_order(one) for one in wanted.urgencies},
            not wanted.is_overdue or _is_overdue(item, now),
            not wanted.needs_second or item.needs_second,
            wanted.held_by is None or item.held_by == wanted.held_by,
            wanted.received_since is None or item.received_at >= wanted.received_since,
            wanted.received_until is None or item.received_at < wanted.received_until,
            item.case_id.startswith(wanted.case_id_prefix or ""),
        )
    )


def _holder(held: "HeldCase", now: float) -> str | None:
    return held.held_by if now < held.held_until <= now + FARTHEST_SECONDS else None


def _refuse_if_held(held: "HeldCase", *, by_other_than: str) -> None:
    holder = _holder(held, time.time())
    if holder is not None and holder != by_other_than:
        raise Held(holder)
