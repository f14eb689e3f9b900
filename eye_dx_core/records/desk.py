"""What we need of the records for the review desk: what waits, who holds it, what is half written; part of the port `Records`."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from pydantic import AwareDatetime, Field

from eye_dx_core.errors import EyeDxError
from eye_dx_core.records.audit import AuditEvent
from eye_dx_core.records.outgoing import OutboxMessage
from eye_dx_core.schema.frozen import Frozen
from eye_dx_core.schema.review import Addendum, DoctorReview
from eye_dx_core.schema.routing import Urgency

_UNKNOWN = Urgency.SOON
"""What was read before there were rules waits among these, not at the end."""


class CaseStage(StrEnum):
    """How far a case has come, as the desk sorts them."""

    UNREAD = "received"
    TO_REVIEW = "diagnosed"
    REVIEWED = "reviewed"
    REPORTED = "reported"


class WorkFilter(Frozen):
    """Which cases the work list shows. Empty fields do not narrow it."""

    stages: tuple[CaseStage, ...] = (CaseStage.TO_REVIEW,)
    urgencies: tuple[Urgency, ...] = ()
    """What was read before there were rules counts as soon."""
    is_overdue: bool = False
    """Only what should have been reviewed by now."""
    needs_second: bool = False
    """Only what one doctor has signed and a second must."""
    held_by: str | None = None
    received_since: AwareDatetime | None = None
    received_until: AwareDatetime | None = None
    case_id_prefix: str | None = None


class WorkItem(Frozen):
    """A line of the work list. It names nobody."""

    case_id: str
    received_at: AwareDatetime
    stage: CaseStage
    urgency: Urgency | None
    """The AI's proposal; None before the case was read."""
    review_due_at: AwareDatetime | None
    """By when a doctor should have looked; None before the case was read."""
    needs_second: bool = False
    held_by: str | None = None
    """User name of who holds it now."""
    held_until: AwareDatetime | None = None


class WorkList(Frozen):
    """One page of the work list, with how many there are in all."""

    items: tuple[WorkItem, ...]
    total: int = Field(ge=0)


class NoteKind(StrEnum):
    """What is kept of a review before it counts."""

    DRAFT = "draft"
    BLIND_READING = "blind_reading"
    FIRST_SIGNATURE = "first_signature"


class DeskNote(Frozen):
    """What somebody wrote on a case before a review counts: a form as JSON, sealed on its way to any disk.

    There is one draft and one blind reading per case and writer, and one first signature per case. `version` counts from 1.
    """

    case_id: str
    kind: NoteKind
    written_by: str
    version: int = Field(ge=1)
    written_at: AwareDatetime
    content: str = Field(repr=False)


class Held(EyeDxError):
    """Somebody else holds the case. `held_by` is a user name."""

    def __init__(self, held_by: str) -> None:
        super().__init__(f"{held_by} is working on this case")
        self.held_by = held_by


class StaleForm(EyeDxError):
    """The form was saved or signed by another window or another person since it was opened. `current` is what is kept now."""

    def __init__(self, current: DeskNote | None) -> None:
        super().__init__("this form was changed elsewhere since you opened it")
        self.current = current


class PatientLink(Frozen):
    """A way for a patient to open the own report. The token itself is kept nowhere, only its SHA-256."""

    token_sha256: str
    case_id: str
    made_at: AwareDatetime
    expires_at: AwareDatetime
    revoked_at: AwareDatetime | None = None


class Desk(Protocol):
    """Each method is one transaction; what it changes and the audit entry that says so are stored together or not at all."""

    def work_list(self, wanted: WorkFilter, *, now: AwareDatetime, limit: int, offset: int = 0) -> WorkList:
        """Cases by urgency of the AI's proposal, the most urgent first, then by age, the oldest first.

        Its cost does not grow with what is not waiting.
        """
        ...

    def count_work(self, *, now: AwareDatetime) -> dict[str, int]:
        """How many cases wait for a doctor: by urgency value, `overdue` and `needs_second`; a key for each, also of nothing.

        What was read before there were rules is counted as soon.
        """
        ...

    def hold_case(self, case_id: str, *, holder: str, lease_seconds: float) -> AwareDatetime:
        """Take or renew a case for one doctor; return until when. It lapses by itself.

        Raises:
            Held: somebody else has it.
            NotFound: there is no such case.
        """
        ...

    def let_go(self, case_id: str, *, holder: str) -> None:
        """Give a case back; nothing happens when somebody else holds it."""
        ...

    def find_holder(self, case_id: str) -> str | None:
        """Who holds a case now, or None."""
        ...

    def save_note(self, note: DeskNote, *, event: AuditEvent | None = None) -> None:
        """Keep a note in the place of the version before it (version 1: of none). A first signature marks the case for a second.

        Raises:
            StaleForm: what is kept is not the version before, or another wrote the first signature.
            NotFound: there is no such case.
        """
        ...

    def find_note(self, case_id: str, kind: NoteKind, *, written_by: str | None = None) -> DeskNote | None:
        """A note of a case, or None; without a writer, the newest of its kind."""
        ...

    def sign_review(self, review: DoctorReview, *, signer: str, draft_version: int, event: AuditEvent) -> None:
        """Store the review that counts, drop the notes of the case but the blind readings, end the hold, and note it in the audit log.

        Args:
            review: what was signed.
            signer: user name.
            draft_version: the signer's draft that the form was made of; 0 when there was none.
            event: for the audit log.

        Raises:
            Held: somebody else holds the case.
            StaleForm: the draft was changed elsewhere since.
            ConflictingMessage: the case was reviewed or reported meanwhile.
            NotFound: there is no such case.
        """
        ...

    def add_addendum(self, addendum: Addendum, outbox: Sequence[OutboxMessage], *, event: AuditEvent) -> bool:
        """Store an addendum to a reported case with what announces it; False when its id is known.

        Raises:
            NotFound: there is no such case, or it has no report yet.
        """
        ...

    def addenda(self, case_id: str) -> tuple[Addendum, ...]:
        """The addenda of a case, the oldest first."""
        ...

    def add_link(self, link: PatientLink, *, event: AuditEvent) -> None:
        """Keep a patient's link.

        Raises:
            NotFound: there is no such case, or it has no report yet.
        """
        ...

    def find_link(self, token_sha256: str) -> PatientLink | None:
        """The link with this hash, also when it is over, or None."""
        ...

    def revoke_links(self, case_id: str, *, at: AwareDatetime, event: AuditEvent) -> int:
        """End all links of a case; return how many were open."""
        ...


def work_order(urgency: Urgency | None) -> int:
    """Place in the work list, the most urgent first."""
    return len(Urgency) - 1 - (urgency or _UNKNOWN).rank


def review_due_at(received_at: datetime, urgency: Urgency | None) -> datetime:
    """By when a doctor should have looked."""
    return received_at + timedelta(hours=(urgency or _UNKNOWN).review_hours)
