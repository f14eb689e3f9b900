"""What we need of a message queue; every adapter passes the same contract tests."""

from datetime import datetime
from typing import Protocol

from pydantic import AwareDatetime, Field

from eye_dx_core.errors import MessageTooLarge
from eye_dx_core.schema.frozen import Frozen

DELIVERY_LIMIT_REASON = "delivery limit"
MAX_DELAY_SECONDS = 3600.0
# RabbitMQ 4 refuses larger ones by default; what is taken here must be deliverable there.
MAX_BODY_BYTES = 16 * 1024 * 1024


class Message(Frozen):
    """What is sent and received. The body is bytes, because a broken message must survive as it came.

    `message_id` is an AMQP short string (at most 255) that every database can hold.
    """

    body: bytes = Field(repr=False)
    message_id: str | None = Field(default=None, max_length=255, pattern=r"^[^\x00]*$")
    correlation_id: str | None = None
    content_type: str = "application/json"
    type: str | None = None
    timestamp: AwareDatetime | None = None
    headers: dict[str, str] = {}


class Delivery(Frozen):
    """A message taken and not yet settled. `token` proves who holds it; `delivery_count` is 1 the first time."""

    queue: str
    message: Message
    token: str
    delivery_count: int = Field(ge=1)


class DeadLetter(Frozen):
    """A message set aside: from which queue, why, and when."""

    message: Message
    queue: str
    reason: str
    died_at: AwareDatetime


class Queue(Protocol):
    """Named queues that hand a message out again until it is settled.

    Every method raises `ServiceUnavailable` when the broker does not answer. A message handed out more often than the
    delivery limit becomes a dead letter with the reason `delivery limit`.
    """

    @property
    def delivery_limit(self) -> int:
        """How often a message is handed out at most."""
        ...

    def declare(self, queue: str) -> None:
        """Create the queue as its owner would; a queue that is there already is left as it is."""
        ...

    def publish(self, queue: str, message: Message) -> None:
        """Return only when the message is durable (or confirmed).

        Raises:
            Unroutable: no such queue; the message was not accepted.
            MessageTooLarge: the body is over `MAX_BODY_BYTES`; no later try would help.
        """
        ...

    def receive(self, queue: str, *, limit: int) -> tuple[Delivery, ...]:
        """Take up to `limit` waiting messages, oldest first, without waiting for more.

        An absent queue holds no messages. Nobody else gets them before they are settled or their lease runs out.
        """
        ...

    def ack(self, delivery: Delivery) -> None:
        """Settle for good: this message never comes again.

        Raises:
            StaleDelivery: the lease ran out or the connection broke; somebody else may hold the message.
        """
        ...

    def retry(self, delivery: Delivery, *, delay_seconds: float = 0) -> None:
        """Give the message back; it comes again with a higher delivery count, behind those that wait now.

        So messages that fail again and again never keep fresh ones waiting.

        Args:
            delivery: what was taken.
            delay_seconds: the earliest time from now; at most `MAX_DELAY_SECONDS`, more is taken as that.

        Raises:
            StaleDelivery: as for `ack`.
        """
        ...

    def release(self, delivery: Delivery) -> None:
        """Give the message back as if it had not been taken: it comes again with the same delivery count.

        For outages: they are not the message's fault and use up none of its deliveries.

        Raises:
            StaleDelivery: as for `ack`.
        """
        ...

    def reject(self, delivery: Delivery, *, reason: str) -> None:
        """Move the message to the dead letters, with a reason that holds no patient's value.

        Raises:
            StaleDelivery: as for `ack`.
        """
        ...

    def depth(self, queue: str) -> int:
        """Count the messages that `receive` could hand out now; 0 for an absent queue."""
        ...

    def dead_letters(self, *, limit: int) -> tuple[DeadLetter, ...]:
        """Look at the oldest dead letters without taking them."""
        ...

    def discard_dead_letters(self, *, before: datetime) -> int:
        """Delete the dead letters that were set aside before then; return how many."""
        ...

    def replay_dead_letters(self, *, limit: int) -> int:
        """Publish dead letters to the queues they came from, as new deliveries; return how many."""
        ...

    def close(self) -> None:
        """Let go of connections. Unsettled deliveries become available again at once or after their lease."""
        ...


def bounded_delay(delay_seconds: float) -> float:
    """The delay that is kept to: no message waits for ever by a mistake in arithmetic."""
    return min(max(delay_seconds, 0.0), MAX_DELAY_SECONDS)


def refuse_oversize(message: Message) -> None:
    """Raise `MessageTooLarge` for a body that some broker would not take."""
    if len(message.body) > MAX_BODY_BYTES:
        raise MessageTooLarge(f"the body has {len(message.body)} bytes; a message may have {MAX_BODY_BYTES}")
