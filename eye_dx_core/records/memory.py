"""Records in this process: for tests and for trying things out; gone when it ends."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from threading import RLock

from eye_dx_core.errors import ConflictingMessage, NotFound
from eye_dx_core.records.port import MAX_ATTEMPTS, Backlog, CaseRecord, OutboxMessage, Rejection
from eye_dx_core.schema.case import Case
from eye_dx_core.schema.diagnosis import AiDiagnosis
from eye_dx_core.schema.report import DiagnosisReport
from eye_dx_core.schema.review import DoctorReview

_IDENTITY_FIELDS = ("name", "phone", "birth_date")


@dataclass
class _Held:
    case: Case
    diagnosis: AiDiagnosis | None = None
    reviews: list[DoctorReview] = field(default_factory=list[DoctorReview])
    report: DiagnosisReport | None = None
    attempts: int = 0
    claimed_until: float = 0.0

    @property
    def is_undiagnosed(self) -> bool:
        return self.diagnosis is None

    @property
    def is_unreported(self) -> bool:
        return self.diagnosis is not None and bool(self.reviews) and self.report is None

    @property
    def is_stuck(self) -> bool:
        return self.attempts >= MAX_ATTEMPTS

    @property
    def is_free(self) -> bool:
        return self.claimed_until <= time.time() and not self.is_stuck


class MemoryRecords:
    """The port `Records` in dictionaries, one lock around each method."""

    def __init__(self) -> None:
        self._lock = RLock()
        self._held: dict[str, _Held] = {}
        self._identities: dict[str, dict[str, str | None]] = {}
        self._outbox: dict[str, OutboxMessage] = {}
        self._rejections: list[Rejection] = []

    def add_case(self, case: Case) -> bool:
        """See the port."""
        with self._lock:
            for held in self._held.values():
                if (held.case.source_queue, held.case.message_id) == (case.source_queue, case.message_id):
                    if held.case.body_sha256 != case.body_sha256:
                        raise ConflictingMessage("this message id came before with another body")
                    return False
            self._held[case.case_id] = _Held(case)
            if (patient := case.screening.patient) is not None:
                told = {name: value for name in _IDENTITY_FIELDS if (value := getattr(patient, name)) is not None}
                self._identities[patient.patient_id] = self._identities.get(patient.patient_id, {}) | told
            return True

    def get_case(self, case_id: str) -> Case:
        """See the port."""
        case = self._get(case_id).case
        if case.screening.patient is None:
            return case
        identity = dict.fromkeys(_IDENTITY_FIELDS) | self._identities[case.screening.patient.patient_id]
        patient = case.screening.patient.model_copy(update=identity)
        return case.model_copy(update={"screening": case.screening.model_copy(update={"patient": patient})})

    def find_case_id(self, *, external_id: str) -> str | None:
        """See the port."""
        with self._lock:
            known = [held.case for held in self._held.values() if held.case.external_id == external_id]
            return max(known, key=lambda case: case.received_at).case_id if known else None

    def claim_undiagnosed(self, *, limit: int, lease_seconds: float) -> tuple[Case, ...]:
        """See the port."""
        with self._lock:
            return self._claim([held for held in self._in_order() if held.is_undiagnosed], limit, lease_seconds)

    def claim_unreported(self, *, limit: int, lease_seconds: float) -> tuple[Case, ...]:
        """See the port."""
        with self._lock:
            return self._claim([held for held in self._in_order() if held.is_unreported], limit, lease_seconds)

    def _claim(self, waiting: list[_Held], limit: int, lease_seconds: float) -> tuple[Case, ...]:
        chosen = [held for held in waiting if held.is_free][:limit]
        for held in chosen:
            held.attempts, held.claimed_until = held.attempts + 1, time.time() + lease_seconds
        return tuple(self.get_case(held.case.case_id) for held in chosen)

    def release_case(self, case_id: str) -> None:
        """See the port."""
        with self._lock:
            held = self._held.get(case_id)
            if held is not None and held.claimed_until > 0:
                held.attempts, held.claimed_until = held.attempts - 1, 0.0

    def add_diagnosis(self, diagnosis: AiDiagnosis, outbox: Sequence[OutboxMessage]) -> bool:
        """See the port."""
        with self._lock:
            held = self._held.get(diagnosis.case_id)
            if held is None or held.diagnosis is not None:
                return False
            held.diagnosis = diagnosis
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

    def add_report(self, report: DiagnosisReport, outbox: Sequence[OutboxMessage]) -> bool:
        """See the port."""
        with self._lock:
            held = self._held.get(report.case_id)
            if held is None or held.report is not None:
                return False
            held.report = report
            self._advance(held, outbox)
            return True

    def _advance(self, held: _Held, outbox: Sequence[OutboxMessage]) -> None:
        held.attempts, held.claimed_until = 0, 0.0
        self._outbox |= {message.message_id: message for message in outbox}

    def find_report(self, case_id: str) -> DiagnosisReport | None:
        """See the port."""
        held = self._held.get(case_id)
        return held.report if held else None

    def unsent_messages(self, *, limit: int) -> tuple[OutboxMessage, ...]:
        """See the port."""
        with self._lock:
            waiting = [message for message in self._outbox.values() if message.sent_at is None]
            failures = Counter[str]()
            for message in waiting:
                failures[message.case_id] = max(failures[message.case_id], message.attempts)
            return tuple(sorted(waiting, key=lambda one: (failures[one.case_id], one.created_at, one.message_id))[:limit])

    def mark_sent(self, message_id: str, *, sent_at: datetime) -> None:
        """See the port."""
        with self._lock:
            message = self._outbox[message_id]
            changes = {"sent_at": sent_at, "attempts": message.attempts + 1, "last_error": None}
            self._outbox[message_id] = message.model_copy(update=changes)

    def mark_failed(self, message_id: str, *, reason: str) -> None:
        """See the port."""
        with self._lock:
            message = self._outbox[message_id]
            self._outbox[message_id] = message.model_copy(update={"attempts": message.attempts + 1, "last_error": reason})

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
            messages = sorted((one for one in self._outbox.values() if one.case_id == case_id), key=lambda one: one.created_at)
            return CaseRecord(
                case=self.get_case(case_id),
                diagnosis=held.diagnosis,
                review=held.reviews[-1] if held.reviews else None,
                report=held.report,
                outbox=tuple(messages),
                attempts=held.attempts,
            )

    def case_records(self, *, since: datetime, until: datetime) -> Iterator[CaseRecord]:
        """See the port."""
        with self._lock:
            chosen = [held.case.case_id for held in self._in_order() if since <= held.case.received_at < until]
        yield from map(self.get_case_record, chosen)

    def backlog(self) -> Backlog:
        """See the port."""
        with self._lock:
            held = self._in_order()
            undiagnosed, unreported = [one for one in held if one.is_undiagnosed], [one for one in held if one.is_unreported]
            return Backlog(
                undiagnosed=len(undiagnosed),
                claimable_undiagnosed=sum(one.is_free for one in undiagnosed),
                claimable_unreported=sum(one.is_free for one in unreported),
                unreviewed=sum(one.diagnosis is not None and not one.reviews for one in held),
                unreported=len(unreported),
                unsent=sum(message.sent_at is None for message in self._outbox.values()),
                stuck=sum(one.is_stuck for one in undiagnosed + unreported),
            )

    def close(self) -> None:
        """Nothing to let go of."""

    def _get(self, case_id: str) -> _Held:
        held = self._held.get(case_id)
        if held is None:
            raise NotFound(f"there is no case {case_id}")
        return held

    def _in_order(self) -> list[_Held]:
        return sorted(self._held.values(), key=lambda held: (held.case.received_at, held.case.case_id))
