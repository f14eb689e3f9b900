"""Thirty days of runs and ticks, with housekeeping every night: the state folder stops growing when the term is reached."""

import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteInstigatorOrigin, RemoteRepositoryOrigin
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, SensorInstigatorData, TickData, TickStatus

from eye_dx_core.message_flow import CLAIMS
from eye_dx_core.registry.memory import MemoryRegistry
from eye_dx_core.settings import Settings
from eye_dx_dagster.defs.housekeeping import nightly
from tests.dagster.past import add_run, folder_bytes, run_ids

pytestmark = pytest.mark.filterwarnings("ignore::dagster.BetaWarning", "ignore::DeprecationWarning")

START, DAYS, TERM = datetime(2026, 3, 1, tzinfo=UTC), 30, 5
RUNS_A_DAY = 144
"""As many as `message_flow_schedule` starts."""
TICKS_A_DAY = 288
"""One in sixty of those of a sensor that ticks every five seconds."""
SKIPPED_DAYS = 3
FLOW_CHECKS = [("message_flow", rule.__name__) for rule in CLAIMS]


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    home = tmp_path / "dagster_home"
    home.mkdir()
    retention = {"sensor": {"purge_after_days": {"skipped": SKIPPED_DAYS}}}
    with dg.instance_for_test(temp_dir=str(home), overrides={"retention": retention}) as opened:
        yield opened


def a_sensor(instance: dg.DagsterInstance) -> InstigatorState:
    origin = RemoteInstigatorOrigin(RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("here"), "repository"), "screening_sensor")
    state = InstigatorState(origin, InstigatorType.SENSOR, InstigatorStatus.RUNNING, SensorInstigatorData())
    instance.add_instigator_state(state)
    return state


def live_a_day(instance: dg.DagsterInstance, sensor: InstigatorState, day: datetime) -> None:
    for number in range(RUNS_A_DAY):
        at = day + timedelta(minutes=10 * number)
        add_run(instance, at=at, materializes=[("message_flow", None)], checks=FLOW_CHECKS, log="INFO - looked\n" * 60)
    for number in range(TICKS_A_DAY):
        at = (day + timedelta(minutes=5 * number)).timestamp()
        names = (sensor.instigator_origin_id, sensor.name, sensor.instigator_type, TickStatus.SKIPPED)
        instance.create_tick(TickData(*names, at, skip_reason="nothing waits", selector_id=sensor.selector_id))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_thirty_days_of_runs_and_ticks_keep_the_folder_bounded(instance: dg.DagsterInstance, tmp_path: Path):
    settings = Settings(state_dir=tmp_path, keep_runs_days=TERM)
    registry, sensor = MemoryRegistry(tmp_path / "registry"), a_sensor(instance)
    sizes, table = (
        list[int](),
        ["", f"{RUNS_A_DAY} runs, {TICKS_A_DAY} ticks a day; kept {TERM} and {SKIPPED_DAYS} days", "day runs ticks deleted MB"],
    )
    for number in range(DAYS):
        live_a_day(instance, sensor, START + timedelta(days=number))
        night = START + timedelta(days=number + 1)
        counts = {name: count for act in nightly._parts(instance, settings, registry, night).values() for name, count in act().items()}
        ticks = len(instance.get_ticks(sensor.instigator_origin_id, sensor.selector_id))
        sizes.append(folder_bytes(tmp_path))
        table.append(f"{number + 1:3} {len(run_ids(instance)):4} {ticks:5} {counts['runs_deleted']:7} {sizes[-1] / 1e6:5.1f}")
    sys.stdout.write("\n".join([*table, ""]))  # with `pytest -s`

    assert len(run_ids(instance)) <= RUNS_A_DAY * (TERM + 1)
    assert len(instance.get_ticks(sensor.instigator_origin_id, sensor.selector_id)) <= TICKS_A_DAY * SKIPPED_DAYS + 1
    full = sizes[TERM + 2]
    assert max(sizes[TERM + 2 :]) < 1.1 * full, "it goes on growing after the term"
    growth = (sizes[TERM - 1] - sizes[0]) / (TERM - 1)
    assert growth * DAYS > 3 * full, "without housekeeping it would be several times as large"
