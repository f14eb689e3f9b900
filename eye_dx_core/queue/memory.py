"""A queue in this process: for tests and for trying things out; gone when it ends."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import RLock
from uuid import uuid4

from eye_dx_core.errors import StaleDelivery
from eye_dx_core.queue.port import DELIVERY_LIMIT_REASON, MAX_DELAY_SECONDS, DeadLetter, Delivery, Message, bounded_delay, refuse_oversize
from eye_dx_core.queue.topology import QueueNames


@dataclass
class _Waiting:
    message: Message
    deliveries: int = 0
    token: str | None = None
    claimed_until: float = 0.0


def _now() -> datetime:
    return datetime.now(UTC)


class MemoryQueue:
    """The port `Queue` in lists, one lock around each method."""

    def __init__(
        self, *, names: QueueNames, delivery_limit: int = 5, lease_seconds: float = 120, now: Callable[[], datetime] = _now
    ) -> None:
        self._names, self._lease_seconds, self._now = names, lease_seconds, now
        self.delivery_limit = delivery_limit
        self._lock = RLock()
        self._queues: dict[str, list[_Waiting]] = {}
        self._dead: list[DeadLetter] = []

    def declare(self, queue: str) -> None:
        """See the port."""
        self._queues.setdefault(queue, [])

    def publish(self, queue: str, message: Message) -> None:
        """See the port."""
        refuse_oversize(message)
        self._append(queue, _Waiting(message))

    def receive(self, queue: str, *, limit: int) -> tuple[Delivery, ...]:
        """See the port."""
        with self._lock:
            taken: list[Delivery] = []
            for waiting in [one for one in self._queues.get(queue, []) if self._is_free(one)]:
                if len(taken) == limit:
                    break
                if waiting.deliveries >= self.delivery_limit:
                    self._bury(queue, waiting, DELIVERY_LIMIT_REASON)
                    continue
                waiting.token, waiting.deliveries = uuid4().hex, waiting.deliveries + 1
                waiting.claimed_until = self._now().timestamp() + self._lease_seconds
                taken.append(Delivery(queue=queue, message=waiting.message, token=waiting.token, delivery_count=waiting.deliveries))
            return tuple(taken)

    def ack(self, delivery: Delivery) -> None:
        """See the port."""
        with self._lock:
            self._queues[delivery.queue].remove(self._find(delivery))

    def retry(self, delivery: Delivery, *, delay_seconds: float = 0) -> None:
        """See the port."""
        with self._lock:
            waiting = self._find(delivery)
            self._queues[delivery.queue].remove(waiting)
            delay = bounded_delay(delay_seconds)
            waiting.token, waiting.claimed_until = None, self._now().timestamp() + delay if delay else 0.0
            self._append(delivery.queue, waiting)

    def release(self, delivery: Delivery) -> None:
        """See the port."""
        with self._lock:
            waiting = self._find(delivery)
            waiting.token, waiting.claimed_until, waiting.deliveries = None, 0.0, waiting.deliveries - 1

    def reject(self, delivery: Delivery, *, reason: str) -> None:
        """See the port."""
        with self._lock:
            self._bury(delivery.queue, self._find(delivery), reason)

    def depth(self, queue: str) -> int:
        """See the port."""
        with self._lock:
            if queue == self._names.dead:
                return len(self._dead)
            return sum(self._is_free(one) for one in self._queues.get(queue, []))

    def dead_letters(self, *, limit: int) -> tuple[DeadLetter, ...]:
        """See the port."""
        return tuple(self._dead[:limit])

    def discard_dead_letters(self, *, before: datetime) -> int:
        """See the port."""
        with self._lock:
            kept = [letter for letter in self._dead if letter.died_at >= before]
            discarded, self._dead = len(self._dead) - len(kept), kept
            return discarded

    def replay_dead_letters(self, *, limit: int) -> int:
        """See the port."""
        with self._lock:
            replayed, self._dead = self._dead[:limit], self._dead[limit:]
            for letter in replayed:
                self._append(letter.queue, _Waiting(letter.message))
            return len(replayed)

    def close(self) -> None:
        """Nothing to let go of."""

    def _append(self, queue: str, waiting: _Waiting) -> None:
        with self._lock:
            self._queues.setdefault(queue, []).append(waiting)

    def _is_free(self, waiting: _Waiting) -> bool:
        """Also free is what no claim or delay of ours, and a lease more, can have reached: then the clock went back."""
        reach = (self._lease_seconds if waiting.token else MAX_DELAY_SECONDS) + self._lease_seconds
        now = self._now().timestamp()
        return not now < waiting.claimed_until <= now + reach

    def _find(self, delivery: Delivery) -> _Waiting:
        for waiting in self._queues.get(delivery.queue, []):
            if waiting.token == delivery.token and waiting.claimed_until > self._now().timestamp():
                return waiting
        raise StaleDelivery("the lease of this message ran out, or it is settled already")

    def _bury(self, queue: str, waiting: _Waiting, reason: str) -> None:
        self._queues[queue].remove(waiting)
        self._dead.append(DeadLetter(message=waiting.message, queue=queue, reason=reason, died_at=self._now()))
