"""Every adapter of the port `Queue` keeps the same promises."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pika
import pytest
from pika.exceptions import AMQPConnectionError

from eye_dx_core.errors import ServiceUnavailable, StaleDelivery, Unroutable
from eye_dx_core.queue.memory import MemoryQueue
from eye_dx_core.queue.port import Message, Queue
from eye_dx_core.queue.rabbitmq import RabbitQueue
from eye_dx_core.queue.sql import SqlQueue
from eye_dx_core.queue.topology import QueueNames
from tests.builders import NOON
from tests.services import AMQP_URL, own_postgres, own_rabbitmq_names, skip_or_fail, wait_for

Open = Callable[[], Queue]
LIMIT = 3
ADAPTERS = ["memory", "sqlite", pytest.param("postgresql", marks=pytest.mark.service), pytest.param("rabbitmq", marks=pytest.mark.service)]


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
        yield lambda: remember(SqlQueue(f"sqlite:///{tmp_path}/queue.db", names=names, lease_seconds=1, delivery_limit=LIMIT)), names
    elif request.param == "postgresql":
        with own_postgres() as url:
            yield lambda: remember(SqlQueue(url, names=names, lease_seconds=1, delivery_limit=LIMIT)), names
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


def test_a_retried_message_comes_again_with_a_higher_count(open_queue: tuple[Open, QueueNames]):
    queue, names = open_queue[0](), open_queue[1]
    queue.publish(names.screenings, a_message())
    (delivery,) = queue.receive(names.screenings, limit=1)

    queue.retry(delivery)

    (again,) = wait_for(lambda: queue.receive(names.screenings, limit=1))
    assert (again.message, again.delivery_count) == (delivery.message, 2)


def test_a_message_settled_twice_is_refused(open_queue: tuple[Open, QueueNames], request: pytest.FixtureRequest):
    if "rabbitmq" in request.node.callspec.id:
        pytest.skip("RabbitMQ closes the channel instead; the stale-connection test covers it")
    queue, names = open_queue[0](), open_queue[1]
    queue.publish(names.screenings, a_message())
    (delivery,) = queue.receive(names.screenings, limit=1)
    queue.ack(delivery)

    with pytest.raises(StaleDelivery):
        queue.ack(delivery)


def test_who_lost_a_message_can_no_longer_settle_it(open_queue: tuple[Open, QueueNames], request: pytest.FixtureRequest):
    queue, names = open_queue[0](), open_queue[1]
    queue.publish(names.screenings, a_message())
    (delivery,) = queue.receive(names.screenings, limit=1)
    if "rabbitmq" in request.node.callspec.id:
        queue.close()  # there a message is lost with its connection, not by time
    else:
        time.sleep(1.1)

    (again,) = wait_for(lambda: open_queue[0]().receive(names.screenings, limit=1))

    for settle in (queue.ack, queue.retry, lambda one: queue.reject(one, reason="late")):
        with pytest.raises(StaleDelivery):
            settle(delivery)
    assert again.delivery_count == 2


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
from eye_dx_core.queue.rabbitmq import RabbitQueue
from eye_dx_core.queue.sql import SqlQueue
from eye_dx_core.queue.topology import QueueNames
names = QueueNames.model_validate_json(sys.argv[2])
url = sys.argv[1]
if url.startswith("amqp"):
    queue = RabbitQueue(url, names=names, delivery_limit=3)
else:
    queue = SqlQueue(url, names=names, lease_seconds=1, delivery_limit=3)
print(len(queue.receive(names.screenings, limit=1)), flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("rabbitmq", marks=pytest.mark.service)])
def test_a_message_whose_worker_was_killed_comes_again(kind: str, tmp_path: Path):
    with own_rabbitmq_names(required=kind == "rabbitmq") as names:
        url = AMQP_URL if kind == "rabbitmq" else f"sqlite:///{tmp_path}/queue.db"
        queue: Queue = (
            RabbitQueue(url, names=names, delivery_limit=LIMIT)
            if kind == "rabbitmq"
            else SqlQueue(url, names=names, lease_seconds=1, delivery_limit=LIMIT)
        )
        queue.publish(names.screenings, a_message())
        worker = subprocess.Popen([sys.executable, "-c", TAKE_AND_DIE, url, names.model_dump_json()], stdout=subprocess.PIPE)
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


@pytest.mark.parametrize("open_dead", [lambda: RabbitQueue("amqp://someone:geheim@127.0.0.1:1/%2F", names=QueueNames())])
def test_an_unreachable_broker_is_unavailable_and_the_text_holds_no_password(open_dead: Open):
    with pytest.raises(ServiceUnavailable) as caught:
        open_dead().depth("eye_dx_screenings")

    assert "geheim" not in str(caught.value)
    assert caught.value.is_transient


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
