"""Every adapter of the port `Queue` keeps the same promises."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pika
import pytest
from pika.exceptions import AMQPConnectionError
from sqlalchemy import Column, Executable, Float, Integer, LargeBinary, MetaData, Table, Text, create_engine, insert, inspect, text

from eye_dx_core.errors import BadSettings, MessageTooLarge, ServiceUnavailable, StaleDelivery, Unroutable
from eye_dx_core.monitoring import look_at_queue
from eye_dx_core.queue.memory import MemoryQueue
from eye_dx_core.queue.port import MAX_BODY_BYTES, MAX_DELAY_SECONDS, Delivery, Message, Queue
from eye_dx_core.queue.rabbitmq import RabbitQueue
from eye_dx_core.queue.sql import SqlQueue, _messages
from eye_dx_core.queue.topology import QueueNames, delay_step
from eye_dx_core.records.engine import open_engine, writing
from eye_dx_core.vault import Vault, new_key
from tests.builders import NOON
from tests.forwarder import forwarding
from tests.services import A_KEY, AMQP_URL, POSTGRES_URL, own_postgres, own_rabbitmq_names, skip_or_fail, wait_for

Open = Callable[[], Queue]
Settle = Callable[[Queue, Delivery], None]
LIMIT = 3
VAULT = Vault([A_KEY])
ADAPTERS = ["memory", "sqlite", pytest.param("postgresql", marks=pytest.mark.service), pytest.param("rabbitmq", marks=pytest.mark.service)]


def a_sql_queue(url: str) -> SqlQueue:
    return SqlQueue(url, names=QueueNames(), vault=VAULT, lease_seconds=1, delivery_limit=LIMIT)


@pytest.fixture(params=ADAPTERS)
def open_queue(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Open, QueueNames]]:
    """How to open the queue as another worker would, and the names it was given."""
    opened: list[Queue] = []

    def remember(queue: Queue) -> Queue:
        opened.append(queue)
        return queue

    names = QueueNames()
    if request.param == "memory":
        one = MemoryQueue(names=names, delivery_limit=LIMIT, lease_seconds=1)
        yield lambda: one, names
    elif request.param == "sqlite":
        yield (
            lambda: remember(SqlQueue(f"sqlite:///{tmp_path}/queue.db", names=names, lease_seconds=1, delivery_limit=LIMIT, vault=VAULT)),
            names,
        )
    elif request.param == "postgresql":
        with own_postgres() as url:
            yield lambda: remember(a_sql_queue(url)), names
            while opened:
                opened.pop().close()
    else:
        with own_rabbitmq_names() as own:
            yield lambda: remember(RabbitQueue(AMQP_URL, names=own, delivery_limit=LIMIT)), own
            while opened:
                opened.pop().close()
    for queue in opened:
        queue.close()


def a_message(number: int = 1) -> Message:
    return Message(body=f'{{"n": {number}}}'.encode(), message_id=f"m-{number}", correlation_id="case-1", type="t", timestamp=NOON)


def test_a_message_comes_as_it_was_sent(open_queue: tuple[Open, QueueNames]):
    queue, names = open_queue[0](), open_queue[1]
    queue.publish(names.screenings, a_message().model_copy(update={"headers": {"site": "1"}}))

    (delivery,) = queue.receive(names.screenings, limit=5)

    assert delivery.message == a_message().model_copy(update={"headers": {"site": "1"}})
    assert (delivery.queue, delivery.delivery_count) == (names.screenings, 1)


def test_messages_come_in_order_and_no_more_than_asked_for(open_queue: tuple[Open, QueueNames]):
    queue, names = open_queue[0](), open_queue[1]
    for number in range(5):
        queue.publish(names.screenings, a_message(number))

    first, rest = queue.receive(names.screenings, limit=2), queue.receive(names.screenings, limit=10)

    assert [one.message.message_id for one in (*first, *rest)] == [f"m-{n}" for n in range(5)]
    assert len(first) == 2


def test_an_acked_message_never_comes_again(open_queue: tuple[Open, QueueNames]):
    queue, names = open_queue[0](), open_queue[1]
    queue.publish(names.screenings, a_message())
    (delivery,) = queue.receive(names.screenings, limit=1)

    queue.ack(delivery)
    queue.close()

    other = open_queue[0]()
    time.sleep(1.1)
    assert other.receive(names.screenings, limit=1) == ()
    assert other.depth(names.screenings) == 0


def test_a_taken_message_is_not_given_to_another_worker(open_queue: tuple[Open, QueueNames]):
    queue, names = open_queue[0](), open_queue[1]
    queue.publish(names.screenings, a_message())
    (delivery,) = queue.receive(names.screenings, limit=1)

    assert open_queue[0]().receive(names.screenings, limit=1) == ()
    queue.ack(delivery)


def test_whoever_watches_counts_messages_and_leaves_them_as_fresh_as_they_were(open_queue: tuple[Open, QueueNames]):
    queue, names = open_queue[0](), open_queue[1]
    for number in range(LIMIT + 1):
        queue.publish(names.screenings, a_message(number))
    queue.reject(queue.receive(names.screenings, limit=1)[0], reason="not JSON")
    wait_for(lambda: queue.depth(names.dead))

    seen = [look_at_queue(open_queue[0](), names) for _ in range(LIMIT + 1)]

    assert {(one.depths[names.screenings], one.dead) for one in seen} == {(LIMIT, 1)}
    assert [one.delivery_count for one in queue.receive(names.screenings, limit=99)] == [1] * LIMIT
    assert len(queue.dead_letters(limit=9)) == 1


def test_a_retried_message_comes_again_with_a_higher_count(open_queue: tuple[Open, QueueNames]):
    queue, names = open_queue[0](), open_queue[1]
    queue.publish(names.screenings, a_message())
    (delivery,) = queue.receive(names.screenings, limit=1)

    queue.retry(delivery)

    (again,) = wait_for(lambda: queue.receive(names.screenings, limit=1))
    assert (again.message, again.delivery_count) == (delivery.message, 2)


SETTLING: dict[str, Settle] = {
    "ack": lambda queue, delivery: queue.ack(delivery),
    "retry": lambda queue, delivery: queue.retry(delivery),
    "retry later": lambda queue, delivery: queue.retry(delivery, delay_seconds=5),
    "release": lambda queue, delivery: queue.release(delivery),
    "reject": lambda queue, delivery: queue.reject(delivery, reason="late"),
}


@pytest.mark.parametrize("first", SETTLING)
def test_a_message_settled_twice_is_refused(first: str, open_queue: tuple[Open, QueueNames]):
    queue, names = open_queue[0](), open_queue[1]
    queue.publish(names.screenings, a_message())
    (delivery,) = queue.receive(names.screenings, limit=1)
    SETTLING[first](queue, delivery)

    for settle in SETTLING.values():
        with pytest.raises(StaleDelivery):
            settle(queue, delivery)
    assert queue.depth(names.screenings) + queue.depth(names.dead) == (0 if first in ("ack", "retry later") else 1)


def test_who_lost_a_message_can_no_longer_settle_it(open_queue: tuple[Open, QueueNames], request: pytest.FixtureRequest):
    queue, names = open_queue[0](), open_queue[1]
    queue.publish(names.screenings, a_message())
    (delivery,) = queue.receive(names.screenings, limit=1)
    lose(queue, request)

    (again,) = wait_for(lambda: open_queue[0]().receive(names.screenings, limit=1))

    for settle in SETTLING.values():
        with pytest.raises(StaleDelivery):
            settle(queue, delivery)
    assert again.delivery_count == 2


def lose(queue: Queue, request: pytest.FixtureRequest) -> None:
    """A worker that is gone: its messages come back with its connection on RabbitMQ, elsewhere with their lease."""
    if "rabbitmq" in request.node.callspec.id:
        queue.close()
    else:
        time.sleep(1.1)


def test_a_retried_message_comes_behind_those_that_wait(open_queue: tuple[Open, QueueNames]):
    queue, names = open_queue[0](), open_queue[1]
    for number in (1, 2, 3):
        queue.publish(names.screenings, a_message(number))
    for delivery in queue.receive(names.screenings, limit=2):
        queue.retry(delivery)

    assert order(queue, names.screenings) == [("m-3", 1), ("m-1", 2), ("m-2", 2)]


def test_a_retry_storm_never_starves_fresh_messages(open_queue: tuple[Open, QueueNames]):
    queue, names = open_queue[0](), open_queue[1]
    for number in range(6):
        queue.publish(names.screenings, a_message(number))

    for _ in range(4):  # one at a time, and the first three never succeed
        (delivery,) = wait_for(lambda: queue.receive(names.screenings, limit=1))
        if delivery.message.message_id in ("m-0", "m-1", "m-2"):
            queue.retry(delivery)
        else:
            queue.ack(delivery)

    assert order(queue, names.screenings) == [("m-4", 1), ("m-5", 1), ("m-0", 2), ("m-1", 2), ("m-2", 2)]


def order(queue: Queue, name: str) -> list[tuple[str | None, int]]:
    """Everything that comes now, with its delivery count."""
    wait_for(lambda: queue.depth(name))
    return [(one.message.message_id, one.delivery_count) for one in queue.receive(name, limit=20)]


def test_a_delayed_message_comes_when_its_time_is_over_and_not_before(open_queue: tuple[Open, QueueNames]):
    queue, names = open_queue[0](), open_queue[1]
    queue.publish(names.screenings, a_message(1))
    queue.publish(names.screenings, a_message(2))
    later, soon = queue.receive(names.screenings, limit=2)
    began = time.monotonic()
    queue.retry(later, delay_seconds=300)
    queue.retry(soon, delay_seconds=1)
    queue.publish(names.screenings, a_message(3))

    assert wait_for(lambda: queue.depth(names.screenings)) == 1
    (fresh,) = queue.receive(names.screenings, limit=5)
    queue.ack(fresh)
    (again,) = wait_for(lambda: queue.receive(names.screenings, limit=5))  # not behind the longer delay
    assert time.monotonic() - began >= 1
    assert fresh.message == a_message(3)
    assert (again.message, again.delivery_count) == (soon.message, 2)


def test_a_released_message_comes_as_if_it_had_not_been_taken(open_queue: tuple[Open, QueueNames]):
    queue, names = open_queue[0](), open_queue[1]
    queue.publish(names.screenings, Message(body=b"{}", headers={"site": "1"}, timestamp=NOON))
    for _ in range(LIMIT + 2):  # an outage uses up no delivery
        (delivery,) = wait_for(lambda: queue.receive(names.screenings, limit=1))
        assert (delivery.message, delivery.delivery_count) == (Message(body=b"{}", headers={"site": "1"}, timestamp=NOON), 1)
        queue.release(delivery)
    (delivery,) = wait_for(lambda: queue.receive(names.screenings, limit=1))

    queue.retry(delivery)
    (retried,) = wait_for(lambda: queue.receive(names.screenings, limit=1))
    queue.release(retried)

    (again,) = wait_for(lambda: queue.receive(names.screenings, limit=1))
    assert (again.message, again.delivery_count) == (delivery.message, 2)


def test_the_delivery_limit_holds_over_retries_releases_and_lost_workers(
    open_queue: tuple[Open, QueueNames], request: pytest.FixtureRequest
):
    queue, names = open_queue[0](), open_queue[1]
    queue.publish(names.screenings, a_message())
    queue.retry(queue.receive(names.screenings, limit=1)[0])
    queue.release(wait_for(lambda: queue.receive(names.screenings, limit=1))[0])
    assert wait_for(lambda: queue.receive(names.screenings, limit=1))[0].delivery_count == 2
    lose(queue, request)
    other = open_queue[0]()
    (last,) = wait_for(lambda: other.receive(names.screenings, limit=1))
    assert last.delivery_count == LIMIT
    other.retry(last, delay_seconds=1)
    other.publish(names.screenings, a_message(2))
    wait_for(lambda: other.depth(names.screenings) == 2)

    assert order(other, names.screenings) == [("m-2", 1)]  # what is spent hides nobody behind it
    assert [(one.message, one.reason) for one in other.dead_letters(limit=5)] == [(a_message(), "delivery limit")]


def test_the_delivery_limit_holds_on_a_partners_queue_that_counts_nothing(open_queue: tuple[Open, QueueNames]):
    queue, names = open_queue[0](), open_queue[1]
    queue.declare(names.partner_screenings)
    queue.publish(names.partner_screenings, a_message())
    for count in range(1, LIMIT + 1):
        (delivery,) = wait_for(lambda: queue.receive(names.partner_screenings, limit=1))
        assert delivery.delivery_count == count
        queue.retry(delivery)
    wait_for(lambda: queue.depth(names.partner_screenings))

    assert queue.receive(names.partner_screenings, limit=1) == ()
    (letter,) = wait_for(lambda: queue.dead_letters(limit=1))
    assert (letter.reason, letter.queue, letter.message) == ("delivery limit", names.partner_screenings, a_message())
    assert queue.replay_dead_letters(limit=1) == 1
    (again,) = wait_for(lambda: queue.receive(names.partner_screenings, limit=1))
    assert again.delivery_count == 1


def test_a_body_that_some_broker_would_refuse_is_not_taken(open_queue: tuple[Open, QueueNames]):
    queue, names = open_queue[0](), open_queue[1]

    with pytest.raises(MessageTooLarge, match="16777217 bytes; a message may have 16777216") as caught:
        queue.publish(names.screenings, Message(body=bytes(MAX_BODY_BYTES + 1)))

    assert not caught.value.is_transient
    assert queue.depth(names.screenings) == 0


def test_a_body_that_is_too_large_and_came_all_the_same_can_be_set_aside(
    open_queue: tuple[Open, QueueNames], monkeypatch: pytest.MonkeyPatch
):
    queue, names = open_queue[0](), open_queue[1]
    queue.publish(names.screenings, a_message())
    monkeypatch.setattr("eye_dx_core.queue.port.MAX_BODY_BYTES", 1)  # others publish without asking us
    queue.release(queue.receive(names.screenings, limit=1)[0])

    queue.reject(wait_for(lambda: queue.receive(names.screenings, limit=1))[0], reason="too large")

    (letter,) = wait_for(lambda: queue.dead_letters(limit=1))
    assert letter.message == a_message()
    assert queue.replay_dead_letters(limit=1) == 1


def test_a_rejected_message_is_a_dead_letter_with_its_reason(open_queue: tuple[Open, QueueNames]):
    queue, names = open_queue[0](), open_queue[1]
    queue.publish(names.screenings, a_message())
    (delivery,) = queue.receive(names.screenings, limit=1)

    queue.reject(delivery, reason="bad fields: age")

    for _ in range(2):  # a look takes nothing away
        (letter,) = wait_for(lambda: queue.dead_letters(limit=5))
        assert (letter.message, letter.queue, letter.reason) == (a_message(), names.screenings, "bad fields: age")
    assert queue.depth(names.dead) == 1
    assert queue.depth(names.screenings) == 0


def test_a_replayed_dead_letter_comes_again_on_its_queue(open_queue: tuple[Open, QueueNames]):
    queue, names = open_queue[0](), open_queue[1]
    queue.publish(names.screenings, a_message())
    queue.reject(queue.receive(names.screenings, limit=1)[0], reason="x")

    assert queue.replay_dead_letters(limit=10) == 1

    (again,) = wait_for(lambda: queue.receive(names.screenings, limit=1))
    assert (again.message, again.delivery_count) == (a_message(), 1)
    assert queue.dead_letters(limit=10) == ()


def test_dead_letters_are_discarded_when_they_are_old_enough(open_queue: tuple[Open, QueueNames]):
    queue, names = open_queue[0](), open_queue[1]
    for number in range(2):
        queue.publish(names.screenings, a_message(number))
    for delivery in wait_for(lambda: queue.receive(names.screenings, limit=2)):
        queue.reject(delivery, reason="x")
    wait_for(lambda: queue.depth(names.dead) == 2)

    assert queue.discard_dead_letters(before=datetime.now(UTC) - timedelta(days=1)) == 0
    assert wait_for(lambda: queue.depth(names.dead)) == 2
    assert queue.discard_dead_letters(before=datetime.now(UTC) + timedelta(seconds=1)) == 2
    assert queue.dead_letters(limit=5) == ()


def test_a_message_that_kills_its_workers_becomes_a_dead_letter(open_queue: tuple[Open, QueueNames]):
    queue, names = open_queue[0](), open_queue[1]
    queue.publish(names.screenings, a_message())
    for count in range(1, LIMIT + 1):
        (delivery,) = wait_for(lambda: queue.receive(names.screenings, limit=1))
        assert delivery.delivery_count == count
        queue.retry(delivery)

    assert queue.receive(names.screenings, limit=1) == ()
    (letter,) = wait_for(lambda: queue.dead_letters(limit=1))
    assert (letter.reason, letter.queue, letter.message.message_id) == ("delivery limit", names.screenings, "m-1")


def test_a_binary_body_survives(open_queue: tuple[Open, QueueNames]):
    queue, names = open_queue[0](), open_queue[1]
    queue.publish(names.screenings, Message(body=b"\x00\xff" * 200_000))

    (delivery,) = queue.receive(names.screenings, limit=1)

    assert delivery.message.body == b"\x00\xff" * 200_000
    assert delivery.message.message_id is None


def test_an_absent_queue_holds_nothing(open_queue: tuple[Open, QueueNames]):
    queue, names = open_queue[0](), open_queue[1]

    assert queue.depth(names.partner_screenings) == 0
    assert queue.receive(names.partner_screenings, limit=1) == ()


def test_a_partners_queue_works_once_its_owner_has_declared_it(open_queue: tuple[Open, QueueNames]):
    queue, names = open_queue[0](), open_queue[1]
    queue.declare(names.partner_screenings)
    queue.declare(names.partner_screenings)
    queue.publish(names.partner_screenings, a_message())

    (delivery,) = wait_for(lambda: queue.receive(names.partner_screenings, limit=1))
    queue.ack(delivery)
    assert queue.depth(names.partner_screenings) == 0


def test_workers_side_by_side_share_the_messages(open_queue: tuple[Open, QueueNames]):
    first, names = open_queue[0](), open_queue[1]
    for number in range(60):
        first.publish(names.screenings, a_message(number))
    got: list[str | None] = []

    def work(queue: Queue) -> None:
        while deliveries := queue.receive(names.screenings, limit=4):
            for delivery in deliveries:
                got.append(delivery.message.message_id)
                queue.ack(delivery)

    workers = [threading.Thread(target=work, args=(queue,)) for queue in (first, open_queue[0]())]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    assert sorted(map(str, got)) == sorted(f"m-{n}" for n in range(60))


TAKE_AND_DIE = """
import sys, time
from eye_dx_core.vault import Vault
from eye_dx_core.queue.rabbitmq import RabbitQueue
from eye_dx_core.queue.sql import SqlQueue
from eye_dx_core.queue.topology import QueueNames
names = QueueNames.model_validate_json(sys.argv[2])
url = sys.argv[1]
if url.startswith("amqp"):
    queue = RabbitQueue(url, names=names, delivery_limit=3)
