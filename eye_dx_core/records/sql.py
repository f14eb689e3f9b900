"""Records in SQLite or PostgreSQL."""

import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, Table, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from eye_dx_core.errors import ConflictingMessage, NotFound
from eye_dx_core.records.engine import database_errors, open_engine, reading, writing
from eye_dx_core.records.migrating import upgrade_schema
from eye_dx_core.records.port import MAX_ATTEMPTS, Backlog, CaseRecord, OutboxMessage, Rejection
from eye_dx_core.records.tables import cases, diagnoses, identities, outbox, rejections, reports, reviews
from eye_dx_core.schema.case import Case
from eye_dx_core.schema.diagnosis import AiDiagnosis
from eye_dx_core.schema.report import DiagnosisReport
from eye_dx_core.schema.review import DoctorReview

# States of a case. A review may come before the diagnosis; the case is `reviewed` when it has both.
RECEIVED, DIAGNOSED, REVIEWED, REPORTED = "received", "diagnosed", "reviewed", "reported"
_IDENTITY_FIELDS = ("name", "phone", "birth_date")
_CHUNK = 500


class SqlRecords:
    """The port `Records` by SQLAlchemy. The schema is brought up to date when it is opened."""

    def __init__(self, url: str) -> None:
        self._engine = open_engine(url)
        with database_errors("records"):
            upgrade_schema(self._engine)

    def add_case(self, case: Case) -> bool:
        """See the port."""
        values = {
            "case_id": case.case_id,
            "source_queue": case.source_queue,
            "message_id": case.message_id,
            "external_id": case.external_id,
            "patient_id": case.screening.patient.patient_id if case.screening.patient else None,
            "body_sha256": case.body_sha256,
            "received_at": case.received_at,
            "content": _without_identity(case).model_dump_json(),
            "state": RECEIVED,
            "attempts": 0,
            "claimed_until": 0.0,
        }
        with database_errors("records"):
            try:
                with writing(self._engine) as connection:
                    connection.execute(insert(cases).values(values))
                    _keep_identity(connection, case)
            except IntegrityError:
                self._refuse_conflict(case)
                return False
        return True

    def _refuse_conflict(self, case: Case) -> None:
        known = select(cases.c.body_sha256).where(cases.c.source_queue == case.source_queue, cases.c.message_id == case.message_id)
        with reading(self._engine) as connection:
            if connection.execute(known).scalar_one() != case.body_sha256:
                raise ConflictingMessage("this message id came before with another body")

    def get_case(self, case_id: str) -> Case:
        """See the port."""
        return self.get_case_record(case_id).case

    def find_case_id(self, *, external_id: str) -> str | None:
        """See the port."""
        newest = select(cases.c.case_id).where(cases.c.external_id == external_id).order_by(cases.c.received_at.desc()).limit(1)
        with database_errors("records"), reading(self._engine) as connection:
            return connection.execute(newest).scalar()

    def claim_undiagnosed(self, *, limit: int, lease_seconds: float) -> tuple[Case, ...]:
        """See the port."""
        return self._claim(RECEIVED, limit, lease_seconds)

    def claim_unreported(self, *, limit: int, lease_seconds: float) -> tuple[Case, ...]:
        """See the port."""
        return self._claim(REVIEWED, limit, lease_seconds)

    def _claim(self, state: str, limit: int, lease_seconds: float) -> tuple[Case, ...]:
        now = time.time()
        free = (
            select(cases.c.case_id)
            .where(cases.c.state == state, cases.c.claimed_until <= now, cases.c.attempts < MAX_ATTEMPTS)
            .order_by(cases.c.received_at, cases.c.case_id)
            .limit(limit)
            .with_for_update(skip_locked=True)  # SQLite has no row locks: there the whole transaction is alone
        )
        with database_errors("records"), writing(self._engine) as connection:
            case_ids = connection.execute(free).scalars().all()
            claim = update(cases).where(cases.c.case_id.in_(case_ids))
            connection.execute(claim.values(claimed_until=now + lease_seconds, attempts=cases.c.attempts + 1))
            return tuple(_to_case(row) for row in connection.execute(_case_rows().where(cases.c.case_id.in_(case_ids))))

    def release_case(self, case_id: str) -> None:
        """See the port."""
        held = update(cases).where(cases.c.case_id == case_id, cases.c.claimed_until > 0, cases.c.attempts > 0)
        with database_errors("records"), writing(self._engine) as connection:
            connection.execute(held.values(claimed_until=0.0, attempts=cases.c.attempts - 1))

    def add_diagnosis(self, diagnosis: AiDiagnosis, outbox: Sequence[OutboxMessage]) -> bool:
        """See the port."""
        row = {
            "case_id": diagnosis.case_id,
            "model_version": diagnosis.model_version,
            "diagnosed_at": diagnosis.diagnosed_at,
            "content": diagnosis.model_dump_json(),
        }
        with database_errors("records"), writing(self._engine) as connection:
            if not _lock_case(connection, diagnosis.case_id) or _has(connection, diagnoses, diagnosis.case_id):
                return False
            connection.execute(insert(diagnoses).values(row))
            state = REVIEWED if _has(connection, reviews, diagnosis.case_id) else DIAGNOSED
            _advance(connection, diagnosis.case_id, state, outbox)
            return True

    def find_diagnosis(self, case_id: str) -> AiDiagnosis | None:
        """See the port."""
        content = self._find_content(select(diagnoses.c.content).where(diagnoses.c.case_id == case_id))
        return AiDiagnosis.model_validate_json(content) if content else None

    def add_review(self, review: DoctorReview) -> bool:
        """See the port."""
        with database_errors("records"), writing(self._engine) as connection:
            state = _lock_case(connection, review.case_id)
            if state is None:
                raise NotFound(f"there is no case {review.case_id}")
            known = connection.execute(select(reviews.c.content).where(reviews.c.review_id == review.review_id)).scalar()
            if known is not None:
                _refuse_other_review(DoctorReview.model_validate_json(known), review)
                return False
            if state == REPORTED:
                raise ConflictingMessage(f"{review.case_id} has its report already")
            position = connection.execute(select(func.count()).where(reviews.c.case_id == review.case_id)).scalar_one()
            row = {"review_id": review.review_id, "case_id": review.case_id, "reviewed_at": review.reviewed_at, "position": position}
            connection.execute(insert(reviews).values(**row, content=review.model_dump_json()))
            if state == DIAGNOSED:
                _advance(connection, review.case_id, REVIEWED, ())
            return True

    def find_review(self, case_id: str) -> DoctorReview | None:
        """See the port."""
        newest = select(reviews.c.content).where(reviews.c.case_id == case_id).order_by(reviews.c.position.desc()).limit(1)
        content = self._find_content(newest)
        return DoctorReview.model_validate_json(content) if content else None

    def add_report(self, report: DiagnosisReport, outbox: Sequence[OutboxMessage]) -> bool:
        """See the port."""
        with database_errors("records"), writing(self._engine) as connection:
            if not _lock_case(connection, report.case_id) or _has(connection, reports, report.case_id):
                return False
            row = {"case_id": report.case_id, "written_at": report.written_at, "content": report.model_dump_json()}
            connection.execute(insert(reports).values(row))
            _advance(connection, report.case_id, REPORTED, outbox)
            return True

    def find_report(self, case_id: str) -> DiagnosisReport | None:
        """See the port."""
        content = self._find_content(select(reports.c.content).where(reports.c.case_id == case_id))
        return DiagnosisReport.model_validate_json(content) if content else None

    def unsent_messages(self, *, limit: int) -> tuple[OutboxMessage, ...]:
        """See the port."""
        failures = func.max(outbox.c.attempts).over(partition_by=outbox.c.case_id)
        waiting = select(outbox).where(outbox.c.sent_at.is_(None)).order_by(failures, outbox.c.created_at, outbox.c.message_id).limit(limit)
        with database_errors("records"), reading(self._engine) as connection:
            return tuple(_to_outbox(row) for row in connection.execute(waiting))

    def mark_sent(self, message_id: str, *, sent_at: datetime) -> None:
        """See the port."""
        self._update_outbox(message_id, {"sent_at": sent_at, "attempts": outbox.c.attempts + 1, "last_error": None})

    def mark_failed(self, message_id: str, *, reason: str) -> None:
        """See the port."""
        self._update_outbox(message_id, {"attempts": outbox.c.attempts + 1, "last_error": reason})

    def _update_outbox(self, message_id: str, values: dict[str, object]) -> None:
        with database_errors("records"), writing(self._engine) as connection:
            connection.execute(update(outbox).where(outbox.c.message_id == message_id).values(values))

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
            found = _records_of(connection, [case_id])
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
                found = _records_of(connection, case_ids[start : start + _CHUNK])
            yield from found

    def backlog(self) -> Backlog:
        """See the port."""
        is_stuck = (cases.c.attempts >= MAX_ATTEMPTS) & cases.c.state.in_((RECEIVED, REVIEWED))
        is_free = (cases.c.claimed_until <= time.time()) & ~is_stuck
        counted = select(
            *(func.count().filter(cases.c.state == state) for state in (RECEIVED, DIAGNOSED, REVIEWED)),
            func.count().filter(is_stuck),
            *(func.count().filter((cases.c.state == state) & is_free) for state in (RECEIVED, REVIEWED)),
        ).where(cases.c.state != REPORTED)
        with database_errors("records"), reading(self._engine) as connection:
            counts = tuple(int(count) for count in connection.execute(counted).one())
            unsent = connection.execute(select(func.count()).where(outbox.c.sent_at.is_(None))).scalar_one()
        undiagnosed, unreviewed, unreported, stuck, free_undiagnosed, free_unreported = counts
        return Backlog(
            undiagnosed=undiagnosed,
            claimable_undiagnosed=free_undiagnosed,
            claimable_unreported=free_unreported,
            unreviewed=unreviewed,
            unreported=unreported,
            unsent=unsent,
            stuck=stuck,
        )

    def close(self) -> None:
        """See the port."""
        self._engine.dispose()

    def _find_content(self, query: Select[Any]) -> str | None:
        with database_errors("records"), reading(self._engine) as connection:
            return connection.execute(query).scalar()


