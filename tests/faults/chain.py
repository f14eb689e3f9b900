"""The chain as the runs do it, in a process that dies at a named point: for tests that kill it there again and again."""

import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo

import dagster as dg
import torch
from sqlalchemy import event

from eye_dx_core import casework
from eye_dx_core.files.folders import FolderFiles
from eye_dx_core.inference.intake import PhotoIntake
from eye_dx_core.inference.predictor import Predictor
from eye_dx_core.inference.sources.folders import FolderPhotos
from eye_dx_core.model.checkpoint import load_checkpoint
from eye_dx_core.queue.draining import drain_reviews, drain_screenings
from eye_dx_core.queue.outbox import deliver_outbox
from eye_dx_core.queue.port import Message, Queue
from eye_dx_core.queue.topology import QueueNames
from eye_dx_core.records.sql import SqlRecords
from eye_dx_core.schema.message import parse_screening
from eye_dx_core.settings import Settings
from eye_dx_dagster.defs.diagnosis.sensors import screening_sensor
from tests.builders import a_nested_body
from tests.services import open_queue, open_records

LEASE_SECONDS = 0.2


@dataclass(frozen=True)
class Stack:
    """Where a worker finds everything; strings, so that it crosses to another process."""

    queue_url: str
    records_url: str
    names_json: str
    folder: str

    @property
    def names(self) -> QueueNames:
        return QueueNames.model_validate_json(self.names_json)

    def open_queue(self) -> Queue:
        return open_queue(self.queue_url, self.names, lease_seconds=LEASE_SECONDS)

    def open_records(self) -> SqlRecords:
        return open_records(self.records_url)


class Dying:
    """A port, or a predictor, whose method takes its process along, before or after it did its work."""

    def __init__(self, inner: object, method: str, die: Callable[[Callable[[], object]], object]) -> None:
        self._inner, self._method, self._die = inner, method, die

    def __getattr__(self, name: str) -> object:
        found = getattr(self._inner, name)
        if name != self._method:
            return found
        return lambda *args, **kwargs: self._die(lambda: found(*args, **kwargs))


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _after(act: Callable[[], object]) -> object:
    if act():  # an empty answer is not the point that is meant
        die()
    return ()


def _before_commit(records: SqlRecords) -> Callable[[Callable[[], object]], object]:
    def act_and_die(act: Callable[[], object]) -> object:
        event.listen(records._engine, "commit", die)
        return act()

    return act_and_die


# Where a process dies: which part, which of its methods, and how far that got.
POINTS_OF_SCREENING: dict[str, tuple[str, str, str]] = {
    "after the claim of a message": ("queue", "receive", "after"),
    "after the store, before the ack": ("queue", "ack", "before"),
    "after the claim of a case": ("records", "claim_undiagnosed", "after"),
    "in the middle of reading": ("predictor", "read_squares", "after"),
    "after the diagnosis, before the commit": ("records", "add_diagnosis", "before the commit"),
    "after publishing, before the mark": ("records", "mark_sent", "before"),
}
POINTS_OF_REVIEW: dict[str, tuple[str, str, str]] = {
    "in the middle of a report, its page written": ("records", "add_report", "before"),
    "after the report, before the commit": ("records", "add_report", "before the commit"),
    "after a review, before the commit": ("records", "add_review", "before the commit"),
    "after a review, before the ack": ("records", "add_review", "after"),
}

POINTS = POINTS_OF_SCREENING | POINTS_OF_REVIEW


@cache
def predictor(folder: str) -> Predictor:
    torch.set_num_threads(1)
    return Predictor(load_checkpoint(Path(folder) / "checkpoint"), model_name="m", model_version="1")


def publish_screening(stack: Stack, queue: Queue, number: int) -> str:
    """Send a screening; returns the id that its case will have."""
    names, message_id = stack.names, f"m-{number}"
    body = a_nested_body(f"P{number}", ("OD.jpg",))
    queue.publish(names.screenings, Message(body=body, message_id=message_id))
    return parse_screening(body, source_queue=names.screenings, message_id=message_id, received_at=datetime.now(UTC)).case_id


def publish_review(stack: Stack, queue: Queue, case_id: str) -> None:
    """Send the doctor's word on a case."""
    review = {"case_id": case_id, "final_conclusion": "高度近视", "doctor_name": "唐医生", "recommendation": "3个月后复查"}
    queue.publish(stack.names.reviews, Message(body=json.dumps(review).encode(), message_id=f"review-of-{case_id}"))


def run_chain(stack: Stack, queue: Queue, records: SqlRecords, reader: Predictor) -> None:
    """What a diagnosis run and a report run do, one after the other."""
    names, folder = stack.names, Path(stack.folder)
    outlet = casework.ReportOutlet(FolderFiles(folder), ZoneInfo("UTC"), names)

    def now() -> datetime:
        return datetime.now(UTC)

    drain_screenings(queue, records, names=names, limit=500, now=now)
    casework.diagnose_waiting(
        records,
        reader,
        PhotoIntake(FolderPhotos([folder], base=folder)),
        outlet=casework.DiagnosisOutlet(names),
        limit=500,
        micro_batch=4,
        lease_seconds=LEASE_SECONDS,
        now=now,
    )
    deliver_outbox(queue, records, now=now, lease_seconds=LEASE_SECONDS)
    drain_reviews(queue, records, names=names, limit=500, now=now)
    casework.report_waiting(records, None, outlet=outlet, limit=500, lease_seconds=LEASE_SECONDS, now=now)
    deliver_outbox(queue, records, now=now, lease_seconds=LEASE_SECONDS)


def run_and_die(stack: Stack, point: str) -> None:
    """Run the chain in this process until it dies at the point; coming back means that the point was not reached."""
    part, method, when = POINTS[point]
    queue, records, reader = stack.open_queue(), stack.open_records(), predictor(stack.folder)
    deaths = {"before": die, "after": _after, "before the commit": _before_commit(records)}
    ports: dict[str, object] = {"queue": queue, "records": records, "predictor": reader}
    ports[part] = Dying(ports[part], method, deaths[when])
    run_chain(stack, ports["queue"], ports["records"], ports["predictor"])  # pyright: ignore[reportArgumentType]


def look_and_die(stack: Stack, dagster_home: str) -> None:
    """Tick the sensor as the code server does, and die in the middle of it."""
    settings = Settings(state_dir=Path(stack.folder), queue_names=stack.names)
    os.environ["DAGSTER_HOME"] = dagster_home
    dying = Dying(stack.open_queue(), "depth", lambda act: (act(), die()))
    with dg.DagsterInstance.from_config(dagster_home) as instance:
        given = {"settings": settings, "queue": dying, "records": stack.open_records()}
        with dg.build_sensor_context(instance=instance, resources=given) as context:
            screening_sensor(context)


def run_until(is_done: Callable[[], object], stack: Stack, queue: Queue, records: SqlRecords, *, seconds: float = 30) -> None:
    """Run the chain again and again, as sensors do, until it is done and all results are sent."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        run_chain(stack, queue, records, predictor(stack.folder))
        if is_done() and not records.backlog().unsent:
            return
        time.sleep(LEASE_SECONDS / 2)
    raise AssertionError(f"after {seconds} s this still waits: {records.backlog()}")