else:
    queue = SqlQueue(url, names=names, vault=Vault([sys.argv[3]]), lease_seconds=1, delivery_limit=3)
print(len(queue.receive(names.screenings, limit=1)), flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("rabbitmq", marks=pytest.mark.service)])
def test_a_message_whose_worker_was_killed_comes_again(kind: str, tmp_path: Path):
    with own_rabbitmq_names(required=kind == "rabbitmq") as names:
        url = AMQP_URL if kind == "rabbitmq" else f"sqlite:///{tmp_path}/queue.db"
        queue: Queue = RabbitQueue(url, names=names, delivery_limit=LIMIT) if kind == "rabbitmq" else a_sql_queue(url)
        queue.publish(names.screenings, a_message())
        worker = subprocess.Popen([sys.executable, "-c", TAKE_AND_DIE, url, names.model_dump_json(), A_KEY], stdout=subprocess.PIPE)
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"1\n"
        os.kill(worker.pid, signal.SIGKILL)
        worker.wait()
        worker.stdout.close()

        (again,) = wait_for(lambda: queue.receive(names.screenings, limit=1))

        assert (again.message.message_id, again.delivery_count) == ("m-1", 2)
        queue.ack(again)
        queue.close()


@pytest.mark.service
def test_a_message_for_a_queue_that_its_owner_has_not_declared_is_not_accepted():
    with own_rabbitmq_names() as names:
        queue = RabbitQueue(AMQP_URL, names=names)
        with pytest.raises(Unroutable):
            queue.publish(names.partner_ai_results, a_message())
        queue.publish(names.screenings, a_message())  # the connection still works
        assert queue.depth(names.screenings) == 1
        queue.close()


