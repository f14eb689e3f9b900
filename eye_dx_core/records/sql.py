"""Records in SQLite or PostgreSQL."""

import logging
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, exists, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from eye_dx_core.errors import BadSettings, ConflictingMessage, EyeDxError, NotFound
from eye_dx_core.records.engine import database_errors, open_engine, reading, writing
from eye_dx_core.records.holding import add_announcements, has_row, is_over, lock_case
from eye_dx_core.records.migrating import find_revision, upgrade_schema
from eye_dx_core.records.outgoing import OutboxMessage
from eye_dx_core.records.port import (
    FARTHEST_SECONDS,
    MAX_ATTEMPTS,
    Backlog,
    CaseRecord,
    Census,
    Rejection,
    Work,
    claimed_together,
    pause_after,
)
from eye_dx_core.records.rows import (
    DIAGNOSED,
    ERASED,
    RECEIVED,
    REPORTED,
    REVIEWED,
    case_row,
    case_rows,
    records_of,
    to_case,
    to_outbox,
)
from eye_dx_core.records.sql_accounts import SqlAccounts
from eye_dx_core.records.sql_custody import SqlCustody, keep_identity, prove_key
from eye_dx_core.records.sql_daily import SqlDaily, take_figures
from eye_dx_core.records.sql_desk import SqlDesk, put_on_work_list
from eye_dx_core.records.sql_shadows import SqlShadows
from eye_dx_core.records.tables import cases, diagnoses, inbox, outbox, rejections, reports, reviews
from eye_dx_core.schema.case import Case
from eye_dx_core.schema.diagnosis import AiDiagnosis
from eye_dx_core.schema.report import DiagnosisReport
from eye_dx_core.schema.review import DoctorReview
from eye_dx_core.vault import Vault

_CHUNK = 500
_WAITING = (RECEIVED, DIAGNOSED, REVIEWED)
_log = logging.getLogger(__name__)