def _without_identity(case: Case) -> Case:
    patient = case.screening.patient
    if patient is None:
        return case
    bare = patient.model_copy(update=dict.fromkeys(_IDENTITY_FIELDS))
    return case.model_copy(update={"screening": case.screening.model_copy(update={"patient": bare})})


def _keep_identity(connection: Connection, case: Case) -> None:
    """Write what the message tells of the person; what it does not tell stays as it was."""
    patient = case.screening.patient
    if patient is None:
        return
    told = {field: value for field in _IDENTITY_FIELDS if (value := getattr(patient, field)) is not None}
    known = connection.execute(select(identities.c.patient_id).where(identities.c.patient_id == patient.patient_id)).scalar()
    if known is None:
        connection.execute(insert(identities).values(patient_id=patient.patient_id, **told))
    elif told:
        connection.execute(update(identities).where(identities.c.patient_id == patient.patient_id).values(told))


def _lock_case(connection: Connection, case_id: str) -> str | None:
    """Hold the case for this transaction; its state, or None when there is no such case."""
    return connection.execute(select(cases.c.state).where(cases.c.case_id == case_id).with_for_update()).scalar()


def _has(connection: Connection, table: Table, case_id: str) -> bool:
    return connection.execute(select(table.c.case_id).where(table.c.case_id == case_id).limit(1)).first() is not None


