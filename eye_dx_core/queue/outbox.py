"""Sends what was stored to be sent; a message counts as sent only after the broker has confirmed it."""

import logging
import time
from collections.abc import Callable, Sequence
from datetime import datetime

from eye_dx_core.errors import MessageTooLarge, ServiceUnavailable, Unroutable
from eye_dx_core.logs import working_on
from eye_dx_core.queue.port import Message, Queue
from eye_dx_core.records.outgoing import OutboxMessage
from eye_dx_core.records.port import Records
from eye_dx_core.schema.frozen import Frozen

# So few that a claim is sent well within its lease, and so short that nobody waits long for what the dead held.
_AT_ONCE = 25
_LEASE_SECONDS = 10.0
_log = logging.getLogger(__name__)


class Delivered(Frozen):
    """How many messages were confirmed, and how many have no queue yet that takes them."""

    sent: int = 0
    failed: int = 0

    def __add__(self, other: "Delivered") -> "Delivered":
        return Delivered(sent=self.sent + other.sent, failed=self.failed + other.failed)


def deliver_outbox(queue: Queue, records: Records, *, now: Callable[[], datetime], lease_seconds: float = _LEASE_SECONDS) -> Delivered:
    """Publish all that is unsent and due, some at a time, those that never failed first; those of one case keep their order.

    Several may deliver at once: each holds what it publishes. Dying between confirm and mark, or a confirm that takes longer than the
    lease, publishes that one message again under the same message id, which receivers drop. What the dead still held goes out when the
    lease is over.

    Raises:
        ServiceUnavailable: the broker does not answer; nothing more would go out now.
    """
    total = Delivered()
    while True:
        until = time.monotonic() + lease_seconds
        messages = records.claim_unsent(limit=_AT_ONCE, lease_seconds=lease_seconds)
        if not messages:
            return total
        total += _deliver(queue, records, messages, now, until)


def _deliver(queue: Queue, records: Records, messages: Sequence[OutboxMessage], now: Callable[[], datetime], until: float) -> Delivered:
    """Publish while we hold them; after `until` what is left is for whoever claims it next."""
    sent = failed = 0
    for number, message in enumerate(messages):
        if number and time.monotonic() > until:
            break
        try:
            queue.publish(message.queue, _to_message(message))
        except (Unroutable, MessageTooLarge) as error:
            records.mark_failed(message.message_id, reason=str(error))
            failed += 1
            with working_on(case_id=message.case_id, message_id=message.message_id):
                _log.warning("%s of %s waits: %s", message.type, message.case_id, error)
        except ServiceUnavailable:
            if time.monotonic() < until:
                records.release_messages([one.message_id for one in messages[number:]])
            raise
        else:
            records.mark_sent(message.message_id, sent_at=now())
            sent += 1
    return Delivered(sent=sent, failed=failed)


def _to_message(message: OutboxMessage) -> Message:
    return Message(
        body=message.body,
        message_id=message.message_id,
        correlation_id=message.case_id,
        type=message.type,
        timestamp=message.created_at,
    )