UNREACHABLE = {
    "rabbitmq": lambda _: RabbitQueue("amqp://someone:geheim@127.0.0.1:1/%2F", names=QueueNames()),
    "postgresql": lambda _: SqlQueue("postgresql+psycopg://someone:geheim@127.0.0.1:1/geheim", names=QueueNames(), vault=VAULT),
    "no database": lambda folder: SqlQueue(f"sqlite:///{folder}/geheim.db", names=QueueNames(), vault=VAULT),
    "no folder": lambda folder: SqlQueue(f"sqlite:///{folder}/absent/geheim.db", names=QueueNames(), vault=VAULT),
}


@pytest.mark.parametrize("kind", UNREACHABLE)
def test_what_cannot_be_reached_is_unavailable_and_the_text_holds_no_password(kind: str, tmp_path: Path):
    (tmp_path / "geheim.db").write_text("no database " * 1000)

    with pytest.raises(ServiceUnavailable) as caught:
        UNREACHABLE[kind](tmp_path).depth("eye_dx_screenings")

    assert "geheim" not in str(caught.value)
    assert caught.value.is_transient


ASKING: dict[str, Callable[[Queue, str], object]] = {
    "declare": lambda queue, name: queue.declare(f"{name}_new"),
    "publish": lambda queue, name: queue.publish(name, a_message()),
    "receive": lambda queue, name: queue.receive(name, limit=1),
    "depth": lambda queue, name: queue.depth(name),
    "dead_letters": lambda queue, _: queue.dead_letters(limit=1),
    "replay_dead_letters": lambda queue, _: queue.replay_dead_letters(limit=1),
}


