"""RabbitMQ by pika: our queues are quorum queues with a delivery limit and dead letters; partners' queues are only looked at.

A message is given back as a copy at the end of its queue, confirmed before the original is settled: the broker itself would
put it at the head, where a retry storm starves fresh messages, and would forget the count on a classic queue.

Three channels, because the broker answers a mistake by closing the channel it happened on: deliveries live on one, publishing
on another, and looks at queues that may be absent on a third that is opened for the look.
"""

import hashlib
import logging
import ssl
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

import pika
import pika.data
from pika.adapters.blocking_connection import BlockingChannel
from pika.adapters.utils.connection_workflow import AMQPConnectorException
from pika.exceptions import AMQPChannelError, AMQPConnectionError, AMQPError, ChannelClosedByBroker, UnroutableError

from eye_dx_core.errors import ServiceUnavailable, StaleDelivery, Unroutable
from eye_dx_core.queue.port import DELIVERY_LIMIT_REASON, DeadLetter, Delivery, Message, bounded_delay, refuse_oversize
from eye_dx_core.queue.topology import QueueNames, Route, delay_queue, delay_step

_log = logging.getLogger(__name__)
# A queue that nobody has declared yet is an answer, and a broker that does not answer becomes an error of ours.
logging.getLogger("pika").setLevel(logging.CRITICAL)
_Answer = TypeVar("_Answer")
_NOT_FOUND = 404
_OURS = _REASON, _QUEUE, _DIED_AT = "eye-dx-reason", "eye-dx-queue", "eye-dx-died-at"
# What such a queue moves on, it keeps until the other queue has confirmed it; a classic queue would let go before.
_LOSSLESS = {"x-queue-type": "quorum", "x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish"}
# Deliveries that earlier copies of a message have used up.
_DELIVERIES = "eye-dx-deliveries"

# What the URL's query may say otherwise. A sensor waits for us, so three tries that time out must end well within 10 seconds.
_PATIENCE = {"heartbeat": 60, "socket_timeout": 2, "stack_timeout": 2, "blocked_connection_timeout": 15}
_PAUSES = (0.2, 0.8)
_REFUSALS = {
    "ProbableAuthenticationError": "refuses this user or its password",
    "ProbableAccessDeniedError": "has no such virtual host, or does not let this user in",
}


_decode_strictly = pika.data.decode_value


def _decode_value(encoded: bytes, offset: int) -> tuple[Any, int]:
    """Read a header's time beyond the year 9999 as absent.

    pika 1.3 raises on it, which drops the connection, and the message stays the first of its queue for ever.
    """
    try:
        return _decode_strictly(encoded, offset)
    except (ValueError, OverflowError):
        if encoded[offset : offset + 1] != b"T":
            raise
        return None, offset + 9  # the kind and eight bytes of seconds


pika.data.decode_value = _decode_value


