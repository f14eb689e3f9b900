"""The tables of the records. What tells of a person is sealed; identity stands apart and is joined by patient id only."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)


class UtcDateTime(TypeDecorator[datetime]):
    """Aware UTC on both databases: SQLite stores no time zone, so one is put back on reading."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To UTC, so that texts in SQLite sort by time."""
        return value.astimezone(UTC) if value is not None else None

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:  # noqa: ANN401 - as the database gives it
        """Back to aware UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# `sealed` columns are ciphertext by `eye_dx_core.vault`. `run_id` names the orchestrator's run that wrote the row.

# Patient id to identity. It is the only table that knows who a patient is.
vault = Table(
    "vault",
    metadata,
    Column("patient_id", String(128), primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
)

# One row that the right key opens, so that a wrong key is noticed before anything is sealed with it.
vault_check = Table("vault_check", metadata, Column("check_id", Integer, primary_key=True), Column("sealed", LargeBinary, nullable=False))

cases = Table(
    "cases",
    metadata,
    Column("case_id", String(64), primary_key=True),
    Column("source_queue", String(256), nullable=False),
    Column("producer", String(256), nullable=False),
    Column("message_id", String(512), nullable=False),
    Column("external_id", String(256), index=True),
    Column("patient_id", String(128), index=True),
    Column("body_sha256", String(64), nullable=False),
    Column("received_at", UtcDateTime, nullable=False, index=True),
    Column("sealed", LargeBinary, nullable=False),
    Column("has_photos", Boolean, nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("claimed_until", Float, nullable=False),
    # For the review desk: plain, so that a list of many cases is a walk along an index. They tell how soon, not what.
    Column("urgency", String(16)),
    Column("work_order", Integer, nullable=False),
    Column("review_due_at", UtcDateTime),
    Column("needs_second", Boolean, nullable=False),
    Column("held_by", String(64)),
    Column("held_until", Float, nullable=False),
    Column("run_id", String(64)),
    UniqueConstraint("producer", "message_id"),
    Index("ix_cases_state_received_at", "state", "received_at"),
    # No index of its own for what is overdue: SQLite would take it, and sort all that it finds.
    Index("ix_cases_work", "state", "work_order", "received_at", "case_id", "review_due_at"),
    Index("ix_cases_state_needs_second", "state", "needs_second"),
)

# Messages as they came, for reading them again.
inbox = Table(
    "inbox",
    metadata,
    Column("case_id", ForeignKey("cases.case_id"), primary_key=True),
    Column("received_at", UtcDateTime, nullable=False, index=True),
    Column("sealed", LargeBinary, nullable=False),
)

diagnoses = Table(
    "diagnoses",
    metadata,
    Column("case_id", ForeignKey("cases.case_id"), primary_key=True),
    Column("model_version", String(64), nullable=False),
    Column("diagnosed_at", UtcDateTime, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("run_id", String(64)),
)

reviews = Table(
    "reviews",
    metadata,
    Column("review_id", String(512), primary_key=True),
    Column("case_id", ForeignKey("cases.case_id"), nullable=False, index=True),
    Column("reviewed_at", UtcDateTime, nullable=False),
    Column("position", Integer, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
)

reports = Table(
    "reports",
    metadata,
    Column("case_id", ForeignKey("cases.case_id"), primary_key=True),
    Column("written_at", UtcDateTime, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("run_id", String(64)),
)

_UNSENT = text("sent_at IS NULL")

outbox = Table(
    "outbox",
    metadata,
    Column("message_id", String(64), primary_key=True),
    Column("case_id", ForeignKey("cases.case_id"), nullable=False, index=True),
    Column("queue", String(256), nullable=False),
    Column("type", String(64), nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("position", Integer, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("sent_at", UtcDateTime),
    Column("attempts", Integer, nullable=False),
    Column("due_at", Float, nullable=False),
    Column("last_error", Text),
    # Of what is unsent alone, in the order of sending: it stays small while the table grows.
    Index("ix_outbox_attempts_created_at", "attempts", "created_at", "case_id", postgresql_where=_UNSENT, sqlite_where=_UNSENT),
)

# What of a case its day counts, taken from the documents above: `state` and `version` tell when it must be taken anew.
figures = Table(
    "figures",
    metadata,
    Column("case_id", ForeignKey("cases.case_id"), primary_key=True),
    Column("state", String(16), nullable=False),
    Column("version", Integer, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
)

# What a challenger said of a case; `reading_id` is case and checkpoint.
shadow_readings = Table(
    "shadow_readings",
    metadata,
    Column("reading_id", String(160), primary_key=True),
    Column("case_id", ForeignKey("cases.case_id"), nullable=False, index=True),
    Column("checkpoint_sha256", String(64), nullable=False),
    Column("read_at", UtcDateTime, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Index("ix_shadow_readings_checkpoint_sha256_read_at", "checkpoint_sha256", "read_at"),
)

rejections = Table(
    "rejections",
    metadata,
    Column("rejection_id", Integer, primary_key=True, autoincrement=True),
    Column("source_queue", String(256), nullable=False),
    Column("message_id", String(512)),
    Column("body_sha256", String(64), nullable=False),
    Column("reason", Text, nullable=False),
    Column("rejected_at", UtcDateTime, nullable=False, index=True),
)

# What is written at the desk before a review counts. `note_id` is case, kind and writer.
desk_notes = Table(
    "desk_notes",
    metadata,
    Column("note_id", String(256), primary_key=True),
    Column("case_id", ForeignKey("cases.case_id"), nullable=False, index=True),
    Column("kind", String(32), nullable=False),
    Column("written_by", String(64), nullable=False),
    Column("version", Integer, nullable=False),
    Column("written_at", UtcDateTime, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
)

addenda = Table(
    "addenda",
    metadata,
    Column("addendum_id", String(64), primary_key=True),
    Column("case_id", ForeignKey("cases.case_id"), nullable=False, index=True),
    Column("position", Integer, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
)

patient_links = Table(
    "patient_links",
    metadata,
    Column("token_sha256", String(64), primary_key=True),
    Column("case_id", ForeignKey("cases.case_id"), nullable=False, index=True),
    Column("made_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("revoked_at", UtcDateTime),
)

users = Table("users", metadata, Column("user_name", String(64), primary_key=True), Column("sealed", LargeBinary, nullable=False))

# Append-only: triggers refuse everything but an insert.
audit = Table(
    "audit",
    metadata,
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("at", UtcDateTime, nullable=False),
    Column("actor", String(256), nullable=False),
    Column("action", String(64), nullable=False),
    Column("subject", String(512), nullable=False),
    Column("details", Text, nullable=False),
    Column("previous_hash", String(64), nullable=False),
    Column("entry_hash", String(64), nullable=False),
)