@contextmanager
def queue_that_goes_away(kind: str, folder: Path) -> Iterator[tuple[Queue, QueueNames, Callable[[], object]]]:
    """A queue in use, its names, and how to take its service away."""
    if kind == "rabbitmq":
        with own_rabbitmq_names() as names, forwarding() as forwarder:
            queue = RabbitQueue(f"amqp://guest:guest@127.0.0.1:{forwarder.port}/%2F", names=names)
            yield queue, names, forwarder.cut
            with suppress(ServiceUnavailable):
                queue.close()
    elif kind == "postgresql":
        with own_postgres() as url, closing(SqlQueue(url, names=QueueNames(), vault=VAULT)) as queue:
            yield queue, QueueNames(), lambda: close_database(url)
    else:
        file = folder / "state" / "queue.db"
        file.parent.mkdir()
        go = {"no folder": lambda: shutil.rmtree(file.parent), "no database": lambda: replace_by_garbage(file)}[kind]
        with closing(SqlQueue(f"sqlite:///{file}", names=QueueNames(), vault=VAULT)) as queue:
            yield queue, QueueNames(), go


def close_database(url: str) -> None:
    name = url.rsplit("/", 1)[1]
    admin = create_engine(POSTGRES_URL, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false"))
        connection.execute(text(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"))
    admin.dispose()


def replace_by_garbage(file: Path) -> None:
    file.unlink()
    file.write_text("no database " * 1000)


@pytest.mark.parametrize("method", [*ASKING, *SETTLING])
@pytest.mark.parametrize(
    "kind", ["no folder", "no database", *(pytest.param(one, marks=pytest.mark.service) for one in ("postgresql", "rabbitmq"))]
)
def test_every_method_says_that_the_service_is_gone(kind: str, method: str, tmp_path: Path):
    """And none says "nothing waits": a sensor would believe it."""
    with queue_that_goes_away(kind, tmp_path) as (queue, names, go_away):
        queue.publish(names.screenings, a_message(1))
        (delivery,) = wait_for(lambda: queue.receive(names.screenings, limit=1))
        go_away()

        if method in ASKING:
            with pytest.raises(ServiceUnavailable):
                ASKING[method](queue, names.screenings)
        else:
            with pytest.raises((ServiceUnavailable, StaleDelivery)):
                SETTLING[method](queue, delivery)


@pytest.mark.service
def test_a_connection_that_the_broker_dropped_is_opened_again():
    try:
        pika.BlockingConnection(pika.URLParameters(AMQP_URL)).close()
    except AMQPConnectionError:
        skip_or_fail("RabbitMQ")
    with own_rabbitmq_names() as names:
        queue = RabbitQueue(AMQP_URL, names=names)
        queue.publish(names.screenings, a_message(1))
        connection = queue._connection
        assert connection is not None
        connection._impl._transport._sock.shutdown(socket.SHUT_RDWR)  # what a lost network looks like from inside
        queue.publish(names.screenings, a_message(2))

        assert queue.depth(names.screenings) == 2
        queue.close()


HOSTILE_PROPERTIES = {
    "a time in milliseconds": pika.BasicProperties(message_id="m-1", timestamp=1_770_000_000_000),
    "an id that is no text": pika.BasicProperties(message_id=b"\xff\xfe"),
    "an id with a NUL": pika.BasicProperties(message_id="a\x00b"),
    "a count that is no number": pika.BasicProperties(headers={"x-delivery-count": "many"}),
    "deaths that are no list": pika.BasicProperties(headers={"x-death": "yesterday"}),
    "a count of ours that is no number": pika.BasicProperties(headers={"eye-dx-deliveries": "many"}),
    "a count of ours below nothing": pika.BasicProperties(headers={"eye-dx-deliveries": -7}),
    "our own headers": pika.BasicProperties(headers={"eye-dx-reason": "", "eye-dx-queue": "nowhere", "eye-dx-died-at": "yesterday"}),
    "a nested header": pika.BasicProperties(headers={"trace": {"a": [1, {"b": None}]}}),
    "a header of bytes": pika.BasicProperties(headers={"trace": b"\xff"}),
    "a header time beyond every calendar": pika.BasicProperties(headers={"sent": datetime(2026, 1, 1, tzinfo=UTC)}),
}


@pytest.mark.service
@pytest.mark.parametrize("name", HOSTILE_PROPERTIES)
def test_properties_that_cannot_be_read_hold_up_nothing(name: str, monkeypatch: pytest.MonkeyPatch):
    with own_rabbitmq_names() as names:
        queue = RabbitQueue(AMQP_URL, names=names)
        queue.declare(names.screenings)
        _publish_raw(names, HOSTILE_PROPERTIES[name], monkeypatch)
        queue.publish(names.screenings, a_message(2))

        hostile, good = wait_for(lambda: queue.receive(names.screenings, limit=2))
        queue.reject(hostile, reason="x")
        queue.ack(good)

        (letter,) = wait_for(lambda: queue.dead_letters(limit=2))
        assert (letter.message.body, letter.queue, letter.reason) == (b"{}", names.screenings, "x")
        assert queue.replay_dead_letters(limit=1) == 1
        assert queue.depth(names.screenings) == 1
        queue.close()


@pytest.mark.service
@pytest.mark.parametrize("name", HOSTILE_PROPERTIES)
def test_a_look_at_the_dead_survives_what_others_put_there(name: str, monkeypatch: pytest.MonkeyPatch):
    with own_rabbitmq_names() as names:
        queue = RabbitQueue(AMQP_URL, names=names)
        queue.declare(names.dead)
        _publish_raw(names, HOSTILE_PROPERTIES[name], monkeypatch, queue=names.dead)

        (letter,) = wait_for(lambda: queue.dead_letters(limit=2))

        assert letter.message.body == b"{}"
        queue.close()


def _publish_raw(names: QueueNames, properties: pika.BasicProperties, monkeypatch: pytest.MonkeyPatch, queue: str | None = None) -> None:
    """Publish as somebody whose client library checks nothing."""
    with pika.BlockingConnection(pika.URLParameters(AMQP_URL)) as connection, monkeypatch.context() as patched:
        patched.setattr("pika.data.calendar.timegm", lambda _: 1_770_000_000_000)
        connection.channel().basic_publish("", queue or names.screenings, b"{}", properties)


@pytest.fixture(params=["memory", "sqlite", pytest.param("postgresql", marks=pytest.mark.service)])
def clocked(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Queue, list[datetime]]]:
    """A queue and the clock by which it goes."""
    clock = [NOON]
    options = {"names": QueueNames(), "lease_seconds": 60, "now": lambda: clock[0]}
    if request.param == "memory":
        yield MemoryQueue(**options), clock
        return
    with own_postgres() if request.param == "postgresql" else nullcontext(f"sqlite:///{tmp_path}/queue.db") as url:
        queue = SqlQueue(url, vault=VAULT, **options)
        yield queue, clock
        queue.close()


def test_a_clock_that_went_back_holds_no_claimed_message(clocked: tuple[Queue, list[datetime]]):
    queue, clock = clocked
    queue.publish("q", a_message())
    (delivery,) = queue.receive("q", limit=1)

    clock[0] = NOON - timedelta(seconds=30)  # no more than two hosts may differ by
    assert (queue.depth("q"), queue.receive("q", limit=1)) == (0, ())
    clock[0] = NOON - timedelta(hours=3)
    assert queue.depth("q") == 1
    (again,) = queue.receive("q", limit=1)

    assert again.delivery_count == 2
    with pytest.raises(StaleDelivery):
        queue.ack(delivery)
    queue.ack(again)


def test_who_holds_a_message_can_settle_it_after_the_clock_went_back(clocked: tuple[Queue, list[datetime]]):
    queue, clock = clocked
    queue.publish("q", a_message())
    (delivery,) = queue.receive("q", limit=1)
    clock[0] = NOON - timedelta(hours=3)

    queue.ack(delivery)

    assert queue.depth("q") == 0


def test_a_clock_that_went_back_holds_no_delayed_message(clocked: tuple[Queue, list[datetime]]):
    queue, clock = clocked
    queue.publish("q", a_message())
    queue.retry(queue.receive("q", limit=1)[0], delay_seconds=MAX_DELAY_SECONDS)

    assert queue.depth("q") == 0
    clock[0] = NOON - timedelta(hours=3)
    assert queue.depth("q") == 1
    assert len(queue.receive("q", limit=1)) == 1


def test_no_delay_is_longer_than_the_longest(clocked: tuple[Queue, list[datetime]]):
    queue, clock = clocked
    queue.publish("q", a_message())
    queue.retry(queue.receive("q", limit=1)[0], delay_seconds=1e9)

    clock[0] = NOON + timedelta(seconds=MAX_DELAY_SECONDS - 1)
    assert queue.depth("q") == 0
    clock[0] = NOON + timedelta(seconds=MAX_DELAY_SECONDS)
    assert queue.depth("q") == 1


@pytest.mark.parametrize(("seconds", "step"), [(0, 0), (0.2, 1), (5, 5), (5.1, 20), (MAX_DELAY_SECONDS, 3600)])
def test_a_delay_is_rounded_up_to_a_queue_that_keeps_it(seconds: float, step: int):
    assert delay_step(seconds) == step


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.service)])
def table_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with own_postgres() if request.param == "postgresql" else nullcontext(f"sqlite:///{tmp_path}/queue.db") as url:
        yield url