def _advance(connection: Connection, case_id: str, state: str, announcements: Sequence[OutboxMessage]) -> None:
    """Move the case on, end its claim, and store what announces it: one transaction with the caller's row."""
    connection.execute(update(cases).where(cases.c.case_id == case_id).values(state=state, attempts=0, claimed_until=0.0))
    if announcements:
        connection.execute(insert(outbox), [message.model_dump() for message in announcements])


def _refuse_other_review(known: DoctorReview, new: DoctorReview) -> None:
    if not known.says_the_same_as(new):
        raise ConflictingMessage("this review id came before with other content")


def _case_rows() -> Select[Any, Any, Any, Any, Any, Any]:
    identity = (identities.c.name, identities.c.phone, identities.c.birth_date)
    joined = cases.outerjoin(identities, cases.c.patient_id == identities.c.patient_id)
    columns = select(cases.c.content, *identity, cases.c.case_id, cases.c.attempts)
    return columns.select_from(joined).order_by(cases.c.received_at, cases.c.case_id)


def _to_case(row: Row[Any, Any, Any, Any, Any, Any]) -> Case:
    case = Case.model_validate_json(row[0])
    patient = case.screening.patient
    if patient is None:
        return case
    whole = patient.model_copy(update=dict(zip(_IDENTITY_FIELDS, row[1:4], strict=True)))
    return case.model_copy(update={"screening": case.screening.model_copy(update={"patient": whole})})


def _to_outbox(row: Row[Any]) -> OutboxMessage:
    return OutboxMessage.model_validate(dict(row._mapping))  # pyright: ignore[reportPrivateUsage] # noqa: SLF001 - SQLAlchemy's public name


def _records_of(connection: Connection, case_ids: Sequence[str]) -> list[CaseRecord]:
    """Five queries for any number of cases."""
    by_case = {table.name: _contents(connection, table, case_ids) for table in (diagnoses, reports)}
    latest_reviews = _contents(connection, reviews, case_ids, order=reviews.c.position)
    messages: dict[str, list[OutboxMessage]] = {}
    for row in connection.execute(select(outbox).where(outbox.c.case_id.in_(case_ids)).order_by(outbox.c.created_at)):
        messages.setdefault(row.case_id, []).append(_to_outbox(row))
    found: list[CaseRecord] = []
    for row in connection.execute(_case_rows().where(cases.c.case_id.in_(case_ids))):
        case = _to_case(row)
        diagnosis, report, review = (contents.get(case.case_id) for contents in (by_case["diagnoses"], by_case["reports"], latest_reviews))
        found.append(
            CaseRecord(
                case=case,
                diagnosis=AiDiagnosis.model_validate_json(diagnosis) if diagnosis else None,
                review=DoctorReview.model_validate_json(review) if review else None,
                report=DiagnosisReport.model_validate_json(report) if report else None,
                outbox=tuple(messages.get(case.case_id, ())),
                attempts=row.attempts,
            )
        )
    return found


def _contents(connection: Connection, table: Table, case_ids: Iterable[str], *, order: object = None) -> dict[str, str]:
    """Content by case id; of several the last in the given order."""
    query = select(table.c.case_id, table.c.content).where(table.c.case_id.in_(list(case_ids)))
    rows = connection.execute(query.order_by(order) if order is not None else query)  # pyright: ignore[reportArgumentType]
    return {row.case_id: row.content for row in rows}
