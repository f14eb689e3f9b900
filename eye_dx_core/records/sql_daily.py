"""What the clinic's day counts, kept beside each case in SQLite or PostgreSQL: sealed, and written with what it is taken from."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, Engine, delete, exists, func, insert, or_, select

from eye_dx_core.records.engine import database_errors, reading, writing
from eye_dx_core.records.figures import NOTHING_KEPT, VERSION, DayFigures, read_kept, write_kept
from eye_dx_core.records.rows import ERASED, RECEIVED, records_of
from eye_dx_core.records.tables import cases, diagnoses, figures, outbox, reviews
from eye_dx_core.vault import Vault

_CHUNK, _AT_ONCE = 500, 5000


class SqlDaily:
    """The part `Figures` of the port `Records`."""

    _engine: Engine
    _vault: Vault

    def day_figures(self, *, since: datetime, until: datetime) -> DayFigures:
        """See the port."""
        within = _received(since, until)
        self._take_anew(within)
        kept = (
            select(cases.c.case_id, cases.c.received_at, cases.c.producer, figures.c.sealed)
            .outerjoin(figures, figures.c.case_id == cases.c.case_id)
            .where(within)
            .order_by(cases.c.received_at, cases.c.case_id)
        )
        sent = (
            select(outbox.c.case_id, outbox.c.type, outbox.c.sent_at)
            .join(cases, outbox.c.case_id == cases.c.case_id)
            .where(within)
            .order_by(cases.c.received_at, cases.c.case_id, outbox.c.position)
        )
        found, numbers = DayFigures(), dict[str, int]()
        with database_errors("records"), reading(self._engine) as connection:
            for rows in connection.execute(kept).partitions(_AT_ONCE):
                told = iter(read_kept(self._vault.unseal(row.sealed) for row in rows if row.sealed))
                for case_id, received_at, site, sealed in rows:
                    numbers[case_id] = len(numbers)
                    found.add(received_at, site, next(told) if sealed else NOTHING_KEPT)
            for case_id, kind, sent_at in connection.execute(sent).all():
                found.add_delivery(numbers[case_id], kind, sent_at)
        return found

    def count_diagnosed(self, *, since: datetime, until: datetime) -> int:
        """See the port."""
        read = select(func.count()).select_from(diagnoses).join(cases, diagnoses.c.case_id == cases.c.case_id)
        with database_errors("records"), reading(self._engine) as connection:
            return connection.execute(read.where(_received(since, until))).scalar_one()

    def _take_anew(self, within: ColumnElement[bool]) -> None:
        """Take the figures of cases that have none yet, or have those of an earlier state or version."""
        is_silent = figures.c.version.is_(None) & (cases.c.state == RECEIVED) & ~exists().where(reviews.c.case_id == cases.c.case_id)
        is_current = (figures.c.version == VERSION) & (figures.c.state == cases.c.state)
        stale = select(cases.c.case_id).outerjoin(figures, figures.c.case_id == cases.c.case_id)
        stale = stale.where(within, ~is_silent, or_(figures.c.version.is_(None), ~is_current))
        with database_errors("records"), reading(self._engine) as connection:
            case_ids = connection.execute(stale).scalars().all()
        for start in range(0, len(case_ids), _CHUNK):
            with database_errors("records"), writing(self._engine) as connection:
                take_figures(connection, case_ids[start : start + _CHUNK], self._vault)


def take_figures(connection: Connection, case_ids: Sequence[str], sealing: Vault) -> None:
    """Take what counts of these cases from their documents, in the caller's transaction."""
    held = select(cases.c.case_id, cases.c.state).where(cases.c.case_id.in_(case_ids), cases.c.state != ERASED).with_for_update()
    states = {row.case_id: row.state for row in connection.execute(held)}
    connection.execute(delete(figures).where(figures.c.case_id.in_(case_ids)))
    rows = [
        {
            "case_id": record.case.case_id,
            "state": states[record.case.case_id],
            "version": VERSION,
            "sealed": sealing.seal(write_kept(record)),
        }
        for record in records_of(connection, list(states), sealing)
    ]
    if rows:
        connection.execute(insert(figures), rows)


def _received(since: datetime, until: datetime) -> ColumnElement[bool]:
    return (cases.c.received_at >= since) & (cases.c.received_at < until) & (cases.c.state != ERASED)
