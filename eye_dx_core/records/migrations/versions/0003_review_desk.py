"""What the review desk needs: urgency and holds beside the cases, notes before a review counts, addenda, patients' links, users."""

import json
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from alembic import context, op

revision = "0003"
down_revision = "0002"

_TIME = sa.DateTime(timezone=True)
_NOT_ON_WORK_LIST, _UNKNOWN_ORDER, _UNKNOWN_HOURS = 9, 2, 72
# As the urgencies stood when this was written: place in the work list, and hours within which a doctor looks.
_URGENCIES = {"same_day": (0, 2), "urgent": (1, 24), "soon": (2, 72), "routine": (3, 168), "early_recall": (4, 336), "recall": (5, 336)}


def upgrade() -> None:
    """Add the columns and tables, then place what was read already on the work list."""
    _add_columns()
    _create_children()
    op.create_table(
        "users",
        sa.Column("user_name", sa.String(64), nullable=False),
        _sealed(),
        sa.PrimaryKeyConstraint("user_name", name="pk_users"),
    )
    _place_what_was_read()


def _add_columns() -> None:
    for column in (
        sa.Column("urgency", sa.String(16)),
        sa.Column("work_order", sa.Integer, nullable=False, server_default=str(_NOT_ON_WORK_LIST)),
        sa.Column("review_due_at", _TIME),
        sa.Column("needs_second", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("held_by", sa.String(64)),
        sa.Column("held_until", sa.Float, nullable=False, server_default="0"),
    ):
        op.add_column("cases", column)
    op.create_index("ix_cases_work", "cases", ["state", "work_order", "received_at", "case_id"])
    for column in ("review_due_at", "needs_second"):
        op.create_index(f"ix_cases_state_{column}", "cases", ["state", column])


def _create_children() -> None:
    _create_child(
        "desk_notes",
        sa.Column("note_id", sa.String(256), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("written_by", sa.String(64), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("written_at", _TIME, nullable=False),
        _sealed(),
    )
    position = sa.Column("position", sa.Integer, nullable=False)
    _create_child("addenda", sa.Column("addendum_id", sa.String(64), nullable=False), position, _sealed())
    _create_child(
        "patient_links",
        sa.Column("token_sha256", sa.String(64), nullable=False),
        sa.Column("made_at", _TIME, nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.Column("revoked_at", _TIME),
    )


def _sealed() -> sa.Column[bytes]:
    return sa.Column("sealed", sa.LargeBinary, nullable=False)


def _create_child(table: str, key: sa.Column[Any], *columns: sa.Column[Any]) -> None:
    op.create_table(
        table,
        key,
        sa.Column("case_id", sa.String(64), nullable=False),
        *columns,
        sa.PrimaryKeyConstraint(key.name, name=f"pk_{table}"),
        sa.ForeignKeyConstraint(["case_id"], ["cases.case_id"], name=f"fk_{table}_case_id"),
    )
    op.create_index(f"ix_{table}_case_id", table, ["case_id"])


def _place_what_was_read() -> None:
    unseal, connection = context.config.attributes["vault"].unseal, op.get_bind()
    cases, diagnoses = _reflect(("cases", "diagnoses"))
    said = sa.select(diagnoses.c.case_id, diagnoses.c.sealed, cases.c.received_at).join(cases, cases.c.case_id == diagnoses.c.case_id)
    for case_id, sealed, received_at in connection.execute(said).all():
        routing: dict[str, str] | None = json.loads(unseal(sealed)).get("routing")
        urgency = routing["urgency"] if routing else None
        order, hours = _URGENCIES[urgency] if urgency else (_UNKNOWN_ORDER, _UNKNOWN_HOURS)
        place = {"urgency": urgency, "work_order": order, "review_due_at": received_at + timedelta(hours=hours)}
        connection.execute(sa.update(cases).where(cases.c.case_id == case_id).values(place))


def _reflect(names: Iterable[str]) -> list[sa.Table]:
    tables, connection = sa.MetaData(), op.get_bind()
    return [sa.Table(name, tables, autoload_with=connection) for name in names]
