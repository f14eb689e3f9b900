"""What we need of the records; every adapter passes the same contract tests."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import takewhile
from typing import Protocol

from pydantic import AwareDatetime

from eye_dx_core.records.accounts import Accounts
from eye_dx_core.records.custody import Custody
from eye_dx_core.records.desk import Desk
from eye_dx_core.records.figures import Figures
from eye_dx_core.records.outgoing import OutboxMessage
from eye_dx_core.records.shadows import Shadows
from eye_dx_core.schema.case import Case
from eye_dx_core.schema.diagnosis import AiDiagnosis
from eye_dx_core.schema.frozen import Frozen
from eye_dx_core.schema.report import DiagnosisReport
from eye_dx_core.schema.review import DoctorReview


class Rejection(Frozen):
    """Why a message was set aside. The body stays in the dead-letter queue; only its hash is kept here."""

    source_queue: str
    message_id: str | None
    body_sha256: str
    reason: str
    rejected_at: AwareDatetime


class Runs(Frozen):
    """The orchestrator's runs that took a case in, let the AI read it and wrote its report; None: done by command line, or not yet.

    They are kept beside the documents, not in them, so that no message and no report can carry one.
    """

    took_in: str | None = None
    read: str | None = None
    wrote: str | None = None


class CaseRecord(Frozen):
    """Everything known of a case, as one value."""

    case: Case
    diagnosis: AiDiagnosis | None = None
    review: DoctorReview | None = None
    report: DiagnosisReport | None = None
    outbox: tuple[OutboxMessage, ...] = ()
    attempts: int = 0
    runs: Runs = Runs()


class Backlog(Frozen):
    """How many cases and messages wait for what, and since when the oldest does.

    A stuck case was tried `MAX_ATTEMPTS` times and needs a person.
    """

    undiagnosed: int
    unreviewed: int
    unreported: int
    unsent: int
    stuck: int
    oldest_undiagnosed_at: AwareDatetime | None = None
    oldest_unreviewed_at: AwareDatetime | None = None
    oldest_unreported_at: AwareDatetime | None = None
    oldest_unsent_at: AwareDatetime | None = None
    last_taken_at: AwareDatetime | None = None
    """When a screening was last stored or set aside."""


class Census(Frozen):
    """How many cases are stored and how many of them are read and reported; who was erased is no case any more."""

    cases: int
    diagnosed: int
    reported: int
    schema_revision: str
    """The form of the store."""


class Work(Frozen):
    """What a new run would find to do: nobody holds it, it is not stuck, and its time has come."""

    to_diagnose: bool
    to_report: bool
    to_send: bool


MAX_ATTEMPTS = 5
# A claim or a pause that reaches further ahead than this was made before the clock was set back, and counts as over.
FARTHEST_SECONDS = 3600.0


def claimed_together(attempts: Iterable[int]) -> int:
    """How many of these cases go into one claim: those at the head that nobody has tried, or the first one alone."""
    return max(1, sum(1 for _ in takewhile(lambda tried: tried == 0, attempts)))


def pause_after(attempts: int) -> float:
    """Seconds until a message that failed so often is tried again: 30, 60, 120, …, an hour at most."""
    return min(FARTHEST_SECONDS, 15.0 * 2 ** min(attempts, 20))


class Records(Custody, Desk, Accounts, Figures, Shadows, Protocol):
    """The state of every case. Each method is one transaction; `add_` methods may be repeated without harm.

    Every method raises `ServiceUnavailable` when the database does not answer. What tells of a person is sealed on its way
    to any disk. Leases are `FARTHEST_SECONDS` long at most. `run_id` names the orchestrator's run that adds something; it is kept
    with what was added first.
    """

    def add_case(self, case: Case, raw: bytes, *, run_id: str | None = None) -> bool:
        """Store a case and its message as it came; False when this message (producer and message id) is stored already.

        Identity (name, phone, birth date) goes to a table of its own.

        Raises:
            ConflictingMessage: the message id is known with another body hash.
        """
        ...

    def get_case(self, case_id: str) -> Case:
        """The case with its patient's identity.

        Raises:
            NotFound: there is no such case.
        """
        ...

    def find_case_id(self, *, external_id: str, source_queues: Sequence[str]) -> str | None:
        """The newest case from these queues that its sender knows by this opaque id: another sender may use the same id.

        Raises:
            ConflictingMessage: two senders on these queues use it, so nobody can tell whose case is meant.
        """
        ...

    def claim_undiagnosed(self, *, limit: int, lease_seconds: float) -> tuple[Case, ...]:
        """Take cases without a diagnosis, oldest first; nobody else gets them until the lease runs out.

        Each claim counts as an attempt; a case with `MAX_ATTEMPTS` attempts is stuck and is not handed out. One that was tried
        before is handed out alone: should it be what kills its readers, no other case has to go with it.
        """
        ...

    def claim_unreported(self, *, limit: int, lease_seconds: float) -> tuple[Case, ...]:
        """Take cases that have a diagnosis and a review but no report; leases and attempts as for `claim_undiagnosed`."""
        ...

    def release_case(self, case_id: str, *, after_seconds: float = 0.0) -> None:
        """Give a claimed case back, now or when a pause is over; the claim does not count as an attempt."""
        ...

    def add_diagnosis(self, diagnosis: AiDiagnosis, outbox: Sequence[OutboxMessage], *, run_id: str | None = None) -> bool:
        """Store a diagnosis with what announces it and end the claim (attempts start anew); False when the case has one already."""
        ...

    def find_diagnosis(self, case_id: str) -> AiDiagnosis | None:
        """The diagnosis of a case, or None."""
        ...

    def add_review(self, review: DoctorReview) -> bool:
        """Store a review; False when this review id is stored already. The newest review of a case counts until it is reported.

        Raises:
            NotFound: there is no such case.
            ConflictingMessage: the case has a report already, or the review id is known with other content.
        """
        ...

    def find_review(self, case_id: str) -> DoctorReview | None:
        """The newest review of a case, or None."""
        ...

    def add_report(self, report: DiagnosisReport, outbox: Sequence[OutboxMessage], *, run_id: str | None = None) -> bool:
        """Store a report with what announces it and end the claim; False when the case has one already."""
        ...

    def find_report(self, case_id: str) -> DiagnosisReport | None:
        """The report of a case, or None."""
        ...

    def claim_unsent(self, *, limit: int, lease_seconds: float) -> tuple[OutboxMessage, ...]:
        """Take messages that were never confirmed and are due; nobody else gets them until the lease runs out.

        Of each case only the first that is unsent: so its messages go out in the order they were added in, whatever the clock said.
        Those with the fewest failures come first, then the oldest: what nobody takes cannot hold up the rest.
        """
        ...

    def release_messages(self, message_ids: Sequence[str]) -> None:
        """Give claimed messages back at once; it does not count as an attempt."""
        ...

    def mark_sent(self, message_id: str, *, sent_at: datetime) -> None:
        """Note that the broker confirmed a message. One that was sent or erased meanwhile is let be, here and in `mark_failed`."""
        ...

    def mark_failed(self, message_id: str, *, reason: str) -> None:
        """Note an attempt that failed and why; the message waits for `pause_after` so many attempts, and its case's next ones behind it."""
        ...

    def add_rejection(self, rejection: Rejection) -> None:
        """Note why a message was set aside."""
        ...

    def rejections(self, *, since: datetime, until: datetime) -> tuple[Rejection, ...]:
        """Messages set aside in the half-open interval, oldest first."""
        ...

    def get_case_record(self, case_id: str) -> CaseRecord:
        """Everything known of one case.

        Raises:
            NotFound: there is no such case.
        """
        ...

    def case_records(self, *, since: datetime, until: datetime) -> Iterator[CaseRecord]:
        """Everything known of the cases received in the half-open interval, oldest first."""
        ...

    def backlog(self) -> Backlog:
        """Count what waits."""
        ...

    def census(self) -> Census:
        """Count what is stored."""
        ...

    def find_work(self) -> Work:
        """Whether a run would find something to do, at a cost that does not grow with what waits."""
        ...

    def rearm_stuck(self) -> int:
        """Let stuck cases be tried again; return how many."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...
