"""A process is killed at each named point, many times, on both stacks: no case is lost, none is doubled."""

import multiprocessing
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from eye_dx_core.dataset.phantom_folders import write_phantom_photo
from eye_dx_core.queue.port import Queue
from eye_dx_core.records.sql import SqlRecords
from eye_dx_core.schema.case import Laterality
from tests.builders import NOON
from tests.checkpoints import a_checkpoint
from tests.faults.chain import (
    POINTS,
    POINTS_OF_REVIEW,
    POINTS_OF_SCREENING,
    Stack,
    publish_review,
    publish_screening,
    run_and_die,
    run_until,
)
from tests.faults.tally import Tally, note
from tests.services import STACKS, services

SHORT, LONG = 2, 50
EVER = {"since": NOON - timedelta(days=9999), "until": NOON + timedelta(days=9999)}

# A forked child has torch and us imported already, so that dying often is cheap.
_processes = multiprocessing.get_context("forkserver")


@pytest.fixture(scope="module", autouse=True)
def _preloaded() -> Iterator[None]:
    project = str(Path(__file__).parents[2])
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PYTHONPATH", project)
        patched.setenv("OMP_NUM_THREADS", "1")
        _processes.set_forkserver_preload(["pytest", "tests.faults.chain"])
        yield


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("kind", STACKS)
@pytest.mark.parametrize("times", [pytest.param(SHORT, id="short"), pytest.param(LONG, id="long", marks=pytest.mark.faults)])
def test_a_process_killed_here_loses_and_doubles_nothing(times: int, kind: str, point: str, tmp_path: Path):
    a_checkpoint(tmp_path / "checkpoint")
    write_phantom_photo(tmp_path / "OD.jpg", "D3", eye=Laterality.RIGHT, seed=1, size=128)
    with services(kind, tmp_path, lease_seconds=0.2) as (queue_url, records_url, names, queue):
        stack = Stack(queue_url, records_url, names.model_dump_json(), str(tmp_path))
        records = stack.open_records()
        published: list[str] = []

        def run_on(find: Callable[[str], object]) -> None:
            run_until(lambda: find(published[-1]), stack, queue, records)

        for number in range(times):
            published.append(publish_screening(stack, queue, number))
            if point in POINTS_OF_REVIEW:
                run_on(records.find_diagnosis)
                publish_review(stack, queue, published[-1])
            worker = _processes.Process(target=run_and_die, args=(stack, point))
            worker.start()
            worker.join(60)
            assert worker.exitcode == -signal.SIGKILL, f"{point} was not reached"
            run_on(records.find_diagnosis)
            if point in POINTS_OF_SCREENING:
                publish_review(stack, queue, published[-1])
            run_on(records.find_report)

        tally = count(queue, records, published, names_of_results=(names.ai_results, names.reports))
        records.close()
    note(kind, point, times, tally)
    assert (tally.lost, tally.doubled, tally.strangers) == (0, 0, 0)


def count(queue: Queue, records: SqlRecords, published: list[str], *, names_of_results: tuple[str, str]) -> Tally:
    """Compare what was published with what stands in the records and on the result queues."""
    found = {record.case.case_id: record for record in records.case_records(**EVER)}
    whole = [one for one in found.values() if one.diagnosis and one.review and one.report and len(one.outbox) == 2]
    delivered = [Counter(_receive_all(queue, name)) for name in names_of_results]
    per_case = [Counter(case_id for case_id, _ in results) for results in delivered]
    return Tally(
        lost=len(set(published) - {one.case.case_id for one in whole}) + sum(case not in seen for seen in per_case for case in published),
        doubled=len(found) - len(set(published) & set(found)) + sum(seen[case] - 1 for seen in per_case for case in seen if seen[case] > 1),
        strangers=sum(case not in published for seen in per_case for case in seen),
        repeats=sum(results.total() - len(results) for results in delivered),
    )


def _receive_all(queue: Queue, name: str) -> list[tuple[str, str]]:
    """Case id and message id of everything on a queue."""
    taken: list[tuple[str, str]] = []
    while deliveries := queue.receive(name, limit=200):
        for delivery in deliveries:
            taken.append((str(delivery.message.correlation_id), str(delivery.message.message_id)))
            queue.ack(delivery)
    return taken


def test_the_tally_would_notice_a_loss_and_a_double(tmp_path: Path):
    a_checkpoint(tmp_path / "checkpoint")
    write_phantom_photo(tmp_path / "OD.jpg", "D3", eye=Laterality.RIGHT, seed=1, size=128)
    with services("embedded", tmp_path, lease_seconds=0.2) as (queue_url, records_url, names, queue):
        stack = Stack(queue_url, records_url, names.model_dump_json(), str(tmp_path))
        records = stack.open_records()
        published = [publish_screening(stack, queue, number) for number in range(3)]
        run_until(lambda: all(map(records.find_diagnosis, published)), stack, queue, records)
        for case_id in published:
            publish_review(stack, queue, case_id)
        run_until(lambda: all(map(records.find_report, published)), stack, queue, records)
        (result,) = queue.receive(names.ai_results, limit=1)
        queue.publish(names.ai_results, result.message.model_copy(update={"message_id": "another"}))
        queue.publish(names.ai_results, result.message.model_copy(update={"message_id": "another"}))

        tally = count(queue, records, [*published, "case-lost"], names_of_results=(names.ai_results, names.reports))
        records.close()

    assert tally.lost == 1 + 2  # no record, no result, no report
    assert tally.repeats == 1
