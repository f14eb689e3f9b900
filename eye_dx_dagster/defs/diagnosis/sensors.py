"""Sensors look, runs drain: a sensor reads a depth, takes nothing and acknowledges nothing."""

from collections.abc import Callable
from math import ceil

import dagster as dg

from eye_dx_core.errors import ServiceUnavailable
from eye_dx_core.queue.port import Queue
from eye_dx_core.records.port import Records
from eye_dx_core.settings import Settings
from eye_dx_dagster.defs.diagnosis.jobs import READ_TOGETHER, delivery_job, diagnosis_job, find_screenings

# The daemon's loop wakes every 5 s; a shorter interval would change nothing.
INTERVAL_SECONDS = 5
ACTIVE = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def request_run_when(
    context: dg.SensorEvaluationContext, job: dg.JobDefinition, count_waiting: Callable[[], dict[str, int]], *, at_most: int = 1
) -> list[dg.RunRequest] | dg.SkipReason:
    """Ask for as many runs of the job as what waits is worth, where the active runs of it will not take that soon.

    A dead broker is a skip that says so. A database that is down is found before, when the resources open: it fails the tick.
    """
    active = len(context.instance.get_runs(dg.RunsFilter(job_name=job.name, statuses=ACTIVE), limit=at_most))
    if active == at_most:
        return dg.SkipReason(f"every run of {job.name} that may be ({at_most}) is active and will take what waits")
    try:
        waiting = {name: count for name, count in count_waiting().items() if count}
    except ServiceUnavailable as error:
        return dg.SkipReason(f"cannot look: {error}")
    if not waiting:
        return dg.SkipReason("nothing waits")
    wanted = min(at_most, ceil(sum(waiting.values()) / READ_TOGETHER))
    if wanted <= active:
        return dg.SkipReason(f"{active} active of at most {at_most} runs of {job.name} will take what waits soon")
    tags = {f"eye_dx/waiting/{name}": str(count) for name, count in waiting.items()}
    return [dg.RunRequest(tags=tags) for _ in range(wanted - active)]


@dg.sensor(job=diagnosis_job, minimum_interval_seconds=INTERVAL_SECONDS, default_status=dg.DefaultSensorStatus.RUNNING)
def screening_sensor(
    context: dg.SensorEvaluationContext,
    settings: dg.ResourceParam[Settings],
    queue: dg.ResourceParam[Queue],
    records: dg.ResourceParam[Records],
) -> list[dg.RunRequest] | dg.SkipReason:
    """Start a diagnosis run when screenings wait on a queue, or stored cases wait for the model.

    Where EYE_DX_DIAGNOSIS_RUNS allows several, more join while more waits than the active ones read in one go.
    """

    def count_waiting() -> dict[str, int]:
        found = find_screenings(settings, queue, records)
        if settings.diagnosis_runs > 1 and found["undiagnosed"]:
            found["undiagnosed"] = records.backlog().undiagnosed
        return found

    return request_run_when(context, diagnosis_job, count_waiting, at_most=settings.diagnosis_runs)


@dg.sensor(job=delivery_job, minimum_interval_seconds=30, default_status=dg.DefaultSensorStatus.RUNNING)
def outbox_sensor(context: dg.SensorEvaluationContext, records: dg.ResourceParam[Records]) -> list[dg.RunRequest] | dg.SkipReason:
    """Start a delivery run when results are stored, not yet confirmed by the broker, and due."""
    return request_run_when(context, delivery_job, lambda: {"unsent": int(records.find_work().to_send)})
