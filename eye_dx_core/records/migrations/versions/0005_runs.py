"""Which of the orchestrator's runs took a case in, read it and wrote its report; unknown for what came before."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the columns, empty."""
    for table in ("cases", "diagnoses", "reports"):
        op.add_column(table, sa.Column("run_id", sa.String(64)))
