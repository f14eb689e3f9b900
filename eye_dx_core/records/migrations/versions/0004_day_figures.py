"""What of a case its day counts, kept beside it; cases from before get theirs when their day is next read."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Create the table, empty."""
    op.create_table(
        "figures",
        sa.Column("case_id", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("case_id", name="pk_figures"),
        sa.ForeignKeyConstraint(["case_id"], ["cases.case_id"], name="fk_figures_case_id"),
    )
