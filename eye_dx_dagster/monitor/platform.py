"""What Dagster's instance says of its daemon, its runs and its ticks; names that are not ours are left out."""

import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster._core.scheduler.instigation import InstigatorState

from eye_dx_core.schema.frozen import Frozen
from eye_dx_dagster.defs.housekeeping.alerts import failing_jobs, is_failing

_NOW = {
    "QUEUED": [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED],
    "STARTED": [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING],
}
_ENDED = {"SUCCESS": dg.DagsterRunStatus.SUCCESS, "FAILURE": dg.DagsterRunStatus.FAILURE, "CANCELED": dg.DagsterRunStatus.CANCELED}
_DAY = timedelta(days=1)
DAEMON_PATIENCE_SECONDS = 300.0
"""Hearts beat every half minute, and later behind a slow sensor; Dagster's own half hour is long for a patient."""


class Names(Frozen):
    """Jobs, sensors and schedules of ours."""

    jobs: tuple[str, ...]
    sensors: tuple[str, ...]
    schedules: tuple[str, ...]


class Ticking(Frozen):
    """A sensor or schedule: whether it is switched on, when it last ticked, and whether its last ticks failed."""

    kind: str
    name: str
    is_on: bool
    last_at: float | None
    is_failing: bool


class Daemon(Frozen):
    """One thread of Dagster's daemon; its heart beats every half minute."""

    name: str
    is_well: bool
    heartbeat_at: float | None


class History(Frozen):
    """Runs of the last 24 hours by job and the state in which they ended, and the jobs whose last run failed."""

    ended: dict[tuple[str, str], int]
    failing_jobs: tuple[str, ...]


class PlatformState(Frozen):
    """Runs by job and state, sensors and schedules, and the daemon, as they are now."""

    runs: dict[tuple[str, str], int]
    ticking: tuple[Ticking, ...]
    daemons: tuple[Daemon, ...]

    @property
    def unwell_daemons(self) -> tuple[str, ...]:
        """Those whose heart has not beaten lately."""
        return tuple(one.name for one in self.daemons if not one.is_well)


def names_of(defs: dg.Definitions) -> Names:
    """All that may become a label."""
    repository = defs.get_repository_def()
    return Names(
        jobs=tuple(sorted(one.name for one in repository.get_all_jobs())),
        sensors=tuple(sorted(one.name for one in repository.sensor_defs)),
        schedules=tuple(sorted(one.name for one in repository.schedule_defs)),
    )


def look_at_platform(instance: dg.DagsterInstance, names: Names) -> PlatformState:
    """Ask the instance's database; the cost does not grow with the runs that are over."""
    return PlatformState(runs=_count_now(instance, names), ticking=tuple(_ticking(instance, names)), daemons=tuple(_daemons(instance)))


def look_at_history(instance: dg.DagsterInstance, names: Names) -> History:
    """Count the runs of the last day: a query for each job and state, so not for every scrape."""
    lately = datetime.now(UTC) - _DAY
    ended = {
        (job, state): instance.get_runs_count(dg.RunsFilter(job_name=job, statuses=[status], updated_after=lately))
        for job in names.jobs
        for state, status in _ENDED.items()
    }
    failed = {job for (job, state), count in ended.items() if state == "FAILURE" and count}
    # Only who failed lately may be failing still.
    return History(ended=ended, failing_jobs=tuple(sorted(failed.intersection(failing_jobs(instance)))) if failed else ())


def _count_now(instance: dg.DagsterInstance, names: Names) -> dict[tuple[str, str], int]:
    counted = {(job, state): 0 for job in names.jobs for state in _NOW}
    states = {status: state for state, statuses in _NOW.items() for status in statuses}
    for run in instance.get_runs(dg.RunsFilter(statuses=list(states))):
        if (run.job_name, states[run.status]) in counted:
            counted[run.job_name, states[run.status]] += 1
    return counted


def _ticking(instance: dg.DagsterInstance, names: Names) -> Iterable[Ticking]:
    ours = {"SENSOR": names.sensors, "SCHEDULE": names.schedules}
    for state in instance.all_instigator_state():
        kind = state.instigator_type.value
        if state.name in ours.get(kind, ()):
            yield Ticking(
                kind=kind.lower(),
                name=state.name,
                is_on=state.is_running,
                last_at=_last_tick(instance, state),
                is_failing=is_failing(instance, state),
            )


def _last_tick(instance: dg.DagsterInstance, state: InstigatorState) -> float | None:
    ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1)
    return ticks[0].timestamp if ticks else None


def _daemons(instance: dg.DagsterInstance) -> Iterable[Daemon]:
    beats, now = instance.get_daemon_heartbeats(), time.time()
    for name in instance.get_required_daemon_types():
        at = beats[name].timestamp if name in beats else None
        yield Daemon(name=name.lower(), is_well=at is not None and now - at < DAEMON_PATIENCE_SECONDS, heartbeat_at=at)
