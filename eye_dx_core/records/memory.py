"""Records in this process: for tests and for trying things out; gone when it ends."""

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from threading import RLock

from eye_dx_core.errors import ConflictingMessage, NotFound
from eye_dx_core.records.audit import GENESIS, AuditEntry, AuditEvent, chain
from eye_dx_core.records.figures import DayFigures, figures_of
from eye_dx_core.records.memory_desk import MemoryDesk
from eye_dx_core.records.memory_shadows import MemoryShadows
from eye_dx_core.records.outgoing import OutboxMessage
from eye_dx_core.records.port import (
    FARTHEST_SECONDS,
    MAX_ATTEMPTS,
    Backlog,
    CaseRecord,
    Census,
    Rejection,
    Runs,
    Work,
    claimed_together,
    pause_after,
)
from eye_dx_core.schema.case import Case, Identity, Screening
from eye_dx_core.schema.diagnosis import AiDiagnosis
from eye_dx_core.schema.report import DiagnosisReport
from eye_dx_core.schema.review import DoctorReview
from eye_dx_core.schema.shadow import ShadowReading


@dataclass
class HeldCase:
    """A case with all that is known of it."""

    case: Case
    raw: bytes | None
    has_photos: bool
    is_erased: bool = False
    diagnosis: AiDiagnosis | None = None
    reviews: list[DoctorReview] = field(default_factory=list[DoctorReview])
    report: DiagnosisReport | None = None
    attempts: int = 0
    claimed_until: float = 0.0
    held_by: str | None = None
    held_until: float = 0.0
    needs_second: bool = False
    runs: Runs = field(default_factory=Runs)
    shadows: dict[str, ShadowReading] = field(default_factory=dict[str, ShadowReading])

    @property
    def is_undiagnosed(self) -> bool:
        """Whether it waits to be read."""
        return self.diagnosis is None and not self.is_erased

    @property
    def is_unreported(self) -> bool:
        """Whether it waits for its report."""
        return self.diagnosis is not None and bool(self.reviews) and self.report is None

    @property
    def is_stuck(self) -> bool:
        """Whether it failed too often."""
        return self.attempts >= MAX_ATTEMPTS

    @property
    def is_free(self) -> bool:
        """Whether nobody has claimed it."""
        return _is_over(self.claimed_until) and not self.is_stuck


def _is_over(until: float) -> bool:
    """Whether a claim or a pause is over; one that reaches too far ahead was made before the clock was set back."""
    return not time.time() < until <= time.time() + FARTHEST_SECONDS


