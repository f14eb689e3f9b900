"""A process is killed at each named point, many times, on both stacks: no case is lost, none is doubled."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from eye_dx_core.dataset.phantom_folders import write_phantom_photo
from eye_dx_core.records.port import CaseRecord
from eye_dx_core.schema.case import Laterality
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
from tests.faults.tally import count, note
from tests.faults.warm import processes
from tests.services import STACKS, services

SHORT, LONG = 2, 50


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
            worker = processes().Process(target=run_and_die, args=(stack, point))
            worker.start()
            worker.join(60)
            assert worker.exitcode == -signal.SIGKILL, f"{point} was not reached"
            run_on(records.find_diagnosis)
            if point in POINTS_OF_SCREENING:
                publish_review(stack, queue, published[-1])
            run_on(records.find_report)

        tally = count(queue, records, published, result_queues=(names.ai_results, names.reports), is_whole=_is_whole)
        records.close()
    note(kind, point, times, tally)
    assert tally.is_clean, tally


def _is_whole(record: CaseRecord) -> object:
    return record.diagnosis and record.review and record.report and len(record.outbox) == 2


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
        queue.release(result)
        for message_id in ("another", "another"):
            queue.publish(names.ai_results, result.message.model_copy(update={"message_id": message_id}))

        tally = count(queue, records, [*published, "case-lost"], result_queues=(names.ai_results, names.reports), is_whole=_is_whole)
        records.close()

    assert tally.lost == 1 + 2  # no record, no result, no report
    assert (tally.doubled, tally.repeats, tally.is_clean) == (1, 1, False)