def test_claim_and_depth_read_one_index_and_sort_nothing(table_url: str):
    with closing(SqlQueue(table_url, names=QueueNames(), vault=VAULT)) as queue:
        fill_queues(queue)

        for statement in (queue._claimable("full", 20), queue._count_free("q-7")):
            plan = plan_of(queue, statement)
            assert "ix_sealed_messages_claim" in plan
            assert not any(slow in plan for slow in ("SCAN", "Seq Scan", "Sort", "TEMP B-TREE")), plan


def fill_queues(queue: SqlQueue) -> None:
    """A full queue among many others: enough for PostgreSQL to think of an index."""
    names = ["full" if number % 10 == 0 else f"q-{number % 100}" for number in range(4000)]
    row = {"sealed": b"{}", "properties": "{}", "deliveries": 0, "claimed_until": 0.0}
    with queue._writing() as connection:
        connection.execute(insert(_messages), [row | {"queue": name} for name in names])
        connection.exec_driver_sql("ANALYZE")


def plan_of(queue: SqlQueue, statement: Executable) -> str:
    explain = "EXPLAIN QUERY PLAN " if queue._file else "EXPLAIN "
    written = str(statement.compile(queue._engine, compile_kwargs={"literal_binds": True}))
    with queue._reading() as connection:
        return "\n".join(str(row[-1]) for row in connection.exec_driver_sql(explain + written.replace("%", "%%")))


