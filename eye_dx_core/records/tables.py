"""The tables of the records. Identity stands apart from everything else and is joined by patient id only."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
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

identities = Table(
    "identities",
    metadata,
    Column("patient_id", String(128), primary_key=True),
    Column("name", Text),
    Column("phone", Text),
    Column("birth_date", Text),
)

cases = Table(
    "cases",
    metadata,
    Column("case_id", String(64), primary_key=True),
    Column("source_queue", String(256), nullable=False),
    Column("message_id", String(512), nullable=False),
    Column("external_id", String(256), index=True),
    Column("patient_id", String(128), index=True),
    Column("body_sha256", String(64), nullable=False),
    Column("received_at", UtcDateTime, nullable=False, index=True),
    Column("content", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("claimed_until", Float, nullable=False),
    UniqueConstraint("source_queue", "message_id"),
    Index("ix_cases_state_received_at", "state", "received_at"),
)

diagnoses = Table(
    "diagnoses",
    metadata,
    Column("case_id", ForeignKey("cases.case_id"), primary_key=True),
    Column("model_version", String(64), nullable=False),
    Column("diagnosed_at", UtcDateTime, nullable=False),
    Column("content", Text, nullable=False),
)

reviews = Table(
    "reviews",
    metadata,
    Column("review_id", String(512), primary_key=True),
    Column("case_id", ForeignKey("cases.case_id"), nullable=False, index=True),
    Column("reviewed_at", UtcDateTime, nullable=False),
    Column("position", Integer, nullable=False),
    Column("content", Text, nullable=False),
)

reports = Table(
    "reports",
    metadata,
    Column("case_id", ForeignKey("cases.case_id"), primary_key=True),
    Column("written_at", UtcDateTime, nullable=False),
    Column("content", Text, nullable=False),
)

outbox = Table(
    "outbox",
    metadata,
    Column("message_id", String(64), primary_key=True),
    Column("case_id", ForeignKey("cases.case_id"), nullable=False, index=True),
    Column("queue", String(256), nullable=False),
    Column("type", String(64), nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("sent_at", UtcDateTime),
    Column("attempts", Integer, nullable=False),
    Column("last_error", Text),
    Index("ix_outbox_sent_at_created_at", "sent_at", "created_at"),
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
