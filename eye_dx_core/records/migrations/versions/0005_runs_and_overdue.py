"""Which of the orchestrator's runs took a case in, read it and wrote its report; an index for what is overdue."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the columns, empty. The index of the work list also tells what is overdue, in the order of the list."""
    for table in ("cases", "diagnoses", "reports"):
        op.add_column(table, sa.Column("run_id", sa.String(64)))
    for index in ("ix_cases_work", "ix_cases_state_review_due_at"):
        op.drop_index(index, "cases")
    op.create_index("ix_cases_work", "cases", ["state", "work_order", "received_at", "case_id", "review_due_at"])
