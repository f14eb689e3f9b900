"""What the review desk keeps, in SQLite or PostgreSQL."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, Row, and_, delete, func, insert, select, update

from eye_dx_core.errors import ConflictingMessage, NotFound
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
from eye_dx_core.records.engine import database_errors, reading, writing
from eye_dx_core.records.holding import add_announcements, has_row, is_over, lock_case
from eye_dx_core.records.outgoing import OutboxMessage
from eye_dx_core.records.port import FARTHEST_SECONDS
from eye_dx_core.records.rows import DIAGNOSED, REVIEWED
from eye_dx_core.records.sql_custody import append_audit
from eye_dx_core.records.sql_daily import take_figures
from eye_dx_core.records.tables import addenda, cases, desk_notes, patient_links, reports, reviews
from eye_dx_core.schema.diagnosis import AiDiagnosis
from eye_dx_core.schema.review import Addendum, DoctorReview
from eye_dx_core.schema.routing import Urgency
from eye_dx_core.vault import Vault


class SqlDesk:
    """The part `Desk` of the port `Records`."""

    _engine: Engine
    _vault: Vault

    def work_list(self, wanted: WorkFilter, *, now: datetime, limit: int, offset: int = 0) -> WorkList:
        """See the port."""
        chosen = and_(*_conditions(wanted, now))
        columns = ("case_id", "received_at", "state", "urgency", "review_due_at", "needs_second", "held_by", "held_until")
        order = (cases.c.work_order, cases.c.received_at, cases.c.case_id)
        # The ids first: what is skipped is then walked along the index alone.
        ids = select(cases.c.case_id).where(chosen).order_by(*order).limit(limit).offset(offset).subquery()
        page = select(*(cases.c[name] for name in columns)).where(cases.c.case_id.in_(select(ids.c.case_id))).order_by(*order)
        with database_errors("records"), reading(self._engine) as connection:
            rows = connection.execute(page).all()
            total = connection.execute(select(func.count()).select_from(cases).where(chosen)).scalar_one()
        return WorkList(items=tuple(_to_item(row, now) for row in rows), total=total)

    def count_work(self, *, now: datetime) -> dict[str, int]:
        """See the port."""
        waiting = cases.c.state == DIAGNOSED
        by_order = select(cases.c.work_order, func.count()).where(waiting).group_by(cases.c.work_order)
        marks = {"overdue": cases.c.review_due_at < now, "needs_second": cases.c.needs_second}
        with database_errors("records"), reading(self._engine) as connection:
            counted = {row[0]: row[1] for row in connection.execute(by_order)}
            marked = {
                name: connection.execute(select(func.count()).select_from(cases).where(waiting, mark)).scalar_one()
                for name, mark in marks.items()
            }
        return {one.value: counted.get(work_order(one), 0) for one in Urgency} | marked

    def hold_case(self, case_id: str, *, holder: str, lease_seconds: float) -> datetime:
        """See the port."""
        until = time.time() + min(lease_seconds, FARTHEST_SECONDS)
        with database_errors("records"), writing(self._engine) as connection:
            _lock(connection, case_id)
            _refuse_if_held(connection, case_id, by_other_than=holder)
            connection.execute(update(cases).where(cases.c.case_id == case_id).values(held_by=holder, held_until=until))
        return datetime.fromtimestamp(until, UTC)

    def let_go(self, case_id: str, *, holder: str) -> None:
        """See the port."""
        held = update(cases).where(cases.c.case_id == case_id, cases.c.held_by == holder)
        with database_errors("records"), writing(self._engine) as connection:
            connection.execute(held.values(held_by=None, held_until=0.0))

    def find_holder(self, case_id: str) -> str | None:
        """See the port."""
        with database_errors("records"), reading(self._engine) as connection:
            return _holder(connection, case_id)

    def save_note(self, note: DeskNote, *, event: AuditEvent | None = None) -> None:
        """See the port."""
        with database_errors("records"), writing(self._engine) as connection:
            _lock(connection, note.case_id)
            only_one = note.kind is NoteKind.FIRST_SIGNATURE
            current = self._find(connection, note.case_id, note.kind, None if only_one else note.written_by)
            if (current.version if current else 0) != note.version - 1 or (current and current.written_by != note.written_by):
                raise StaleForm(current)
            self._put_note(connection, note)
            if only_one:
                connection.execute(update(cases).where(cases.c.case_id == note.case_id).values(needs_second=True))
            if event is not None:
                append_audit(connection, event)

    def _put_note(self, connection: Connection, note: DeskNote) -> None:
        note_id = f"{note.case_id}/{note.kind}/{note.written_by}"
        connection.execute(delete(desk_notes).where(desk_notes.c.note_id == note_id))
        sealed = self._vault.seal(note.content)
        connection.execute(insert(desk_notes).values(note.model_dump(exclude={"content"}) | {"note_id": note_id, "sealed": sealed}))

    def find_note(self, case_id: str, kind: NoteKind, *, written_by: str | None = None) -> DeskNote | None:
        """See the port."""
        with database_errors("records"), reading(self._engine) as connection:
            return self._find(connection, case_id, kind, written_by)

    def _find(self, connection: Connection, case_id: str, kind: NoteKind, written_by: str | None) -> DeskNote | None:
        kept = select(desk_notes).where(desk_notes.c.case_id == case_id, desk_notes.c.kind == kind)
        if written_by is not None:
            kept = kept.where(desk_notes.c.written_by == written_by)
        row = connection.execute(kept.order_by(desk_notes.c.written_at.desc()).limit(1)).mappings().first()
        if row is None:
            return None
        known = {name: row[name] for name in DeskNote.model_fields if name != "content"}
        return DeskNote.model_validate(known | {"content": self._vault.unseal(row["sealed"]).decode()})

    def sign_review(self, review: DoctorReview, *, signer: str, draft_version: int, event: AuditEvent) -> None:
        """See the port."""
        with database_errors("records"), writing(self._engine) as connection:
            if _lock(connection, review.case_id) != DIAGNOSED:
                raise ConflictingMessage(f"{review.case_id} does not wait for a review: it was reviewed meanwhile, or not read yet")
            _refuse_if_held(connection, review.case_id, by_other_than=signer)
            draft = self._find(connection, review.case_id, NoteKind.DRAFT, signer)
            if (draft.version if draft else 0) != draft_version:
                raise StaleForm(draft)
            row = {"review_id": review.review_id, "case_id": review.case_id, "reviewed_at": review.reviewed_at, "position": 0}
            connection.execute(insert(reviews).values(**row, sealed=self._vault.seal(review.model_dump_json())))
            before_it_counted = and_(desk_notes.c.case_id == review.case_id, desk_notes.c.kind != NoteKind.BLIND_READING)
            connection.execute(delete(desk_notes).where(before_it_counted))
            signed = {"state": REVIEWED, "attempts": 0, "claimed_until": 0.0, "needs_second": False, "held_by": None, "held_until": 0.0}
            connection.execute(update(cases).where(cases.c.case_id == review.case_id).values(signed))
            take_figures(connection, [review.case_id], self._vault)
            append_audit(connection, event)

    def add_addendum(self, addendum: Addendum, outbox: Sequence[OutboxMessage], *, event: AuditEvent) -> bool:
        """See the port."""
        of_case = addenda.c.case_id == addendum.case_id
        with database_errors("records"), writing(self._engine) as connection:
            _lock_reported(connection, addendum.case_id)
            if connection.execute(select(addenda.c.case_id).where(addenda.c.addendum_id == addendum.addendum_id)).first():
                return False
            position = connection.execute(select(func.count()).select_from(addenda).where(of_case)).scalar_one()
            row = {"addendum_id": addendum.addendum_id, "case_id": addendum.case_id, "position": position}
            connection.execute(insert(addenda).values(**row, sealed=self._vault.seal(addendum.model_dump_json())))
            add_announcements(connection, addendum.case_id, outbox, self._vault)
            append_audit(connection, event)
            return True

    def addenda(self, case_id: str) -> tuple[Addendum, ...]:
        """See the port."""
        kept = select(addenda.c.sealed).where(addenda.c.case_id == case_id).order_by(addenda.c.position)
        with database_errors("records"), reading(self._engine) as connection:
            rows = connection.execute(kept).scalars().all()
        return tuple(Addendum.model_validate_json(self._vault.unseal(sealed)) for sealed in rows)

    def add_link(self, link: PatientLink, *, event: AuditEvent) -> None:
        """See the port."""
        with database_errors("records"), writing(self._engine) as connection:
            _lock_reported(connection, link.case_id)
            connection.execute(insert(patient_links).values(link.model_dump()))
            append_audit(connection, event)

    def find_link(self, token_sha256: str) -> PatientLink | None:
        """See the port."""
        with database_errors("records"), reading(self._engine) as connection:
            kept = select(patient_links).where(patient_links.c.token_sha256 == token_sha256)
            row = connection.execute(kept).mappings().first()
        return PatientLink.model_validate(dict(row)) if row else None

    def revoke_links(self, case_id: str, *, at: datetime, event: AuditEvent) -> int:
        """See the port."""
        is_open = (patient_links.c.case_id == case_id) & patient_links.c.revoked_at.is_(None) & (patient_links.c.expires_at > at)
        with database_errors("records"), writing(self._engine) as connection:
            ended = connection.execute(update(patient_links).where(is_open).values(revoked_at=at)).rowcount
            append_audit(connection, event)
            return ended


def put_on_work_list(connection: Connection, diagnosis: AiDiagnosis) -> None:
    """Write beside the case how soon the AI proposes that somebody is seen, and by when a doctor should have looked."""
    urgency = diagnosis.routing.urgency if diagnosis.routing else None
    received_at = connection.execute(select(cases.c.received_at).where(cases.c.case_id == diagnosis.case_id)).scalar_one()
    place = {"urgency": urgency, "work_order": work_order(urgency), "review_due_at": review_due_at(received_at, urgency)}
    connection.execute(update(cases).where(cases.c.case_id == diagnosis.case_id).values(place))


def _conditions(wanted: WorkFilter, now: datetime) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = [cases.c.state.in_([stage.value for stage in wanted.stages or tuple(CaseStage)])]
    if wanted.urgencies:
        found.append(cases.c.work_order.in_([work_order(one) for one in wanted.urgencies]))
    if wanted.is_overdue:
        found.append((cases.c.state == DIAGNOSED) & (cases.c.review_due_at < now))
    if wanted.needs_second:
        found.append(cases.c.needs_second)
    if wanted.held_by is not None:
        found.append((cases.c.held_by == wanted.held_by) & ~is_over(cases.c.held_until, now.timestamp()))
    if wanted.received_since is not None:
        found.append(cases.c.received_at >= wanted.received_since)
    if wanted.received_until is not None:
        found.append(cases.c.received_at < wanted.received_until)
    if wanted.case_id_prefix is not None:
        found.append(cases.c.case_id.startswith(wanted.case_id_prefix, autoescape=True))
    return found


def _to_item(row: Row[Any], now: datetime) -> WorkItem:
    is_held = row.held_by is not None and now.timestamp() < row.held_until <= now.timestamp() + FARTHEST_SECONDS
    return WorkItem(
        case_id=row.case_id,
        received_at=row.received_at,
        stage=CaseStage(row.state),
        urgency=row.urgency,
        review_due_at=row.review_due_at,
        needs_second=row.needs_second,
        held_by=row.held_by if is_held else None,
        held_until=datetime.fromtimestamp(row.held_until, UTC) if is_held else None,
    )


def _lock(connection: Connection, case_id: str) -> str:
    state = lock_case(connection, case_id)
    if state is None:
        raise NotFound(f"there is no case {case_id}")
    return state


def _lock_reported(connection: Connection, case_id: str) -> None:
    _lock(connection, case_id)
    if not has_row(connection, reports, case_id):
        raise NotFound(f"{case_id} has no report yet")


def _holder(connection: Connection, case_id: str) -> str | None:
    held = select(cases.c.held_by).where(cases.c.case_id == case_id, ~is_over(cases.c.held_until, time.time()))
    return connection.execute(held).scalar()


def _refuse_if_held(connection: Connection, case_id: str, *, by_other_than: str) -> None:
    holder = _holder(connection, case_id)
    if holder is not None and holder != by_other_than:
        raise Held(holder)
