"""Broker and database are stopped and killed under a flow of messages: it says what it waits for, and goes on alone."""

import time
from pathlib import Path

import pytest

from eye_dx_core.errors import ServiceUnavailable
from eye_dx_core.queue.port import Message
from tests.faults.flow import Flow, flowing
from tests.faults.own_servers import OwnPostgres, OwnRabbit, own_cluster, own_rabbit
from tests.faults.worker import NAMES
from tests.services import open_queue

pytestmark = [pytest.mark.service, pytest.mark.timeout(600)]


def break_and_mend(flow: Flow, server: OwnRabbit | OwnPostgres, how: str, *, after: float, seconds: float, says: str) -> None:
    """Take the server away when a share of the messages is through, look at what is said of it, and bring it back."""
    flow.wait_until_read(after)
    flow.forget_complaints()
    getattr(server, how)()
    flow.wait_for_complaints(says)
    with pytest.raises(ServiceUnavailable, match=says):
        open_queue(flow.queue_url, NAMES).depth(NAMES.screenings)
    time.sleep(seconds)
    server.start()


def declare_well_before(rabbit: OwnRabbit) -> None:
    """A queue that RabbitMQ made within a second before it is killed is dead for ever; ours are made once and live for years."""
    queue = open_queue(rabbit.url, NAMES)
    for name in (NAMES.screenings, NAMES.ai_results):
        queue.declare(name)
    queue.close()
    time.sleep(1.5)


def test_rabbitmq_is_killed_and_started_while_messages_flow(tmp_path: Path):
    with own_rabbit() as rabbit:
        declare_well_before(rabbit)
        with flowing(rabbit.url, f"sqlite:///{tmp_path}/records.db", tmp_path, messages=120) as flow:
            break_and_mend(flow, rabbit, "kill", after=0.2, seconds=0, says="RabbitMQ does not answer")
            flow.wait_until_done()
            flow.assert_nothing_is_lost_or_doubled()


def test_postgresql_is_restarted_under_records_and_queue(tmp_path: Path):
    with own_cluster() as cluster, flowing(cluster.url, cluster.url, tmp_path, messages=120) as flow:
        break_and_mend(flow, cluster, "stop", after=0.2, seconds=0, says="did not answer")
        flow.wait_until_done()
        flow.assert_nothing_is_lost_or_doubled()


@pytest.mark.faults
@pytest.mark.parametrize("first", ["stop", "kill"])
def test_rabbitmq_goes_away_twice_while_500_messages_flow(tmp_path: Path, first: str):
    second = {"stop": "kill", "kill": "stop"}[first]
    with own_rabbit() as rabbit:
        declare_well_before(rabbit)
        with flowing(rabbit.url, f"sqlite:///{tmp_path}/records.db", tmp_path, messages=500) as flow:
            break_and_mend(flow, rabbit, first, after=0.2, seconds=5, says="RabbitMQ does not answer")
            break_and_mend(flow, rabbit, second, after=0.6, seconds=2, says="RabbitMQ does not answer")
            flow.wait_until_done()
            flow.assert_nothing_is_lost_or_doubled()


@pytest.mark.faults
def test_postgresql_goes_away_four_times_while_500_messages_flow(tmp_path: Path):
    with own_cluster() as cluster, flowing(cluster.url, cluster.url, tmp_path, messages=500) as flow:
        for how, after in (("stop", 0.1), ("kill", 0.3), ("stop", 0.5), ("kill", 0.7)):
            break_and_mend(flow, cluster, how, after=after, seconds=2, says="did not answer")
        flow.wait_until_done()
        flow.assert_nothing_is_lost_or_doubled()


@pytest.mark.faults
def test_a_broker_that_keeps_its_confirm_back_is_not_waited_for_forever():
    with own_rabbit() as rabbit:
        queue, message = open_queue(rabbit.url, NAMES), Message(body=b"{}", message_id="m-1")
        queue.publish(NAMES.screenings, message)
        with rabbit.frozen(), pytest.raises(ServiceUnavailable, match="RabbitMQ does not answer"):
            queue.publish(NAMES.screenings, message)

        queue.publish(NAMES.screenings, message)
        assert {one.message.message_id for one in queue.receive(NAMES.screenings, limit=9)} == {"m-1"}
        queue.close()