class RabbitQueue:
    """The port `Queue` on RabbitMQ 3.10 or newer. It connects on first use and again when the connection was lost.

    A message on a partner's classic queue carries no delivery count; there the count is 1, or 2 for "seen before", until we
    have given it back once: the copy carries our own count, and from then on the delivery limit holds.

    Messages are fetched one by one (`basic_get`), never pushed, so there is no prefetch to set: this process holds only what
    it asked for. The broker's consumer timeout (30 minutes by default) runs for each unsettled message; callers take small
    batches and settle each message as soon as it is stored, before any model reads a photograph.

    A delayed retry waits in a queue of ours beside the origin (`…_again_in_5s`), so the user needs the right to declare it.
    """

    def __init__(
        self, url: str, *, names: QueueNames, delivery_limit: int = 5, ca_file: Path | None = None, answer_seconds: float = 30
    ) -> None:
        self._names, self._answer_seconds = names, answer_seconds
        self.delivery_limit = delivery_limit
        self._parameters = _to_parameters(url, ca_file)
        self._generation = 0
        self._connection: pika.BlockingConnection | None = None
        self._deliveries: BlockingChannel | None = None
        self._unsettled = set[int]()
        self._publishing: BlockingChannel | None = None
        self._declared: set[str] = set()

    def declare(self, queue: str) -> None:
        """See the port. A partner's queue is declared as its owner would: classic, durable, on its own exchange."""
        self._again_if_lost(lambda: self._declare(self._names.route_of(queue)))

    def publish(self, queue: str, message: Message) -> None:
        """See the port."""
        refuse_oversize(message)
        timed = message if message.timestamp else message.model_copy(update={"timestamp": datetime.now(UTC)})
        self._again_if_lost(lambda: self._publish(self._names.route_of(queue), timed))

    def receive(self, queue: str, *, limit: int) -> tuple[Delivery, ...]:
        """See the port."""
        return self._again_if_lost(lambda: self._receive(queue, limit))

    def ack(self, delivery: Delivery) -> None:
        """See the port."""
        with self._held(delivery) as (channel, tag):
            channel.basic_ack(tag)

    def retry(self, delivery: Delivery, *, delay_seconds: float = 0) -> None:
        """See the port. The delay is rounded up to a step, each with its own queue: nothing waits behind a longer delay."""
        with self._held(delivery) as (channel, tag):
            target = self._delayed(delivery.queue, delay_step(bounded_delay(delay_seconds)))
            self._publish_copy(target, delivery.message, deliveries=delivery.delivery_count)
            channel.basic_ack(tag)

    def release(self, delivery: Delivery) -> None:
        """See the port."""
        with self._held(delivery) as (channel, tag):
            self._publish_copy(delivery.queue, delivery.message, deliveries=delivery.delivery_count - 1)
            channel.basic_ack(tag)

    def reject(self, delivery: Delivery, *, reason: str) -> None:
        """See the port. Published to the dead queue by us and only then settled: the broker's own dead lettering has no reason."""
        with self._held(delivery) as (channel, tag):
            self._publish_dead(delivery, reason)
            channel.basic_ack(tag)

    def depth(self, queue: str) -> int:
        """See the port."""
        return self._again_if_lost(lambda: self._find_depth(queue) or 0)

    def dead_letters(self, *, limit: int) -> tuple[DeadLetter, ...]:
        """See the port."""

        def look() -> tuple[DeadLetter, ...]:
            self._declare_if_ours(self._names.dead)
            with self._connected().channel() as channel:
                # Closing the channel puts everything back where it was.
                return tuple(_to_dead_letter(*got) for got in _get(channel, self._names.dead, limit))

        return self._again_if_lost(look)

    def replay_dead_letters(self, *, limit: int) -> int:
        """See the port."""
        replayed = 0
        self._again_if_lost(lambda: self._declare_if_ours(self._names.dead))
        with self._errors(), self._connected().channel() as channel:
            for method, properties, body in _get(channel, self._names.dead, limit):
                letter = _to_dead_letter(method, properties, body)
                if letter.queue not in (*self._names.screening_queues, *self._names.review_queues):
                    continue  # nobody reads there: anybody may put a letter here, and claim any origin
                try:
                    self._publish(self._names.route_of(letter.queue), letter.message)
                except UnroutableError:
                    _log.warning("a dead letter of %s stays: its queue is gone", letter.queue)
                    continue
                channel.basic_ack(method.delivery_tag)
                replayed += 1
        return replayed

    def discard_dead_letters(self, *, before: datetime) -> int:
        """See the port."""
        discarded = 0
        left = self.depth(self._names.dead)
        with self._errors(), self._connected().channel() as channel:
            # Closing the channel puts those back that are kept.
            for method, properties, body in _get(channel, self._names.dead, left):
                if _to_dead_letter(method, properties, body).died_at < before:
                    channel.basic_ack(method.delivery_tag)
                    discarded += 1
        return discarded

    def close(self) -> None:
        """See the port."""
        connection, self._connection = self._connection, None
        self._forget()
        if connection is not None and connection.is_open:
            try:
                connection.close()
            except AMQPError as error:
                raise ServiceUnavailable(f"RabbitMQ was gone before we hung up ({type(error).__name__})") from None

    def _again_if_lost(self, act: Callable[[], _Answer]) -> _Answer:
        """Do it, and once more on a new connection: an idle one is dropped by the broker while a model reads photographs.

        A publication repeated this way keeps its message id, and receivers drop repeats.
        """
        with self._errors():
            try:
                return act()
            except AMQPConnectionError:
                self._forget()
                return act()

    @contextmanager
    def _errors(self) -> Generator[None]:
        """The library's errors as ours; class names only, because addresses hold passwords."""
        try:
            yield
        except UnroutableError:
            raise Unroutable("no queue takes this message; its owner has not declared it") from None
        except ChannelClosedByBroker as error:
            if error.reply_code == _NOT_FOUND:
                raise Unroutable("the exchange or queue does not exist; its owner has not declared it") from None
            raise ServiceUnavailable(f"RabbitMQ refused (code {error.reply_code})") from None
        except AMQPChannelError as error:
            # The connection stands, and with it what was taken on it.
            raise ServiceUnavailable(f"RabbitMQ refused ({type(error).__name__})") from None
        except (AMQPError, OSError) as error:
            self._forget()
            raise ServiceUnavailable(f"RabbitMQ does not answer ({type(error).__name__})") from None

    @contextmanager
    def _held(self, delivery: Delivery) -> Generator[tuple[BlockingChannel, int]]:
        """The channel and tag of a delivery, if the connection it came on still stands."""
        generation, _, tag = delivery.token.partition(":")
        channel = self._deliveries
        if int(generation) != self._generation or channel is None or not channel.is_open:
            raise StaleDelivery("the connection on which this message came is gone; it comes again")
        if int(tag) not in self._unsettled:
            raise StaleDelivery("this message is settled already")
        with self._errors():
            try:
                yield channel, int(tag)
                self._unsettled.discard(int(tag))
                # Settling is not answered; a round trip shows whether the broker is still there to hear it.
                channel.connection.process_data_events(0)
            except AMQPConnectionError:
                self._forget()
                raise StaleDelivery("the connection broke while this message was settled; it may come again") from None

    def _connected(self) -> pika.BlockingConnection:
        if self._connection is None or not self._connection.is_open:
            self._forget()
            self._connection = _connect(self._parameters)
            self._generation += 1
        return self._connection

    @contextmanager
    def _in_time(self) -> Generator[None]:
        """Hang up on a broker that keeps an answer back; the caller gets an `AMQPConnectionError`.

        pika waits for ever for a confirm, and a broker that crashed loses those of its quorum queues while they elect.
        """
        connection: Any = self._connected()
        impl = connection._impl  # noqa: SLF001 - pika has no public way to hang up while it waits
        late = AMQPConnectionError(f"no answer within {self._answer_seconds} s")
        timer = impl.ioloop.call_later(self._answer_seconds, lambda: impl._terminate_stream(late))  # noqa: SLF001
        try:
            yield
        finally:
            impl.ioloop.remove_timeout(timer)

    def _forget(self) -> None:
        self._deliveries = self._publishing = None
        self._unsettled.clear()
        self._declared.clear()
        if self._connection is not None and not self._connection.is_open:
            self._connection = None

    def _publishing_channel(self) -> BlockingChannel:
        if self._publishing is None or not self._publishing.is_open:
            self._publishing = self._connected().channel()
            self._publishing.confirm_delivery()
        return self._publishing

    def _publish(self, route: Route, message: Message) -> None:
        self._declare_if_ours(route.queue)
        properties = _to_properties(message, dict(message.headers))
        with self._in_time():
            self._publishing_channel().basic_publish(route.exchange, route.routing_key, message.body, properties, mandatory=True)

    def _publish_copy(self, queue: str, message: Message, *, deliveries: int) -> None:
        """To one queue alone, through the default exchange; a partner may have bound others to its own."""
        properties = _to_properties(message, message.headers | {_DELIVERIES: deliveries})
        with self._in_time():
            self._publishing_channel().basic_publish("", queue, message.body, properties, mandatory=True)

    def _publish_dead(self, delivery: Delivery, reason: str) -> None:
        origin = {_REASON: reason, _QUEUE: delivery.queue, _DIED_AT: datetime.now(UTC).isoformat()}
        letter = delivery.message.model_copy(update={"headers": delivery.message.headers | origin})
        self._publish(self._names.route_of(self._names.dead), letter)

    def _delayed(self, queue: str, step: int) -> str:
        """The queue in which a message waits for `step` seconds before the broker moves it to `queue`."""
        name = delay_queue(queue, step) if step else queue
        if step and name not in self._declared:
            arguments = {"x-message-ttl": step * 1000, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": queue}
            with self._connected().channel() as channel:
                channel.queue_declare(name, durable=True, arguments=arguments | _LOSSLESS)
            self._declared.add(name)
        return name

    def _receive(self, queue: str, limit: int) -> tuple[Delivery, ...]:
        if not self._find_depth(queue):
            return ()
        if self._deliveries is None or not self._deliveries.is_open:
            self._deliveries = self._connected().channel()
            self._unsettled.clear()
            self._generation += 1
        taken: list[Delivery] = []
        with self._in_time():
            while len(taken) < limit and (got := next(_get(self._deliveries, queue, 1), None)):
                method, properties, body = got
                delivery = Delivery(
                    queue=queue,
                    message=_to_message(properties, body),
                    token=f"{self._generation}:{method.delivery_tag}",
                    delivery_count=_delivery_count(method, properties),
                )
                if delivery.delivery_count > self.delivery_limit:  # the broker counts the deliveries of one copy only
                    self._publish_dead(delivery, DELIVERY_LIMIT_REASON)
                    self._deliveries.basic_ack(method.delivery_tag)
                    continue
                self._unsettled.add(method.delivery_tag)
                taken.append(delivery)
        return tuple(taken)

    def _find_depth(self, queue: str) -> int | None:
        """Messages that wait; None when a partner's queue is not there."""
        self._declare_if_ours(queue)
        channel = self._connected().channel()
        try:
            with self._in_time():
                count = channel.queue_declare(queue, passive=True).method.message_count
        except ChannelClosedByBroker as error:
            if error.reply_code == _NOT_FOUND:
                return None
            raise
        channel.close()
        return count

    def _declare_if_ours(self, queue: str) -> None:
        route = self._names.route_of(queue)
        if route.is_ours:
            self._declare(route)

    def _declare(self, route: Route) -> None:
        if route.queue in self._declared:
            return
        with self._in_time(), self._connected().channel() as channel:
            channel.exchange_declare(route.exchange, "direct", durable=True)
            channel.queue_declare(route.queue, durable=True, arguments=self._arguments_of(route))
            channel.queue_bind(route.queue, route.exchange, route.routing_key)
        self._declared.add(route.queue)
        if route.is_ours and route.queue != self._names.dead:
            self._declare(self._names.route_of(self._names.dead))

    def _arguments_of(self, route: Route) -> dict[str, Any] | None:
        """The dead queue is classic: RabbitMQ 4 drops a quorum queue's message after 20 deliveries, and a look is a delivery."""
        if not route.is_ours or route.queue == self._names.dead:
            return None
        return {
            "x-delivery-limit": self.delivery_limit - 1,  # RabbitMQ counts redeliveries
            "x-dead-letter-exchange": route.exchange,
            "x-dead-letter-routing-key": self._names.dead,
        } | _LOSSLESS


def _to_parameters(url: str, ca_file: Path | None) -> pika.URLParameters:
    """Parameters with our patience where the URL's query says nothing; one attempt, because we count the attempts."""
    parameters = pika.URLParameters(url)
    given = parse_qs(urlsplit(url).query)
    for name, value in _PATIENCE.items():
        if name not in given:
            setattr(parameters, name, value)
    parameters.connection_attempts = 1
    if ca_file is not None:
        context = ssl.create_default_context(cafile=str(ca_file))
        parameters.ssl_options = pika.SSLOptions(context, server_hostname=parameters.host)
    return parameters


def _connect(parameters: pika.URLParameters) -> pika.BlockingConnection:
    """Connect, trying again after growing pauses: a broker that restarts is back within a second or is down."""
    failures: list[str] = []
    for pause in (0.0, *_PAUSES):
        time.sleep(pause)
        try:
            return pika.BlockingConnection(parameters)
        except (AMQPError, AMQPConnectorException, OSError) as error:
            failures.append(type(error).__name__)
            _log.warning("try %d to connect to RabbitMQ failed (%s)", len(failures), failures[-1])
    if (refusal := _REFUSALS.get(failures[-1])) is not None:
        raise ServiceUnavailable(f"RabbitMQ {refusal}: look at EYE_DX_QUEUE_URL")
    raise ServiceUnavailable(f"RabbitMQ does not answer after {len(failures)} tries ({failures[-1]})")


def _get(channel: BlockingChannel, queue: str, limit: int) -> Iterator[tuple[Any, pika.BasicProperties, bytes]]:
    """Up to `limit` messages, one by one: nothing is prefetched that nobody asked for."""
    for _ in range(limit):
        method, properties, body = channel.basic_get(queue)
        if method is None or properties is None or body is None:
            return
        yield method, properties, body


def _delivery_count(method: Any, properties: pika.BasicProperties) -> int:  # noqa: ANN401 - pika's own type
    """Deliveries of this copy, by the broker's count or its mark on a classic queue, and those of the copies before."""
    headers: dict[str, Any] = dict(properties.headers or {})
    redeliveries = _to_count(headers.get("x-delivery-count"), otherwise=int(bool(method.redelivered)))
    return _to_count(headers.get(_DELIVERIES), otherwise=0) + redeliveries + 1


def _to_count(value: object, *, otherwise: int) -> int:
    return value if isinstance(value, int) and value >= 0 else otherwise


def _to_message(properties: pika.BasicProperties, body: bytes) -> Message:
    headers: dict[str, Any] = dict(properties.headers or {})
    return Message(
        body=body,
        message_id=_to_storable_id(properties.message_id),
        correlation_id=_to_text(properties.correlation_id),
        content_type=_to_text(properties.content_type) or "application/json",
        type=_to_text(properties.type),
        timestamp=_to_time(properties.timestamp),
        headers={
            name: value for name, value in headers.items() if isinstance(value, str) and not name.startswith("x-") and name != _DELIVERIES
        },
    )


def _to_properties(message: Message, headers: dict[str, Any]) -> pika.BasicProperties:
    return pika.BasicProperties(
        delivery_mode=2,
        message_id=message.message_id,
        correlation_id=message.correlation_id,
        content_type=message.content_type,
        type=message.type,
        timestamp=int(message.timestamp.timestamp()) if message.timestamp else None,
        headers=headers,
    )


# A publisher may put any bytes into a property, and a property that cannot be read must not hold up the queue.


def _to_text(value: object) -> str | None:
    """The client library leaves bytes that are not UTF-8 as they are."""
    return value if isinstance(value, str) else None


def _to_storable_id(value: object) -> str | None:
    """An id that is no text names its message all the same, by its hash."""
    raw = value.encode() if isinstance(value, str) else value
    if isinstance(value, str) and "\x00" not in value:
        return value
    return f"sha256:{hashlib.sha256(raw).hexdigest()}" if isinstance(raw, bytes) else None


def _to_time(seconds: object) -> datetime | None:
    """Some clients write milliseconds, which lie in the far future: no time is better than a wrong one."""
    try:
        return datetime.fromtimestamp(seconds, UTC) if isinstance(seconds, int) and seconds else None
    except (ValueError, OverflowError, OSError):
        return None


def _to_dead_letter(_method: object, properties: pika.BasicProperties, body: bytes) -> DeadLetter:
    """Ours say why in headers; the broker's own say it in `x-death`."""
    message = _to_message(properties, body)
    ours = {name: message.headers[name] for name in _OURS if name in message.headers}
    bare = message.model_copy(update={"headers": {name: value for name, value in message.headers.items() if name not in ours}})
    if len(ours) == len(_OURS):
        return DeadLetter(message=bare, queue=ours[_QUEUE], reason=ours[_REASON], died_at=_to_moment(ours[_DIED_AT]))
    deaths: object = dict(properties.headers or {}).get("x-death")
    first: object = deaths[0] if isinstance(deaths, list) and deaths else None
    death: dict[str, Any] = first if isinstance(first, dict) else {}
    reason = str(death.get("reason", "unknown"))
    at = death.get("time")
    return DeadLetter(
        message=bare,
        queue=str(death.get("queue", "unknown")),
        reason=DELIVERY_LIMIT_REASON if reason == "delivery_limit" else reason,
        died_at=at.astimezone(UTC) if isinstance(at, datetime) else datetime.now(UTC),
    )


def _to_moment(written: str) -> datetime:
    """Headers of our names may have been written by somebody else; who only looks must not stumble over them."""
    try:
        return datetime.fromisoformat(written).astimezone(UTC)
    except (ValueError, OverflowError):
        return datetime.now(UTC)