def test_what_an_earlier_version_left_open_is_sealed_and_keeps_its_order(table_url: str):
    old = MetaData()
    table = Table(
        "queue_messages",
        old,
        Column("position", Integer, primary_key=True),
        *(Column(name, Text) for name in ("queue", "properties", "token", "died_in", "reason")),
        Column("body", LargeBinary),
        Column("deliveries", Integer),
        *(Column(name, Float) for name in ("claimed_until", "died_at")),
    )
    engine = open_engine(table_url)
    with writing(engine) as connection:
        old.create_all(connection)
        row = {"queue": "q", "properties": "{}", "deliveries": 1, "claimed_until": 0.0}
        connection.execute(insert(table), [row | {"body": f"测试{number}".encode()} for number in range(3)])
    engine.dispose()

    for _ in range(2):
        with closing(SqlQueue(table_url, names=QueueNames(), vault=VAULT)) as queue:
            assert queue.depth("q") == 3
            assert inspect(queue._engine).get_table_names() == ["sealed_messages"]
    with closing(SqlQueue(table_url, names=QueueNames(), vault=VAULT)) as queue:
        taken = queue.receive("q", limit=5)
    assert [(one.message.body.decode(), one.delivery_count) for one in taken] == [("测试0", 2), ("测试1", 2), ("测试2", 2)]


