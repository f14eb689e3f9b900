"""Messages that must go out."""

from pydantic import AwareDatetime, Field

from eye_dx_core.schema.frozen import Frozen


class OutboxMessage(Frozen):
    """A message that must go out, stored in the transaction of what it announces."""

    message_id: str
    case_id: str
    queue: str
    type: str
    body: bytes = Field(repr=False)
    created_at: AwareDatetime
    sent_at: AwareDatetime | None = None
    attempts: int = 0
    last_error: str | None = None
