"""First schema: identities apart, cases, diagnoses, reviews, reports, outbox, rejections."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "identities",
        sa.Column("patient_id", sa.String(128), nullable=False),
        sa.Column("name", sa.Text),
        sa.Column("phone", sa.Text),
        sa.Column("birth_date", sa.Text),
        sa.PrimaryKeyConstraint("patient_id", name="pk_identities"),
    )
    op.create_table(
        "cases",
        sa.Column("case_id", sa.String(64), nullable=False),
        sa.Column("source_queue", sa.String(256), nullable=False),
        sa.Column("message_id", sa.String(512), nullable=False),
        sa.Column("external_id", sa.String(256)),
        sa.Column("patient_id", sa.String(128)),
        sa.Column("body_sha256", sa.String(64), nullable=False),
        sa.Column("received_at", _TIME, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("claimed_until", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("case_id", name="pk_cases"),
        sa.UniqueConstraint("source_queue", "message_id", name="uq_cases_source_queue_message_id"),
    )
    op.create_index("ix_cases_external_id", "cases", ["external_id"])
    op.create_index("ix_cases_patient_id", "cases", ["patient_id"])
    op.create_index("ix_cases_received_at", "cases", ["received_at"])
    op.create_index("ix_cases_state_received_at", "cases", ["state", "received_at"])
    _create_case_children()
    op.create_table(
        "rejections",
        sa.Column("rejection_id", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("source_queue", sa.String(256), nullable=False),
        sa.Column("message_id", sa.String(512)),
        sa.Column("body_sha256", sa.String(64), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("rejected_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("rejection_id", name="pk_rejections"),
    )
    op.create_index("ix_rejections_rejected_at", "rejections", ["rejected_at"])


def _create_case_children() -> None:
    op.create_table(
        "diagnoses",
        sa.Column("case_id", sa.String(64), nullable=False),
        sa.Column("model_version", sa.String(64), nullable=False),
        sa.Column("diagnosed_at", _TIME, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("case_id", name="pk_diagnoses"),
        sa.ForeignKeyConstraint(["case_id"], ["cases.case_id"], name="fk_diagnoses_case_id"),
    )
    op.create_table(
        "reviews",
        sa.Column("review_id", sa.String(512), nullable=False),
        sa.Column("case_id", sa.String(64), nullable=False),
        sa.Column("reviewed_at", _TIME, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("review_id", name="pk_reviews"),
        sa.ForeignKeyConstraint(["case_id"], ["cases.case_id"], name="fk_reviews_case_id"),
    )
    op.create_index("ix_reviews_case_id", "reviews", ["case_id"])
    op.create_table(
        "reports",
        sa.Column("case_id", sa.String(64), nullable=False),
        sa.Column("written_at", _TIME, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("case_id", name="pk_reports"),
        sa.ForeignKeyConstraint(["case_id"], ["cases.case_id"], name="fk_reports_case_id"),
    )
    op.create_table(
        "outbox",
        sa.Column("message_id", sa.String(64), nullable=False),
        sa.Column("case_id", sa.String(64), nullable=False),
        sa.Column("queue", sa.String(256), nullable=False),
        sa.Column("type", sa.String(64), nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("sent_at", _TIME),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("last_error", sa.Text),
        sa.PrimaryKeyConstraint("message_id", name="pk_outbox"),
        sa.ForeignKeyConstraint(["case_id"], ["cases.case_id"], name="fk_outbox_case_id"),
    )
    op.create_index("ix_outbox_case_id", "outbox", ["case_id"])
    op.create_index("ix_outbox_sent_at_created_at", "outbox", ["sent_at", "created_at"])
