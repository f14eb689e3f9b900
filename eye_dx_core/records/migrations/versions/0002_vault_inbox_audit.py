"""Seal what tells of a person; keep messages as they came; an audit log; who sent a message; when an outbox row is due."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import sqlalchemy as sa
from alembic import context, op

revision = "0002"
down_revision = "0001"

_TIME = sa.DateTime(timezone=True)
_OLD_TABLES = ("diagnoses", "reviews", "reports", "outbox", "cases", "identities")
_OLD = "eye_dx_0001"
_REFUSAL = "the audit log is append-only"
_IDENTITY_FIELDS = ("name", "phone", "birth_date")
Seal = Callable[[str | bytes], bytes]


def upgrade() -> None:
    """Set the old tables aside, create the new ones, copy every row into them with its content sealed, drop the old ones."""
    seal: Seal = context.config.attributes["vault"].seal
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    _set_aside_old_tables(is_postgresql=is_postgresql)
    _create_case_tables()
    _create_case_children()
    _create_vault_and_audit()
    _make_append_only(is_postgresql=is_postgresql)
    _copy_rows(seal, is_postgresql=is_postgresql)
    _drop_old_tables(is_postgresql=is_postgresql)


def _set_aside_old_tables(*, is_postgresql: bool) -> None:
    """Names of indexes and constraints go along: into a schema of their own, or dropped, as SQLite's are global."""
    if is_postgresql:
        op.execute(f"CREATE SCHEMA {_OLD}")
        for table in _OLD_TABLES:
            op.execute(f"ALTER TABLE {table} SET SCHEMA {_OLD}")
        return
    for table in _OLD_TABLES:
        for index in sa.inspect(op.get_bind()).get_indexes(table):
            op.drop_index(str(index["name"]))
        op.rename_table(table, f"{_OLD}_{table}")


def _drop_old_tables(*, is_postgresql: bool) -> None:
    if is_postgresql:
        op.execute(f"DROP SCHEMA {_OLD} CASCADE")
        return
    for table in _OLD_TABLES:
        op.drop_table(f"{_OLD}_{table}")