class SqlRecords(SqlCustody, SqlDaily, SqlDesk, SqlAccounts, SqlShadows):
    """The port `Records` by SQLAlchemy. The schema is brought up to date when it is opened.

    Raises:
        BadSettings: the vault does not open what these records hold.
    """

    def __init__(self, url: str, *, vault: Vault) -> None:
        super().__init__(open_engine(url), vault)
        try:
            with database_errors("records"):
                upgrade_schema(self._engine, vault)
                prove_key(self._engine, vault)
        except EyeDxError:
            self.close()
            raise

    def add_case(self, case: Case, raw: bytes, *, run_id: str | None = None) -> bool:
        """See the port."""
        message = {"case_id": case.case_id, "received_at": case.received_at, "sealed": self._vault.seal(raw)}
        with database_errors("records"):
            try:
                with writing(self._engine) as connection:
                    connection.execute(insert(cases).values(case_row(case, self._vault, run_id=run_id)))
                    connection.execute(insert(inbox).values(message))
                    keep_identity(connection, case, self._vault)
            except IntegrityError:
                known = self._find_body_hash(case)
                # None: another worker told of the same patient at this moment, and now that is known.
                return self.add_case(case, raw, run_id=run_id) if known is None else _is_new(case, known)
        return True

    def _find_body_hash(self, case: Case) -> str | None:
        known = select(cases.c.body_sha256).where(cases.c.producer == case.producer, cases.c.message_id == case.message_id)
        with reading(self._engine) as connection:
            return connection.execute(known).scalar()

    def get_case(self, case_id: str) -> Case:
        """See the port."""
        return self.get_case_record(case_id).case

    def find_case_id(self, *, external_id: str, source_queues: Sequence[str]) -> str | None:
        """See the port."""
        known = select(cases.c.case_id, cases.c.producer).where(cases.c.external_id == external_id, cases.c.source_queue.in_(source_queues))
        with database_errors("records"), reading(self._engine) as connection:
            rows = connection.execute(known.order_by(cases.c.received_at.desc())).all()
        if len({row.producer for row in rows}) > 1:
            raise ConflictingMessage("two senders use this id: name the case by case_id")
        return rows[0].case_id if rows else None

    def claim_undiagnosed(self, *, limit: int, lease_seconds: float) -> tuple[Case, ...]:
        """See the port."""
        return self._claim(RECEIVED, limit, lease_seconds)

    def claim_unreported(self, *, limit: int, lease_seconds: float) -> tuple[Case, ...]:
        """See the port."""
        return self._claim(REVIEWED, limit, lease_seconds)

    def _claim(self, state: str, limit: int, lease_seconds: float) -> tuple[Case, ...]:
        with database_errors("records"), writing(self._engine) as connection:
            now = time.time()  # only here: SQLite may have waited for others
            free = (
                select(cases.c.case_id, cases.c.attempts)
                .where(_is_claimable(state, now))
                .order_by(cases.c.received_at, cases.c.case_id)
                .limit(limit)
                .with_for_update(skip_locked=True)  # SQLite has no row locks: there the whole transaction is alone
            )
            found = connection.execute(free).all()
            case_ids = [one.case_id for one in found[: claimed_together(one.attempts for one in found)]]
            claim = update(cases).where(cases.c.case_id.in_(case_ids))
            until = now + min(lease_seconds, FARTHEST_SECONDS)
            connection.execute(claim.values(claimed_until=until, attempts=cases.c.attempts + 1))
            rows = connection.execute(case_rows().where(cases.c.case_id.in_(case_ids))).all()
        return tuple(case for row in rows if (case := self._open_case(row)) is not None)

    def _open_case(self, row: Row[Any, Any, Any, Any, Any]) -> Case | None:
        """A claimed case; None for one that no key opens: it uses up its own attempts and is stuck, and its batch goes on."""
        try:
            return to_case(row, self._vault)
        except BadSettings:
            _log.error("case %s cannot be opened: sealed with another key, or damaged on the disk", row.case_id)
            return None

    def release_case(self, case_id: str, *, after_seconds: float = 0.0) -> None:
        """See the port."""
        held = update(cases).where(cases.c.case_id == case_id, cases.c.claimed_until > 0, cases.c.attempts > 0)
        with database_errors("records"), writing(self._engine) as connection:
            until = time.time() + min(after_seconds, FARTHEST_SECONDS)
            connection.execute(held.values(claimed_until=until, attempts=cases.c.attempts - 1))

    def add_diagnosis(self, diagnosis: AiDiagnosis, outbox: Sequence[OutboxMessage], *, run_id: str | None = None) -> bool:
        """See the port."""
        row = {
            "case_id": diagnosis.case_id,
            "model_version": diagnosis.model_version,
            "diagnosed_at": diagnosis.diagnosed_at,
            "sealed": self._vault.seal(diagnosis.model_dump_json()),
            "run_id": run_id,
        }
        with database_errors("records"), writing(self._engine) as connection:
            if lock_case(connection, diagnosis.case_id) is None or has_row(connection, diagnoses, diagnosis.case_id):
                return False
            connection.execute(insert(diagnoses).values(row))
            put_on_work_list(connection, diagnosis)
            state = REVIEWED if has_row(connection, reviews, diagnosis.case_id) else DIAGNOSED
            self._advance(connection, diagnosis.case_id, state, outbox)
            return True

    def find_diagnosis(self, case_id: str) -> AiDiagnosis | None:
        """See the port."""
        content = self._find_content(select(diagnoses.c.sealed).where(diagnoses.c.case_id == case_id))
        return AiDiagnosis.model_validate_json(content) if content else None

    def add_review(self, review: DoctorReview) -> bool:
        """See the port."""
        with database_errors("records"), writing(self._engine) as connection:
            state = lock_case(connection, review.case_id)
            if state is None:
                raise NotFound(f"there is no case {review.case_id}")
            known = connection.execute(select(reviews.c.sealed).where(reviews.c.review_id == review.review_id)).scalar()
            if known is not None:
                _refuse_other_review(DoctorReview.model_validate_json(self._vault.unseal(known)), review)
                return False
            if state == REPORTED:
                raise ConflictingMessage(f"{review.case_id} has its report already")
            position = connection.execute(select(func.count()).where(reviews.c.case_id == review.case_id)).scalar_one()
            row = {"review_id": review.review_id, "case_id": review.case_id, "reviewed_at": review.reviewed_at, "position": position}
            connection.execute(insert(reviews).values(**row, sealed=self._vault.seal(review.model_dump_json())))
            if state == DIAGNOSED:
                self._advance(connection, review.case_id, REVIEWED, ())
            else:
                take_figures(connection, [review.case_id], self._vault)
            return True

    def find_review(self, case_id: str) -> DoctorReview | None:
        """See the port."""
        newest = select(reviews.c.sealed).where(reviews.c.case_id == case_id).order_by(reviews.c.position.desc()).limit(1)
        content = self._find_content(newest)
        return DoctorReview.model_validate_json(content) if content else None

    def add_report(self, report: DiagnosisReport, outbox: Sequence[OutboxMessage], *, run_id: str | None = None) -> bool:
        """See the port."""
        with database_errors("records"), writing(self._engine) as connection:
            if lock_case(connection, report.case_id) is None or has_row(connection, reports, report.case_id):
                return False
            row = {"case_id": report.case_id, "written_at": report.written_at, "run_id": run_id}
            connection.execute(insert(reports).values(**row, sealed=self._vault.seal(report.model_dump_json())))
            self._advance(connection, report.case_id, REPORTED, outbox)
            return True

    def find_report(self, case_id: str) -> DiagnosisReport | None:
        """See the port."""
        content = self._find_content(select(reports.c.sealed).where(reports.c.case_id == case_id))
        return DiagnosisReport.model_validate_json(content) if content else None

    def claim_unsent(self, *, limit: int, lease_seconds: float) -> tuple[OutboxMessage, ...]:
        """See the port."""
        while rows := self._claim_messages(limit, lease_seconds):
            if opened := tuple(message for row in rows if (message := self._open_message(row)) is not None):
                return opened
        return ()

    def _claim_messages(self, limit: int, lease_seconds: float) -> Sequence[Row[Any]]:
        with database_errors("records"), writing(self._engine) as connection:
            now = time.time()  # only here: SQLite may have waited for others
            due = select(outbox).where(_is_next(now)).order_by(outbox.c.attempts, outbox.c.created_at, outbox.c.case_id)
            rows = connection.execute(due.limit(limit).with_for_update(skip_locked=True)).all()
            claim = update(outbox).where(outbox.c.message_id.in_([row.message_id for row in rows]))
            connection.execute(claim.values(due_at=now + min(lease_seconds, FARTHEST_SECONDS)))
            return rows

    def _open_message(self, row: Row[Any]) -> OutboxMessage | None:
        """A claimed message; None for one that no key opens: it fails, and the others go out."""
        try:
            return to_outbox(row, self._vault)
        except BadSettings as error:
            _log.error("%s of case %s cannot be opened: sealed with another key, or damaged on the disk", row.type, row.case_id)
            self.mark_failed(row.message_id, reason=str(error))
            return None

    def release_messages(self, message_ids: Sequence[str]) -> None:
        """See the port."""
        # Whoever holds one of them erases it, or notes what became of it: nobody waits for the other.
        free = select(outbox.c.message_id).where(outbox.c.message_id.in_(message_ids), outbox.c.sent_at.is_(None))
        with database_errors("records"), writing(self._engine) as connection:
            held = connection.execute(free.with_for_update(skip_locked=True)).scalars().all()
            connection.execute(update(outbox).where(outbox.c.message_id.in_(held)).values(due_at=0.0))

    def mark_sent(self, message_id: str, *, sent_at: datetime) -> None:
        """See the port."""
        values = {"sent_at": sent_at, "attempts": outbox.c.attempts + 1, "last_error": None}
        with database_errors("records"), writing(self._engine) as connection:
            connection.execute(update(outbox).where(_is_unsent(message_id)).values(values))

    def mark_failed(self, message_id: str, *, reason: str) -> None:
        """See the port."""
        with database_errors("records"), writing(self._engine) as connection:
            attempts = connection.execute(select(outbox.c.attempts).where(_is_unsent(message_id)).with_for_update()).scalar()
            if attempts is not None:
                values = {"attempts": attempts + 1, "due_at": time.time() + pause_after(attempts + 1), "last_error": reason}
                connection.execute(update(outbox).where(_is_unsent(message_id)).values(values))

    def add_rejection(self, rejection: Rejection) -> None:
        """See the port."""
        with database_errors("records"), writing(self._engine) as connection:
            connection.execute(insert(rejections).values(rejection.model_dump()))

    def rejections(self, *, since: datetime, until: datetime) -> tuple[Rejection, ...]:
        """See the port."""
        when = rejections.c.rejected_at
        chosen = select(rejections).where(when >= since, when < until).order_by(when, rejections.c.rejection_id)
        with database_errors("records"), reading(self._engine) as connection:
            rows = connection.execute(chosen).mappings().all()
        return tuple(Rejection.model_validate({name: row[name] for name in Rejection.model_fields}) for row in rows)

    def get_case_record(self, case_id: str) -> CaseRecord:
        """See the port."""
        with database_errors("records"), reading(self._engine) as connection:
            found = records_of(connection, [case_id], self._vault)
        if not found:
            raise NotFound(f"there is no case {case_id}")
        return found[0]

    def case_records(self, *, since: datetime, until: datetime) -> Iterator[CaseRecord]:
        """See the port."""
        when = cases.c.received_at
        chosen = select(cases.c.case_id).where(when >= since, when < until).order_by(when, cases.c.case_id)
        with database_errors("records"), reading(self._engine) as connection:
            case_ids = connection.execute(chosen).scalars().all()
        for start in range(0, len(case_ids), _CHUNK):
            with database_errors("records"), reading(self._engine) as connection:
                found = records_of(connection, case_ids[start : start + _CHUNK], self._vault)
            yield from found

    def backlog(self) -> Backlog:
        """See the port. Cases are counted along an index alone: their rows are long, and a hundred thousand of them slow to read."""
        when = cases.c.received_at
        by_state = select(cases.c.state, func.count(), func.min(when)).where(cases.c.state.in_(_WAITING)).group_by(cases.c.state)
        unsent = select(func.count(), func.min(outbox.c.created_at)).where(outbox.c.sent_at.is_(None))
        taken = (select(func.max(when)), select(func.max(rejections.c.rejected_at)))
        with database_errors("records"), reading(self._engine) as connection:
            waiting = {state: (count, oldest) for state, count, oldest in connection.execute(by_state)}
            stuck = connection.execute(select(func.count()).select_from(cases).where(_is_stuck())).scalar_one()
            unsent_messages, oldest_unsent_at = tuple[Any, ...](connection.execute(unsent).one())
            taken_at = [at for query in taken if (at := connection.execute(query).scalar()) is not None]
        (undiagnosed, unread_since), (unreviewed, read_since), (unreported, reviewed_since) = (
            waiting.get(one, (0, None)) for one in _WAITING
        )
        return Backlog(
            undiagnosed=undiagnosed,
            unreviewed=unreviewed,
            unreported=unreported,
            unsent=unsent_messages,
            stuck=stuck,
            oldest_undiagnosed_at=unread_since,
            oldest_unreviewed_at=read_since,
            oldest_unreported_at=reviewed_since,
            oldest_unsent_at=oldest_unsent_at,
            last_taken_at=max(taken_at, default=None),
        )

    def census(self) -> Census:
        """See the port."""
        # By state along an index: what was reviewed or reported has been read.
        by_state = select(cases.c.state, func.count()).where(cases.c.state != ERASED).group_by(cases.c.state)
        with database_errors("records"), reading(self._engine) as connection:
            counted = {row[0]: row[1] for row in connection.execute(by_state)}
            revision = find_revision(connection) or "none"
        return Census(
            cases=sum(counted.values()),
            diagnosed=sum(counted.get(state, 0) for state in (DIAGNOSED, REVIEWED, REPORTED)),
            reported=counted.get(REPORTED, 0),
            schema_revision=revision,
        )

    def find_work(self) -> Work:
        """See the port."""
        now = time.time()
        anything = select(
            exists().where(_is_claimable(RECEIVED, now)),
            exists().where(_is_claimable(REVIEWED, now)),
            exists().where(_is_next(now)),
        )
        with database_errors("records"), reading(self._engine) as connection:
            to_diagnose, to_report, to_send = connection.execute(anything).one()
        return Work(to_diagnose=to_diagnose, to_report=to_report, to_send=to_send)

    def rearm_stuck(self) -> int:
        """See the port."""
        with database_errors("records"), writing(self._engine) as connection:
            return connection.execute(update(cases).where(_is_stuck()).values(attempts=0, claimed_until=0.0)).rowcount

    def close(self) -> None:
        """See the port."""
        self._engine.dispose()

    def _find_content(self, query: Select[Any]) -> bytes | None:
        with database_errors("records"), reading(self._engine) as connection:
            sealed = connection.execute(query).scalar()
        return self._vault.unseal(sealed) if sealed is not None else None

    def _advance(self, connection: Connection, case_id: str, state: str, announcements: Sequence[OutboxMessage]) -> None:
        """Move the case on, end its claim, and store what announces it: one transaction with the caller's row."""
        connection.execute(update(cases).where(cases.c.case_id == case_id).values(state=state, attempts=0, claimed_until=0.0))
        add_announcements(connection, case_id, announcements, self._vault)
        take_figures(connection, [case_id], self._vault)


