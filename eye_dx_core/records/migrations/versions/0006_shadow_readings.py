"""What a challenger said of cases that the champion has read."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Create the table, empty."""
    op.create_table(
        "shadow_readings",
        sa.Column("reading_id", sa.String(160), nullable=False),
        sa.Column("case_id", sa.String(64), nullable=False),
        sa.Column("checkpoint_sha256", sa.String(64), nullable=False),
        sa.Column("read_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("reading_id", name="pk_shadow_readings"),
        sa.ForeignKeyConstraint(["case_id"], ["cases.case_id"], name="fk_shadow_readings_case_id"),
    )
    op.create_index("ix_shadow_readings_case_id", "shadow_readings", ["case_id"])
    op.create_index("ix_shadow_readings_checkpoint_sha256_read_at", "shadow_readings", ["checkpoint_sha256", "read_at"])
