"""Processes of an installation in trouble: one sends screenings, one takes them in, reads them (a stub) and sends the results.

Whatever they could not do goes to the file `said`, a line each; any error that is not of that kind ends them.
"""

import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from eye_dx_core.errors import ServiceUnavailable
from eye_dx_core.queue.announcing import announce_diagnosis
from eye_dx_core.queue.draining import drain_screenings
from eye_dx_core.queue.outbox import deliver_outbox
from eye_dx_core.queue.port import Message, Queue
from eye_dx_core.queue.topology import QueueNames
from eye_dx_core.records.port import Records
from tests.builders import a_diagnosis, a_nested_body
from tests.services import open_queue, open_records

NAMES = QueueNames()
PAUSE_SECONDS = 0.01
SENDER_PAUSE_SECONDS = 0.05  # however slowly the worker starts, the sender must still be at it when something breaks


def now() -> datetime:
    return datetime.now(UTC)


def send(queue_url: str, said: Path, first: int, count: int) -> None:
    """Send each message until it is confirmed, always under its own id."""
    waiting = [Message(body=a_nested_body(f"P{number}"), message_id=f"m-{number}") for number in range(first, first + count)]
    while waiting:
        try:
            queue = open_queue(queue_url, NAMES)
            while waiting:
                queue.publish(NAMES.screenings, waiting[0])
                waiting.pop(0)
                time.sleep(SENDER_PAUSE_SECONDS)
        except ServiceUnavailable as error:
            tell(said, error)


def work(queue_url: str, records_url: str, said: Path) -> None:
    """Run after run until killed, each with connections of its own, as Dagster's sensors start them."""
    while True:
        try:
            run(queue_url, records_url)
        except ServiceUnavailable as error:
            tell(said, error)
        time.sleep(PAUSE_SECONDS)


def run(queue_url: str, records_url: str) -> None:
    records = open_records(records_url)
    try:
        queue = open_queue(queue_url, NAMES)
        try:
            drain_screenings(queue, records, names=NAMES, limit=50, now=now)
            read(records)
            deliver_outbox(queue, records, now=now, lease_seconds=1)
        finally:
            hang_up(queue)
    finally:
        records.close()


def read(records: Records) -> None:
    while cases := records.claim_undiagnosed(limit=8, lease_seconds=1):
        for case in cases:
            diagnosis = a_diagnosis(case.case_id)
            records.add_diagnosis(diagnosis, [announce_diagnosis(case, diagnosis, names=NAMES, now=now())])


def hang_up(queue: Queue) -> None:
    try:
        queue.close()
    except ServiceUnavailable:
        """It was gone before us, which the run itself has said."""


def tell(said: Path, error: ServiceUnavailable) -> None:
    with said.open("a") as file:
        file.write(f"{error}\n")
    time.sleep(0.1)


if __name__ == "__main__":
    task, queue_url, *rest = sys.argv[1:]
    if task == "send":
        send(queue_url, Path(rest[0]), int(rest[1]), int(rest[2]))
    else:
        work(queue_url, rest[0], Path(rest[1]))
