"""How the RabbitMQ adapter connects: encrypted, patiently, and again when the connection was lost."""

import logging
import socket
import time
from pathlib import Path

import pika
import pytest

from eye_dx_core import wiring
from eye_dx_core.errors import BadSettings, ServiceUnavailable
from eye_dx_core.queue.port import Message
from eye_dx_core.queue.rabbitmq import RabbitQueue
from eye_dx_core.queue.topology import QueueNames
from eye_dx_core.settings import Settings
from tests.forwarder import a_server_context, an_authority, forwarding
from tests.services import AMQP_URL, own_rabbitmq_names, wait_for

pytestmark = pytest.mark.service
SECRET = "geheim"


def settings(port: int, ca_file: Path | None, names: QueueNames, password: str = "guest") -> Settings:
    return Settings(queue_url=f"amqps://guest:{password}@127.0.0.1:{port}/%2F", queue_ca=ca_file, queue_names=names)


def test_the_right_authority_opens_an_encrypted_connection(tmp_path: Path):
    authority = an_authority(tmp_path, "hospital")
    with own_rabbitmq_names() as names, forwarding(a_server_context(authority, tmp_path, "127.0.0.1")) as forwarder:
        queue = wiring.open_queue(settings(forwarder.port, authority.file, names))
        queue.publish(names.screenings, Message(body=b"x" * 200_000))

        (delivery,) = wait_for(lambda: queue.receive(names.screenings, limit=1))
        queue.ack(delivery)

        assert delivery.message.body == b"x" * 200_000
        queue.close()


@pytest.mark.parametrize(("trusted", "host"), [("somebody else", "127.0.0.1"), ("hospital", "broker.example")])
def test_another_authority_or_another_host_is_refused(trusted: str, host: str, tmp_path: Path):
    authorities = {name: an_authority(tmp_path, name) for name in ("hospital", "somebody else")}
    context = a_server_context(authorities["hospital"], tmp_path, host)
    with own_rabbitmq_names() as names, forwarding(context) as forwarder:
        queue = wiring.open_queue(settings(forwarder.port, authorities[trusted].file, names, SECRET))

        with pytest.raises(ServiceUnavailable, match="SSLCertVerificationError") as caught:
            queue.depth(names.screenings)

        assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [(("guest@", "wrong@"), "refuses this user or its password: look at EYE_DX_QUEUE_URL"), (("%2F", "nowhere"), "no such virtual host")],
)
def test_a_broker_that_does_not_let_us_in_is_not_said_to_be_silent(wrong: tuple[str, str], words: str):
    with own_rabbitmq_names() as names:
        queue = wiring.open_queue(Settings(queue_url=AMQP_URL.replace(*wrong), queue_names=names))
        with pytest.raises(ServiceUnavailable, match=words):
            queue.depth(names.screenings)


def test_a_broker_without_tls_is_not_spoken_to_in_the_clear(tmp_path: Path):
    with own_rabbitmq_names() as names, forwarding() as forwarder:
        queue = wiring.open_queue(settings(forwarder.port, an_authority(tmp_path, "hospital").file, names))
        with pytest.raises(ServiceUnavailable):
            queue.depth(names.screenings)


def test_an_authority_that_cannot_be_used_is_a_bad_setting(tmp_path: Path):
    (tmp_path / "empty.pem").write_text("")
    for ca_file in (tmp_path / "absent.pem", tmp_path / "empty.pem"):
        with pytest.raises(BadSettings, match="EYE_DX_QUEUE_CA names no readable PEM"):
            wiring.open_queue(settings(5671, ca_file, QueueNames()))
    with pytest.raises(BadSettings, match="for amqps:// only"):
        wiring.open_queue(Settings(queue_url=AMQP_URL, queue_ca=tmp_path / "empty.pem"))
    with pytest.raises(BadSettings, match="cannot be read") as caught:
        wiring.open_queue(Settings(queue_url=f"amqp://guest:{SECRET}@127.0.0.1/%2F?heartbeat=often"))
    assert SECRET not in str(caught.value)


def test_a_model_that_reads_for_long_starves_the_heartbeat_and_loses_nothing():
    with own_rabbitmq_names() as names:
        queue = RabbitQueue(f"{AMQP_URL}?heartbeat=1", names=names)
        for number in range(2):
            queue.publish(names.screenings, Message(body=b"{}", message_id=str(number)))
        (first,) = wait_for(lambda: queue.receive(names.screenings, limit=1))
        queue.ack(first)

        time.sleep(5)  # the broker hangs up after two seconds without a heartbeat
        queue.publish(names.screenings, Message(body=b"{}", message_id="2"))

        rest = wait_for(lambda: queue.receive(names.screenings, limit=5))
        assert [one.message.message_id for one in rest] == ["1", "2"]
        for delivery in rest:
            queue.ack(delivery)
        assert queue.depth(names.screenings) == 0
        queue.close()


@pytest.mark.parametrize(("query", "seconds"), [("", 60), ("?heartbeat=7", 7)])
def test_the_heartbeat_of_the_url_is_respected(query: str, seconds: int):
    assert RabbitQueue(AMQP_URL + query, names=QueueNames())._parameters.heartbeat == seconds


def test_a_broker_that_is_back_at_the_third_try_is_reached(caplog: pytest.LogCaptureFixture):
    with own_rabbitmq_names() as names, forwarding(refuse_first=2) as forwarder:
        queue = RabbitQueue(f"amqp://guest:guest@127.0.0.1:{forwarder.port}/%2F", names=names)

        with caplog.at_level(logging.WARNING, "eye_dx_core.queue.rabbitmq"):
            assert queue.depth(names.screenings) == 0

        assert forwarder.connections == 3
        assert [record.args[0] for record in caplog.records if record.name.startswith("eye_dx") and record.args] == [1, 2]
        queue.close()


def test_a_broker_that_never_answers_is_given_up_soon():
    """A sensor waits for this, so even silence must end well within ten seconds."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        queue = RabbitQueue(f"amqp://guest:{SECRET}@127.0.0.1:{silent.getsockname()[1]}/%2F", names=QueueNames())
        began = time.monotonic()

        with pytest.raises(ServiceUnavailable, match="after 3 tries") as caught:
            queue.depth("eye_dx_screenings")

        assert time.monotonic() - began < 9
        assert SECRET not in str(caught.value)


def test_a_full_queue_refuses_a_message_and_what_was_taken_stays_ours():
    with own_rabbitmq_names() as names:
        queue = RabbitQueue(AMQP_URL, names=names)
        queue.publish(names.screenings, Message(body=b"{}"))
        (delivery,) = wait_for(lambda: queue.receive(names.screenings, limit=1))
        declare_full(names, names.partner_ai_results)

        with pytest.raises(ServiceUnavailable, match="RabbitMQ refused"):
            queue.publish(names.partner_ai_results, Message(body=b"{}"))

        queue.ack(delivery)
        assert queue.depth(names.screenings) == 0
        queue.close()


def declare_full(names: QueueNames, name: str) -> None:
    """A partner's queue that takes nothing more."""
    route = names.route_of(name)
    with pika.BlockingConnection(pika.URLParameters(AMQP_URL)) as connection:
        channel = connection.channel()
        channel.exchange_declare(route.exchange, "direct", durable=True)
        channel.queue_declare(name, durable=True, arguments={"x-max-length": 0, "x-overflow": "reject-publish"})
        channel.queue_bind(name, route.exchange, route.routing_key)
