"""What transactions on a case have in common: holding it, whether a claim is over, adding what announces a change."""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Connection, Table, func, insert, or_, select

from eye_dx_core.records.outgoing import OutboxMessage
from eye_dx_core.records.port import FARTHEST_SECONDS
from eye_dx_core.records.rows import ERASED, outbox_row
from eye_dx_core.records.tables import cases, outbox
from eye_dx_core.vault import Vault


def is_over(until: ColumnElement[float], now: float) -> ColumnElement[bool]:
    """Whether a claim or a pause is over; one that reaches too far ahead was made before the clock was set back."""
    return or_(until <= now, until > now + FARTHEST_SECONDS)


def lock_case(connection: Connection, case_id: str) -> str | None:
    """Hold the case for this transaction; its state, or None when there is no such case (any more)."""
    held = select(cases.c.state).where(cases.c.case_id == case_id, cases.c.state != ERASED).with_for_update()
    return connection.execute(held).scalar()


def has_row(connection: Connection, table: Table, case_id: str) -> bool:
    """Whether a table holds anything of a case."""
    return connection.execute(select(table.c.case_id).where(table.c.case_id == case_id).limit(1)).first() is not None


def add_announcements(connection: Connection, case_id: str, announcements: Sequence[OutboxMessage], sealing: Vault) -> None:
    """Put messages behind those that the case has in the outbox."""
    if announcements:
        first = connection.execute(select(func.count()).where(outbox.c.case_id == case_id)).scalar_one()
        rows = [outbox_row(message, position, sealing) for position, message in enumerate(announcements, start=first)]
        connection.execute(insert(outbox), rows)