def _create_case_tables() -> None:
    op.create_table(
        "cases",
        sa.Column("case_id", sa.String(64), nullable=False),
        sa.Column("source_queue", sa.String(256), nullable=False),
        sa.Column("producer", sa.String(256), nullable=False),
        sa.Column("message_id", sa.String(512), nullable=False),
        sa.Column("external_id", sa.String(256)),
        sa.Column("patient_id", sa.String(128)),
        sa.Column("body_sha256", sa.String(64), nullable=False),
        sa.Column("received_at", _TIME, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("has_photos", sa.Boolean, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("claimed_until", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("case_id", name="pk_cases"),
        sa.UniqueConstraint("producer", "message_id", name="uq_cases_producer_message_id"),
    )
    for columns in (("external_id",), ("patient_id",), ("received_at",), ("state", "received_at")):
        op.create_index(f"ix_cases_{'_'.join(columns)}", "cases", list(columns))
    op.create_table("inbox", *_child("inbox"), sa.Column("received_at", _TIME, nullable=False))
    op.create_index("ix_inbox_received_at", "inbox", ["received_at"])


def _create_case_children() -> None:
    op.create_table(
        "diagnoses",
        *_child("diagnoses"),
        sa.Column("model_version", sa.String(64), nullable=False),
        sa.Column("diagnosed_at", _TIME, nullable=False),
    )
    op.create_table("reports", *_child("reports"), sa.Column("written_at", _TIME, nullable=False))
    op.create_table(
        "reviews",
        *_child("reviews", key="review_id"),
        sa.Column("review_id", sa.String(512), nullable=False),
        sa.Column("reviewed_at", _TIME, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
    )
    op.create_table(
        "outbox",
        *_child("outbox", key="message_id"),
        sa.Column("message_id", sa.String(64), nullable=False),
        sa.Column("queue", sa.String(256), nullable=False),
        sa.Column("type", sa.String(64), nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("sent_at", _TIME),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("due_at", sa.Float, nullable=False),
        sa.Column("last_error", sa.Text),
    )
    op.create_index("ix_reviews_case_id", "reviews", ["case_id"])
    op.create_index("ix_outbox_case_id", "outbox", ["case_id"])
    op.create_index("ix_outbox_sent_at_created_at", "outbox", ["sent_at", "created_at"])


def _child(table: str, *, key: str = "case_id") -> tuple[sa.schema.SchemaItem, ...]:
    """What every table that hangs on a case has."""
    return (
        sa.Column("case_id", sa.String(64), nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint(key, name=f"pk_{table}"),
        sa.ForeignKeyConstraint(["case_id"], ["cases.case_id"], name=f"fk_{table}_case_id"),
    )


def _create_vault_and_audit() -> None:
    for table, key in (("vault", sa.Column("patient_id", sa.String(128))), ("vault_check", sa.Column("check_id", sa.Integer))):
        sealed = sa.Column("sealed", sa.LargeBinary, nullable=False)
        op.create_table(table, key, sealed, sa.PrimaryKeyConstraint(key.name, name=f"pk_{table}"))
    op.create_table(
        "audit",
        sa.Column("position", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("actor", sa.String(256), nullable=False),
        sa.Column("action", sa.String(64), nullable=False),
        sa.Column("subject", sa.String(512), nullable=False),
        sa.Column("details", sa.Text, nullable=False),
        sa.Column("previous_hash", sa.String(64), nullable=False),
        sa.Column("entry_hash", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("position", name="pk_audit"),
    )


def _make_append_only(*, is_postgresql: bool) -> None:
    if is_postgresql:
        op.execute(
            f"CREATE FUNCTION eye_dx_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION '{_REFUSAL}'; END $$"
        )
        op.execute(
            "CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit "
            "FOR EACH STATEMENT EXECUTE FUNCTION eye_dx_refuse_change()"
        )
        return
    for change in ("UPDATE", "DELETE"):
        op.execute(f"CREATE TRIGGER audit_no_{change.lower()} BEFORE {change} ON audit BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END")


def _copy_rows(seal: Seal, *, is_postgresql: bool) -> None:
    connection, tables = op.get_bind(), sa.MetaData()

    def old_rows(table: str, order: str) -> Iterator[dict[str, Any]]:
        name, schema = (table, _OLD) if is_postgresql else (f"{_OLD}_{table}", None)
        old = sa.Table(name, tables, autoload_with=connection, schema=schema)
        for key in connection.execute(sa.select(*old.primary_key.columns).order_by(old.c[order])).all():
            same = [column == value for column, value in zip(old.primary_key.columns, key, strict=True)]
            yield dict(connection.execute(sa.select(old).where(*same)).mappings().one())

    def add(table: str, row: dict[str, Any]) -> None:
        connection.execute(sa.insert(sa.Table(table, tables, autoload_with=connection)).values(row))

    for row in old_rows("identities", "patient_id"):
        told = {field: row[field] for field in _IDENTITY_FIELDS if row[field] is not None}
        add("vault", {"patient_id": row["patient_id"], "sealed": seal(json.dumps(told, ensure_ascii=False))})
    for row in old_rows("cases", "received_at"):
        content = json.loads(row.pop("content")) | {"producer": row["source_queue"]}
        row |= {"producer": row["source_queue"], "has_photos": bool(content["screening"]["photos"])}
        add("cases", row | {"sealed": seal(json.dumps(content, ensure_ascii=False))})
    for table, order in (("diagnoses", "case_id"), ("reviews", "position"), ("reports", "case_id")):
        for row in old_rows(table, order):
            add(table, row | {"sealed": seal(row.pop("content"))})
    positions: dict[str, int] = {}
    for row in old_rows("outbox", "created_at"):
        positions[row["case_id"]] = position = positions.get(row["case_id"], -1) + 1
        add("outbox", row | {"sealed": seal(bytes(row.pop("body"))), "position": position, "due_at": 0.0})