def test_no_body_lies_open_in_the_file(tmp_path: Path):
    with closing(SqlQueue(f"sqlite:///{tmp_path}/queue.db", names=QueueNames(), vault=VAULT)) as queue:
        queue.publish("q", Message(body="测试甲".encode()))
        queue.publish("q", Message(body="测试甲".encode()))
        queue.reject(queue.receive("q", limit=1)[0], reason="x")

        assert "测试甲".encode() not in b"".join(file.read_bytes() for file in tmp_path.iterdir())


def test_a_body_that_the_key_does_not_open_is_set_aside_and_holds_up_no_other(tmp_path: Path):
    with closing(SqlQueue(f"sqlite:///{tmp_path}/queue.db", names=QueueNames(), vault=VAULT)) as queue:
        for number in range(3):
            queue.publish("q", a_message(number))
        with queue._writing() as connection:
            connection.exec_driver_sql("UPDATE sealed_messages SET sealed = x'00' WHERE position = 1")

        assert [one.message.message_id for one in queue.receive("q", limit=5)] == ["m-1", "m-2"]
        (letter,) = queue.dead_letters(limit=5)
        assert (letter.message.message_id, letter.message.body, letter.reason) == (
            "m-0",
            b"",
            "sealed with another key, or damaged on the disk",
        )
        assert queue.replay_dead_letters(limit=5) == 1


