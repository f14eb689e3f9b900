"""A queue in this process: for tests and for trying things out; gone when it ends."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import RLock
from uuid import uuid4

from eye_dx_core.errors import StaleDelivery
from eye_dx_core.queue.port import DELIVERY_LIMIT_REASON, DeadLetter, Delivery, Message
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
        self._names, self._delivery_limit, self._lease_seconds, self._now = names, delivery_limit, lease_seconds, now
        self._lock = RLock()
        self._queues: dict[str, list[_Waiting]] = {}
        self._dead: list[DeadLetter] = []

    def declare(self, queue: str) -> None:
        """See the port."""
        self._queues.setdefault(queue, [])

    def publish(self, queue: str, message: Message) -> None:
        """See the port."""
        with self._lock:
            self._queues.setdefault(queue, []).append(_Waiting(message))

    def receive(self, queue: str, *, limit: int) -> tuple[Delivery, ...]:
        """See the port."""
        with self._lock:
            taken: list[Delivery] = []
            for waiting in [one for one in self._queues.get(queue, []) if self._is_free(one)]:
                if len(taken) == limit:
                    break
                if waiting.deliveries >= self._delivery_limit:
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

    def retry(self, delivery: Delivery) -> None:
        """See the port."""
        with self._lock:
            self._find(delivery).claimed_until = 0.0

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

    def replay_dead_letters(self, *, limit: int) -> int:
        """See the port."""
        with self._lock:
            replayed, self._dead = self._dead[:limit], self._dead[limit:]
            for letter in replayed:
                self.publish(letter.queue, letter.message)
            return len(replayed)

    def close(self) -> None:
        """Nothing to let go of."""

    def _is_free(self, waiting: _Waiting) -> bool:
        return waiting.claimed_until <= self._now().timestamp()

    def _find(self, delivery: Delivery) -> _Waiting:
        for waiting in self._queues.get(delivery.queue, []):
            if waiting.token == delivery.token and not self._is_free(waiting):
                return waiting
        raise StaleDelivery("the lease of this message ran out, or it is settled already")

    def _bury(self, queue: str, waiting: _Waiting, reason: str) -> None:
        self._queues[queue].remove(waiting)
        self._dead.append(DeadLetter(message=waiting.message, queue=queue, reason=reason, died_at=self._now()))