def _is_new(case: Case, known_body_sha256: str) -> bool:
    """Never: a message id that is known has come again, or stands on another message."""
    if known_body_sha256 != case.body_sha256:
        raise ConflictingMessage("this message id came before with another body")
    return False


def _is_claimable(state: str, now: float) -> ColumnElement[bool]:
    return (cases.c.state == state) & is_over(cases.c.claimed_until, now) & (cases.c.attempts < MAX_ATTEMPTS)


def _is_unsent(message_id: str) -> ColumnElement[bool]:
    return (outbox.c.message_id == message_id) & outbox.c.sent_at.is_(None)


def _is_next(now: float) -> ColumnElement[bool]:
    """Whether a message is the first of its case that is unsent, and due."""
    earlier = outbox.alias("earlier")
    first = ~exists().where(earlier.c.case_id == outbox.c.case_id, earlier.c.sent_at.is_(None), earlier.c.position < outbox.c.position)
    return outbox.c.sent_at.is_(None) & is_over(outbox.c.due_at, now) & first


def _is_stuck() -> ColumnElement[bool]:
    return (cases.c.attempts >= MAX_ATTEMPTS) & cases.c.state.in_((RECEIVED, REVIEWED))


def _refuse_other_review(known: DoctorReview, new: DoctorReview) -> None:
    if not known.says_the_same_as(new):
        raise ConflictingMessage("this review id came before with other content")
