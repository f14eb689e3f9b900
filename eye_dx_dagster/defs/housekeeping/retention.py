"""Forgets what is kept longer than its term, every night."""

import dagster as dg

from eye_dx_core.queue.port import Queue
from eye_dx_core.records.port import Records
from eye_dx_core.settings import Settings, get_settings
from eye_dx_dagster.defs.diagnosis.jobs import RETRY, utc_now
from eye_dx_dagster.resources import as_discreet_failures


@dg.op(retry_policy=RETRY, tags={"domain": "housekeeping"}, out=dg.Out(dg.Nothing))
def forget_after_terms(
    context: dg.OpExecutionContext, settings: dg.ResourceParam[Settings], queue: dg.ResourceParam[Queue], records: dg.ResourceParam[Records]
) -> None:
    """Delete identities, photographs and messages older than EYE_DX_KEEP_…_DAYS; the audit log tells of each act."""
    from eye_dx_core import retention, wiring

    with as_discreet_failures():
        forgotten = retention.forget_after_terms(
            queue, records, wiring.retention_terms(settings), shelves=wiring.shelves(settings), actor="retention_job", now=utc_now
        )
    context.add_output_metadata(forgotten.model_dump())


@dg.job(executor_def=dg.in_process_executor, tags={"domain": "housekeeping"})
def retention_job() -> None:
    """Forget what is kept longer than its term; without terms nothing but old messages as they came."""
    forget_after_terms()


@dg.schedule(
    job=retention_job,
    cron_schedule="15 3 * * *",
    execution_timezone=get_settings().timezone,
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
def retention_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """Once a night, when nobody screens."""
    return dg.RunRequest(run_key=context.scheduled_execution_time.isoformat())