def test_another_key_is_refused_before_a_message_is_sealed_with_it(tmp_path: Path):
    with closing(SqlQueue(f"sqlite:///{tmp_path}/queue.db", names=QueueNames(), vault=VAULT)) as queue:
        queue.publish("q", a_message())

    with pytest.raises(BadSettings, match="put the key back"):
        SqlQueue(f"sqlite:///{tmp_path}/queue.db", names=QueueNames(), vault=Vault([new_key()]))


@pytest.mark.service
def test_a_letter_of_unknown_origin_stays_and_holds_up_no_replay(monkeypatch: pytest.MonkeyPatch):
    with own_rabbitmq_names() as names:
        queue = RabbitQueue(AMQP_URL, names=names)
        queue.declare(names.dead)
        _publish_raw(names, pika.BasicProperties(), monkeypatch, queue=names.dead)
        queue.publish(names.screenings, a_message())
        (delivery,) = wait_for(lambda: queue.receive(names.screenings, limit=1))
        queue.reject(delivery, reason="x")
        wait_for(lambda: queue.depth(names.dead) == 2)

        assert queue.replay_dead_letters(limit=5) == 1
        assert wait_for(lambda: queue.depth(names.screenings)) == 1
        assert wait_for(lambda: queue.depth(names.dead)) == 1
        queue.close()
