"""Calls somebody when an urgent case is overdue, a message was set aside, or a sensor, schedule or job keeps failing."""

from contextlib import closing

import dagster as dg
from dagster._core.scheduler.instigation import InstigatorState, TickStatus

from eye_dx_core import alerts as core
from eye_dx_core import wiring
from eye_dx_core.errors import EyeDxError, ServiceUnavailable
from eye_dx_core.settings import Settings
from eye_dx_dagster.defs.diagnosis.jobs import utc_now

FAILING_TICKS = 3
"""A sensor that failed so often in a row is not about to mend itself; its one failed tick may be a database that was restarted."""
_RUNS_LOOKED_AT = 200


@dg.sensor(minimum_interval_seconds=60, default_status=dg.DefaultSensorStatus.RUNNING)
def alert_sensor(context: dg.SensorEvaluationContext, settings: dg.ResourceParam[Settings]) -> dg.SkipReason:
    """Tell EYE_DX_ALERT_WEBHOOK, once for each cause until it is over: ids and counts, nothing of a patient. Off when it is not set."""
    if settings.alert_webhook is None:
        return dg.SkipReason("EYE_DX_ALERT_WEBHOOK is not set: nobody is called")
    state = core.parse_state(context.cursor)
    found = (*_find_causes(settings, state), *failing(context.instance))
    try:
        state = core.call_for(found, state, webhook=settings.alert_webhook.get_secret_value(), at=utc_now())
    except EyeDxError as error:
        context.log.warning("nobody was called for %s causes: %s", len(found), error)
        return dg.SkipReason(f"{error}; the next look tries again")
    context.update_cursor(state.model_dump_json())
    return dg.SkipReason(f"{len(state.raised)} causes, {state.calls} calls so far" if found else "nothing is wrong")


def _find_causes(settings: Settings, state: core.AlertState) -> tuple[core.Cause, ...]:
    """Opened here and not as resources: when the database is down, that is what somebody is called for."""
    try:
        with closing(wiring.open_queue(settings)) as queue, closing(wiring.open_records(settings)) as records:
            return core.find_causes(queue, records, names=settings.queue_names, at=utc_now())
    except ServiceUnavailable:
        # What was wrong before is not over because nobody can look.
        unseen = (one for one in state.raised if one.kind in (core.OVERDUE, core.DEAD_LETTERS))
        return (*unseen, core.Cause(kind=core.UNAVAILABLE))


def failing(instance: dg.DagsterInstance) -> tuple[core.Cause, ...]:
    """Jobs whose last finished run failed, and sensors and schedules whose last ticks did."""
    jobs = (core.Cause(kind="failed_run", id=name) for name in failing_jobs(instance))
    ticking = (state for state in instance.all_instigator_state() if state.name != alert_sensor.name)
    ticks = (core.Cause(kind=f"failed_{one.instigator_type.value.lower()}", id=one.name) for one in ticking if is_failing(instance, one))
    return (*jobs, *ticks)


def failing_jobs(instance: dg.DagsterInstance) -> tuple[str, ...]:
    """Jobs whose last finished run failed."""
    runs = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]), limit=_RUNS_LOOKED_AT)
    last = {run.job_name: run.status for run in reversed(runs)}
    return tuple(name for name, status in last.items() if status is dg.DagsterRunStatus.FAILURE)


def is_failing(instance: dg.DagsterInstance, state: InstigatorState) -> bool:
    """Whether the last ticks of a sensor or schedule failed, as many as count."""
    needed = FAILING_TICKS if state.instigator_type.value == "SENSOR" else 1
    done = (TickStatus.SUCCESS, TickStatus.SKIPPED, TickStatus.FAILURE)
    ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=needed, statuses=list(done))
    return len(ticks) == needed and all(tick.status is TickStatus.FAILURE for tick in ticks)
