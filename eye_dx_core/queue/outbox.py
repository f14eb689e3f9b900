"""Sends what was stored to be sent; a message counts as sent only after the broker has confirmed it."""

import logging
from collections.abc import Callable, Sequence
from datetime import datetime

from eye_dx_core.errors import MessageTooLarge, ServiceUnavailable, Unroutable
from eye_dx_core.logs import working_on
from eye_dx_core.queue.port import Message, Queue
from eye_dx_core.records.outgoing import OutboxMessage
from eye_dx_core.records.port import Records
from eye_dx_core.schema.frozen import Frozen

# A claim of so many is published well within the lease, even by a broker that takes 100 ms for each.
_AT_ONCE = 25
LEASE_SECONDS = 10.0
_log = logging.getLogger(__name__)


class Delivered(Frozen):
    """How many messages were confirmed, and how many have no queue yet that takes them."""

    sent: int = 0
    failed: int = 0

    def __add__(self, other: "Delivered") -> "Delivered":
        return Delivered(sent=self.sent + other.sent, failed=self.failed + other.failed)


def deliver_outbox(queue: Queue, records: Records, *, now: Callable[[], datetime], lease_seconds: float = LEASE_SECONDS) -> Delivered:
    """Publish all that is unsent and due, some at a time, those that never failed first; those of one case keep their order.

    Several may deliver at once: each holds what it publishes. Dying between confirm and mark publishes the message again under the
    same message id, which receivers drop, and what the dead still held goes out when the lease is over.

    Raises:
        ServiceUnavailable: the broker does not answer; nothing more would go out now.
    """
    total = Delivered()
    while messages := records.claim_unsent(limit=_AT_ONCE, lease_seconds=lease_seconds):
        total += _deliver(queue, records, messages, now)
    return total


def _deliver(queue: Queue, records: Records, messages: Sequence[OutboxMessage], now: Callable[[], datetime]) -> Delivered:
    sent = 0
    for number, message in enumerate(messages):
        try:
            queue.publish(message.queue, _to_message(message))
        except (Unroutable, MessageTooLarge) as error:
            records.mark_failed(message.message_id, reason=str(error))
            with working_on(case_id=message.case_id, message_id=message.message_id):
                _log.warning("%s of %s waits: %s", message.type, message.case_id, error)
            continue
        except ServiceUnavailable:
            records.release_messages([one.message_id for one in messages[number:]])
            raise
        records.mark_sent(message.message_id, sent_at=now())
        sent += 1
    return Delivered(sent=sent, failed=len(messages) - sent)


def _to_message(message: OutboxMessage) -> Message:
    return Message(
        body=message.body,
        message_id=message.message_id,
        correlation_id=message.case_id,
        type=message.type,
        timestamp=message.created_at,
    )
