"""Ten thousand screenings through the chain with a model that costs nothing: rate and memory over time, and what a sensor's look costs.

`--queue` and `--records` name another stack: amqp://…, postgresql+psycopg://…; without them the embedded one. Names are `load_…`, so
that nobody else's messages are touched.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))

from eye_dx_core import casework, wiring
from eye_dx_core.dataset.phantom_folders import write_phantom_photo
from eye_dx_core.inference.predictor import Predictor
from eye_dx_core.model.checkpoint import load_checkpoint
from eye_dx_core.queue.draining import drain_screenings
from eye_dx_core.queue.outbox import deliver_outbox
from eye_dx_core.queue.port import Message, Queue
from eye_dx_core.queue.topology import QueueNames
from eye_dx_core.records.port import Records
from eye_dx_core.schema.case import Laterality
from eye_dx_core.settings import Settings
from eye_dx_dagster.defs.diagnosis.jobs import find_screenings
from tests.builders import a_nested_body
from tests.checkpoints import a_checkpoint

OURS = QueueNames.model_validate({field: f"load_{name}" for field, name in QueueNames().model_dump().items()})


class InstantPredictor(Predictor):
    """Reads one photograph for real and gives that answer to all: what is measured here is everything else."""

    _reading: Any = None

    def read_squares(self, squares: Any) -> Any:
        if self._reading is None:
            self._reading = super().read_squares(squares[:1])[0]
        return (self._reading,) * len(squares)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--screenings", type=int, default=10_000)
    parser.add_argument("--queue", help="URL of the queue")
    parser.add_argument("--records", help="URL of the records; an empty database")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        settings = Settings(state_dir=Path(name), queue_url=args.queue, records_url=args.records, queue_names=OURS)
        settings.data.mkdir()
        write_phantom_photo(settings.data / "OD.jpg", "D3", eye=Laterality.RIGHT, seed=1, size=128)
        predictor = InstantPredictor(load_checkpoint(a_checkpoint(settings.data / "checkpoint")), model_name="m", model_version="1")
        queue, records = wiring.open_queue(settings), wiring.open_records(settings)
        try:
            measure(settings, queue, records, predictor, args.screenings)
        finally:
            records.close()
            queue.close()


def measure(settings: Settings, queue: Queue, records: Records, predictor: Predictor, screenings: int) -> None:
    print(f"{screenings} screenings, {type(queue).__name__}, records {settings.records_address.split(':')[0]}")
    idle = milliseconds(lambda: find_screenings(settings, queue, records))
    started = time.perf_counter()
    for number in range(screenings):
        queue.publish(OURS.screenings, Message(body=a_nested_body(f"P{number}", ("OD.jpg",)), message_id=f"m-{number}-{started}"))
    print(f"published        {screenings / (time.perf_counter() - started):7.0f} a second")
    full = milliseconds(lambda: find_screenings(settings, queue, records))
    rates, memory = run(settings, queue, records, predictor, screenings)
    done = milliseconds(lambda: find_screenings(settings, queue, records))
    print("tenth            " + " ".join(f"{number:7}" for number in range(1, len(rates) + 1)))
    print("cases a second   " + " ".join(f"{rate:7.0f}" for rate in rates))
    print("memory, MB       " + " ".join(f"{used / 1e6:7.0f}" for used in memory))
    print(f"last tenth / first  {rates[-1] / rates[0]:.2f}   memory, last tenth / second  {memory[-1] / memory[1]:.3f}")
    print(f"a sensor's look  {idle:.1f} ms idle, {full:.1f} ms with {screenings} waiting, {done:.1f} ms with as many unreviewed")
    backlog = records.backlog()
    sent = count_results(queue, screenings)
    print(
        f"in the end       {backlog.unreviewed} read, {backlog.undiagnosed} undiagnosed, {backlog.unsent} unsent, {sent} distinct results"
    )


def run(settings: Settings, queue: Queue, records: Records, predictor: Predictor, screenings: int) -> tuple[list[float], list[int]]:
    """What a diagnosis run does, again and again, until nothing waits; rate and memory of each tenth."""
    photos, outlet, process = wiring.photo_intake(settings), wiring.diagnosis_outlet(settings), psutil.Process()
    rates: list[float] = []
    memory: list[int] = []
    for _ in range(10):
        left, started = screenings // 10, time.perf_counter()
        while left > 0:
            limit = min(settings.drain_limit, left)
            drain_screenings(queue, records, names=OURS, limit=limit, now=now)
            done = casework.diagnose_waiting(
                records, predictor, photos, outlet=outlet, limit=limit, micro_batch=settings.micro_batch, lease_seconds=120, now=now
            )
            deliver_outbox(queue, records, now=now)
            left -= len(done)
        rates.append((screenings // 10) / (time.perf_counter() - started))
        memory.append(process.memory_info().rss)
    return rates, memory


def count_results(queue: Queue, most: int) -> int:
    seen: set[str | None] = set()
    while deliveries := queue.receive(OURS.ai_results, limit=min(most, 500)):
        for delivery in deliveries:
            seen.add(delivery.message.message_id)
            queue.ack(delivery)
    return len(seen)


def milliseconds(act: Callable[[], object]) -> float:
    """Median wall time of ten calls."""
    times: list[float] = []
    for _ in range(10):
        started = time.perf_counter()
        act()
        times.append(time.perf_counter() - started)
    return statistics.median(times) * 1000


def now() -> datetime:
    return datetime.now(UTC)


if __name__ == "__main__":
    main()
