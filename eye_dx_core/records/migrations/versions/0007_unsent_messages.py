"""An index of the messages that must still go out."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Index what is unsent in the order of sending, instead of all that was ever sent by its time."""
    unsent = sa.text("sent_at IS NULL")
    op.create_index(
        "ix_outbox_attempts_created_at", "outbox", ["attempts", "created_at", "case_id"], postgresql_where=unsent, sqlite_where=unsent
    )
    op.drop_index("ix_outbox_sent_at_created_at", "outbox")
