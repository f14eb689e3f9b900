"""Sends what was stored to be sent; a message counts as sent only after the broker has confirmed it."""

import logging
from collections.abc import Callable, Sequence
from datetime import datetime

from eye_dx_core.errors import MessageTooLarge, Unroutable
from eye_dx_core.logs import working_on
from eye_dx_core.queue.port import Message, Queue
from eye_dx_core.records.outgoing import OutboxMessage
from eye_dx_core.records.port import Records
from eye_dx_core.schema.frozen import Frozen

_log = logging.getLogger(__name__)


class Delivered(Frozen):
    """How many messages were confirmed, and how many have no queue yet that takes them."""

    sent: int = 0
    failed: int = 0

    def __add__(self, other: "Delivered") -> "Delivered":
        return Delivered(sent=self.sent + other.sent, failed=self.failed + other.failed)


def deliver_outbox(queue: Queue, records: Records, *, limit: int, now: Callable[[], datetime]) -> Delivered:
    """Publish what is unsent and due, `limit` messages at a time, those that never failed first; those of one case keep their order.

    Dying between confirm and mark publishes the message again under the same message id, which receivers drop.

    Raises:
        ServiceUnavailable: the broker does not answer; nothing more would go out now.
    """
    total = Delivered()
    while messages := records.unsent_messages(limit=limit):
        delivered = _deliver(queue, records, messages, now)
        total += delivered
        if not delivered.sent:
            break
    return total


def _deliver(queue: Queue, records: Records, messages: Sequence[OutboxMessage], now: Callable[[], datetime]) -> Delivered:
    sent, waiting_cases = 0, set[str]()
    for message in messages:
        if message.case_id in waiting_cases:
            continue
        try:
            queue.publish(message.queue, _to_message(message))
        except (Unroutable, MessageTooLarge) as error:
            records.mark_failed(message.message_id, reason=str(error))
            waiting_cases.add(message.case_id)
            with working_on(case_id=message.case_id, message_id=message.message_id):
                _log.warning("%s of %s waits: %s", message.type, message.case_id, error)
            continue
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