class MemoryRecords(MemoryDesk, MemoryShadows):
    """The port `Records` in dictionaries, one lock around each method."""

    def __init__(self) -> None:
        super().__init__()
        self._lock: AbstractContextManager[object] = RLock()
        self._held: dict[str, HeldCase] = {}
        self._identities: dict[str, Identity] = {}
        self._outbox: dict[str, OutboxMessage] = {}
        self._due: dict[str, float] = {}
        self._rejections: list[Rejection] = []
        self._audit: list[AuditEntry] = []

    def add_case(self, case: Case, raw: bytes, *, run_id: str | None = None) -> bool:
        """See the port."""
        with self._lock:
            for held in self._held.values():
                if (held.case.producer, held.case.message_id) == (case.producer, case.message_id):
                    if held.case.body_sha256 != case.body_sha256:
                        raise ConflictingMessage("this message id came before with another body")
                    return False
            self._held[case.case_id] = HeldCase(case, raw, has_photos=bool(case.screening.photos), runs=Runs(took_in=run_id))
            if (patient := case.screening.patient) is not None and (told := case.identity) is not None:
                known = self._identities.get(patient.patient_id, Identity())
                self._identities[patient.patient_id] = known.model_copy(update=told.model_dump(exclude_none=True))
            return True

    def get_case(self, case_id: str) -> Case:
        """See the port."""
        case = self._get(case_id).case
        patient = case.screening.patient
        return case.with_identity(self._identities.get(patient.patient_id, Identity())) if patient else case

    def find_case_id(self, *, external_id: str, source_queues: Sequence[str]) -> str | None:
        """See the port."""
        with self._lock:
            cases = (held.case for held in self._held.values() if held.case.source_queue in source_queues)
            known = [case for case in cases if case.external_id == external_id]
            if len({case.producer for case in known}) > 1:
                raise ConflictingMessage("two senders use this id: name the case by case_id")
            return max(known, key=lambda case: case.received_at).case_id if known else None

    def claim_undiagnosed(self, *, limit: int, lease_seconds: float) -> tuple[Case, ...]:
        """See the port."""
        with self._lock:
            return self._claim([held for held in self._in_order() if held.is_undiagnosed], limit, lease_seconds)

    def claim_unreported(self, *, limit: int, lease_seconds: float) -> tuple[Case, ...]:
        """See the port."""
        with self._lock:
            return self._claim([held for held in self._in_order() if held.is_unreported], limit, lease_seconds)

    def _claim(self, waiting: list[HeldCase], limit: int, lease_seconds: float) -> tuple[Case, ...]:
        free = [held for held in waiting if held.is_free][:limit]
        chosen = free[: claimed_together(held.attempts for held in free)]
        for held in chosen:
            held.attempts, held.claimed_until = held.attempts + 1, time.time() + min(lease_seconds, FARTHEST_SECONDS)
        return tuple(self.get_case(held.case.case_id) for held in chosen)

    def release_case(self, case_id: str, *, after_seconds: float = 0.0) -> None:
        """See the port."""
        with self._lock:
            held = self._held.get(case_id)
            if held is not None and held.claimed_until > 0:
                held.attempts, held.claimed_until = held.attempts - 1, time.time() + min(after_seconds, FARTHEST_SECONDS)

    def add_diagnosis(self, diagnosis: AiDiagnosis, outbox: Sequence[OutboxMessage], *, run_id: str | None = None) -> bool:
        """See the port."""
        with self._lock:
            held = self._held.get(diagnosis.case_id)
            if held is None or held.is_erased or held.diagnosis is not None:
                return False
            held.diagnosis, held.runs = diagnosis, held.runs.model_copy(update={"read": run_id})
            self._advance(held, outbox)
            return True

    def find_diagnosis(self, case_id: str) -> AiDiagnosis | None:
        """See the port."""
        held = self._held.get(case_id)
        return held.diagnosis if held else None

    def add_review(self, review: DoctorReview) -> bool:
        """See the port."""
        with self._lock:
            held = self._get(review.case_id)
            known = next((one for other in self._held.values() for one in other.reviews if one.review_id == review.review_id), None)
            if known is not None:
                if not known.says_the_same_as(review):
                    raise ConflictingMessage("this review id came before with other content")
                return False
            if held.report is not None:
                raise ConflictingMessage(f"{review.case_id} has its report already")
            held.reviews.append(review)
            if held.is_unreported and len(held.reviews) == 1:
                self._advance(held, ())
            return True

    def find_review(self, case_id: str) -> DoctorReview | None:
        """See the port."""
        held = self._held.get(case_id)
        return held.reviews[-1] if held and held.reviews else None

    def add_report(self, report: DiagnosisReport, outbox: Sequence[OutboxMessage], *, run_id: str | None = None) -> bool:
        """See the port."""
        with self._lock:
            held = self._held.get(report.case_id)
            if held is None or held.is_erased or held.report is not None:
                return False
            held.report, held.runs = report, held.runs.model_copy(update={"wrote": run_id})
            self._advance(held, outbox)
            return True

    def _advance(self, held: HeldCase, outbox: Sequence[OutboxMessage]) -> None:
        held.attempts, held.claimed_until = 0, 0.0
        self._outbox |= {message.message_id: message for message in outbox}

    def find_report(self, case_id: str) -> DiagnosisReport | None:
        """See the port."""
        held = self._held.get(case_id)
        return held.report if held else None

    def claim_unsent(self, *, limit: int, lease_seconds: float) -> tuple[OutboxMessage, ...]:
        """See the port."""
        with self._lock:
            claimed = self._next_messages()[:limit]
            until = time.time() + min(lease_seconds, FARTHEST_SECONDS)
            self._due |= {message.message_id: until for message in claimed}
            return tuple(claimed)

    def _next_messages(self) -> list[OutboxMessage]:
        first: dict[str, OutboxMessage] = {}
        for message in self._outbox.values():  # a dictionary keeps the order in which the messages of a case were added
            if message.sent_at is None:
                first.setdefault(message.case_id, message)
        due = [message for message in first.values() if _is_over(self._due.get(message.message_id, 0.0))]
        return sorted(due, key=lambda message: (message.attempts, message.created_at, message.case_id))

    def release_messages(self, message_ids: Sequence[str]) -> None:
        """See the port."""
        with self._lock:
            for message_id in message_ids:
                self._due.pop(message_id, None)

    def _find_unsent(self, message_id: str) -> OutboxMessage | None:
        message = self._outbox.get(message_id)
        return message if message is not None and message.sent_at is None else None

    def mark_sent(self, message_id: str, *, sent_at: datetime) -> None:
        """See the port."""
        with self._lock:
            if (message := self._find_unsent(message_id)) is not None:
                changes = {"sent_at": sent_at, "attempts": message.attempts + 1, "last_error": None}
                self._outbox[message_id] = message.model_copy(update=changes)

    def mark_failed(self, message_id: str, *, reason: str) -> None:
        """See the port."""
        with self._lock:
            if (message := self._find_unsent(message_id)) is not None:
                self._outbox[message_id] = message.model_copy(update={"attempts": message.attempts + 1, "last_error": reason})
                self._due[message_id] = time.time() + pause_after(message.attempts + 1)

    def add_rejection(self, rejection: Rejection) -> None:
        """See the port."""
        with self._lock:
            self._rejections.append(rejection)

    def rejections(self, *, since: datetime, until: datetime) -> tuple[Rejection, ...]:
        """See the port."""
        chosen = (one for one in self._rejections if since <= one.rejected_at < until)
        return tuple(sorted(chosen, key=lambda one: one.rejected_at))

    def get_case_record(self, case_id: str) -> CaseRecord:
        """See the port."""
        with self._lock:
            held = self._get(case_id)
            messages = [one for one in self._outbox.values() if one.case_id == case_id]
            return CaseRecord(
                case=self.get_case(case_id),
                diagnosis=held.diagnosis,
                review=held.reviews[-1] if held.reviews else None,
                report=held.report,
                outbox=tuple(messages),
                attempts=held.attempts,
                runs=held.runs,
            )

    def case_records(self, *, since: datetime, until: datetime) -> Iterator[CaseRecord]:
        """See the port."""
        with self._lock:
            chosen = [held.case.case_id for held in self._in_order() if since <= held.case.received_at < until]
        yield from map(self.get_case_record, chosen)

    def day_figures(self, *, since: datetime, until: datetime) -> DayFigures:
        """See the port."""
        return figures_of(self.case_records(since=since, until=until))

    def count_diagnosed(self, *, since: datetime, until: datetime) -> int:
        """See the port."""
        with self._lock:
            return sum(one.diagnosis is not None and since <= one.case.received_at < until for one in self._in_order())

    def backlog(self) -> Backlog:
        """See the port."""
        with self._lock:
            undiagnosed, unreported = self._waiting()
            unreviewed = [one for one in self._in_order() if one.diagnosis is not None and not one.reviews]
            unsent = [message for message in self._outbox.values() if message.sent_at is None]
            return Backlog(
                undiagnosed=len(undiagnosed),
                unreviewed=len(unreviewed),
                unreported=len(unreported),
                unsent=len(unsent),
                stuck=sum(one.is_stuck for one in undiagnosed + unreported),
                oldest_undiagnosed_at=_oldest(undiagnosed),
                oldest_unreviewed_at=_oldest(unreviewed),
                oldest_unreported_at=_oldest(unreported),
                oldest_unsent_at=min((one.created_at for one in unsent), default=None),
                last_taken_at=max(
                    (*(one.case.received_at for one in self._held.values()), *(one.rejected_at for one in self._rejections)), default=None
                ),
            )

    def census(self) -> Census:
        """See the port."""
        with self._lock:
            held = self._in_order()
            return Census(
                cases=len(held),
                diagnosed=sum(one.diagnosis is not None for one in held),
                reported=sum(one.report is not None for one in held),
                schema_revision="none",
            )

    def find_work(self) -> Work:
        """See the port."""
        with self._lock:
            undiagnosed, unreported = self._waiting()
            return Work(
                to_diagnose=any(one.is_free for one in undiagnosed),
                to_report=any(one.is_free for one in unreported),
                to_send=bool(self._next_messages()),
            )

    def _waiting(self) -> tuple[list[HeldCase], list[HeldCase]]:
        held = self._in_order()
        return [one for one in held if one.is_undiagnosed], [one for one in held if one.is_unreported]

    def rearm_stuck(self) -> int:
        """See the port."""
        with self._lock:
            stuck = [one for waiting in self._waiting() for one in waiting if one.is_stuck]
            for one in stuck:
                one.attempts, one.claimed_until = 0, 0.0
            return len(stuck)

    def get_raw_message(self, case_id: str) -> bytes:
        """See the port."""
        held = self._held.get(case_id)
        if held is None or held.raw is None:
            raise NotFound(f"the message of {case_id} is not kept: there is no such case, or its term is over")
        return held.raw

    def find_case_ids(self, *, patient_id: str) -> tuple[str, ...]:
        """See the port."""
        return tuple(held.case.case_id for held in self._of_patient(patient_id))

    def _of_patient(self, patient_id: str) -> list[HeldCase]:
        return [one for one in self._in_order() if one.case.screening.patient and one.case.screening.patient.patient_id == patient_id]

    def find_forgotten(self, case_ids: Sequence[str]) -> frozenset[str]:
        """See the port."""
        with self._lock:
            held = [self._held[case_id] for case_id in case_ids if case_id in self._held]
            patients = {one.case.case_id: one.case.screening.patient for one in held}
            nameless = {one for one, patient in patients.items() if patient is not None and patient.patient_id not in self._identities}
            return frozenset(nameless | {one.case.case_id for one in held if one.is_erased})

    def erase_patient(self, patient_id: str, event: AuditEvent) -> tuple[str, ...]:
        """See the port."""
        with self._lock:
            erased = self._of_patient(patient_id)
            case_ids = tuple(held.case.case_id for held in erased)
            for held in erased:
                blank = held.case.model_copy(update={"external_id": None, "screening": Screening()})
                self._held[blank.case_id] = HeldCase(blank, None, has_photos=False, is_erased=True)
            self._outbox = {name: message for name, message in self._outbox.items() if message.case_id not in case_ids}
            self._forget_desk(case_ids)
            self._identities.pop(patient_id, None)
            self.add_audit(event)
            return case_ids

    def find_identities_to_forget(self, *, unseen_since: datetime) -> tuple[str, ...]:
        """See the port."""
        with self._lock:
            seen = {one: [held.case.received_at for held in self._of_patient(one)] for one in self._identities}
            return tuple(one for one, times in seen.items() if times and self._may_forget(one, unseen_since))

    def _may_forget(self, patient_id: str, unseen_since: datetime) -> bool:
        return all(held.case.received_at < unseen_since and held.diagnosis for held in self._of_patient(patient_id))

    def forget_identity(self, patient_id: str, *, unseen_since: datetime, event: AuditEvent) -> bool:
        """See the port."""
        with self._lock:
            if not self._may_forget(patient_id, unseen_since):
                return False
            for held in self._of_patient(patient_id):
                held.case, held.raw, held.has_photos = held.case.without_traces(), None, False
                self._drop_notes(held.case.case_id)
                held.shadows.clear()
            self._identities.pop(patient_id, None)
            self.add_audit(event)
            return True

    def cases_with_photos(self, *, before: datetime, limit: int) -> tuple[Case, ...]:
        """See the port."""
        with self._lock:
            old = [one for one in self._in_order() if one.has_photos and one.diagnosis and one.case.received_at < before]
            return tuple(self.get_case(held.case.case_id) for held in old[:limit])

    def mark_photos_deleted(self, case_ids: Sequence[str], event: AuditEvent) -> None:
        """See the port."""
        with self._lock:
            for held in (self._held[case_id] for case_id in case_ids):
                held.case, held.has_photos = held.case.without_traces(), False
            self.add_audit(event)

    def drop_raw_messages(self, *, before: datetime, event: AuditEvent) -> int:
        """See the port."""
        with self._lock:
            old = [one for one in self._held.values() if one.raw is not None and one.case.received_at < before]
            for held in old:
                held.raw = None
            if old:
                self.add_audit(event.model_copy(update={"details": event.details | {"messages": len(old)}}))
            return len(old)

    def add_audit(self, event: AuditEvent) -> None:
        """See the port."""
        with self._lock:
            last = self._audit[-1].entry_hash if self._audit else GENESIS
            self._audit.append(chain(event, position=len(self._audit) + 1, previous_hash=last))

    def audit(self) -> Iterator[AuditEntry]:
        """See the port."""
        return iter(tuple(self._audit))

    def close(self) -> None:
        """Nothing to let go of."""

    def _get(self, case_id: str) -> HeldCase:
        held = self._held.get(case_id)
        if held is None or held.is_erased:
            raise NotFound(f"there is no case {case_id}")
        return held

    def _in_order(self) -> list[HeldCase]:
        kept = (held for held in self._held.values() if not held.is_erased)
        return sorted(kept, key=lambda held: (held.case.received_at, held.case.case_id))


def _oldest(waiting: list[HeldCase]) -> datetime | None:
    return min((one.case.received_at for one in waiting), default=None)
