"""A real daemon, and what it started, is killed at any moment of its work, whole or in part; a sensor dies in the middle of its look."""

import random
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from eye_dx_core.records.port import CaseRecord
from tests.faults.chain import Stack, look_and_die
from tests.faults.installation import Installation
from tests.faults.tally import count, note
from tests.faults.warm import processes
from tests.services import EMBEDDED, SERVERS, STACKS, services

pytestmark = [pytest.mark.timeout(3600), pytest.mark.filterwarnings("ignore")]  # MLflow and Dagster warn of themselves
VICTIMS: dict[str, Callable[[Installation], None]] = {
    "the daemon with all it started": Installation.cut_power,
    "the daemon alone": Installation.kill_daemon,
    "the code server alone": Installation.kill_code_server,
}


@contextmanager
def installed(kind: str, folder: Path) -> Iterator[Installation]:
    with services(kind, folder) as (queue_url, records_url, names, _):
        installation = Installation(folder, queue_url, records_url, names)
        try:
            yield installation
        finally:
            installation.close()


def assert_whole(one: Installation, published: list[str], *, kind: str, point: str, times: int) -> None:
    """Everything is read and delivered in the end, by whoever is there then."""
    one.start_daemon()
    one.wait(lambda: all(map(one.records.find_diagnosis, published)) and not one.records.backlog().unsent, 180)
    one.cut_power()
    tally = count(one.queue, one.records, published, result_queues=[one.names.ai_results], is_whole=_is_read)
    note(kind, point, times, tally)
    assert tally.is_clean, tally


def _is_read(record: CaseRecord) -> bool:
    return record.diagnosis is not None and len(record.outbox) == 1


LONG = [pytest.param(50, victim, kind, marks=pytest.mark.faults) for victim in VICTIMS for kind in (EMBEDDED, SERVERS)]


@pytest.mark.parametrize(("times", "victim", "kind"), [(1, "the daemon with all it started", EMBEDDED), *LONG])
def test_whoever_is_killed_nothing_is_lost_and_nothing_doubled(times: int, victim: str, kind: str, tmp_path: Path):
    chance = random.Random(times)
    with installed(kind, tmp_path) as one:
        published: list[str] = []
        for number in range(times):
            one.start_daemon()
            published += [one.send(2 * number), one.send(2 * number + 1)]
            one.pause(chance.uniform(1, 12))  # from a daemon that has hardly started to a run that stays ready
            VICTIMS[victim](one)
        assert_whole(one, published, kind=kind, point=victim, times=times)


@pytest.mark.parametrize("kind", STACKS)
@pytest.mark.parametrize(
    "times", [pytest.param(1, id="short", marks=pytest.mark.slow), pytest.param(50, id="long", marks=pytest.mark.faults)]
)
def test_a_sensor_that_dies_in_its_look_loses_nothing(times: int, kind: str, tmp_path: Path):
    with installed(kind, tmp_path) as one:
        stack = Stack(one.settings.queue_address, one.settings.records_address, one.names.model_dump_json(), str(tmp_path))
        published: list[str] = []
        for number in range(times):
            published.append(one.send(number))
            looking = processes().Process(target=look_and_die, args=(stack, str(one.settings.dagster_home)))
            looking.start()
            looking.join(60)
            assert looking.exitcode == -signal.SIGKILL
        assert one.queue.depth(one.names.screenings) == times
        assert_whole(one, published, kind=kind, point="a sensor in the middle of its look", times=times)
