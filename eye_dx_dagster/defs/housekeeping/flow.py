"""What waits and what was set aside, as an asset with alarms."""

from datetime import timedelta

import dagster as dg

from eye_dx_core import message_flow as core
from eye_dx_core.queue.port import Queue
from eye_dx_core.records.port import Records
from eye_dx_core.settings import Settings, get_settings
from eye_dx_dagster.defs.diagnosis.jobs import utc_now
from eye_dx_dagster.resources import as_discreet_failures

WARNING_ONLY = frozenset({core.no_dead_letters.__name__})
"""What nobody waits for. Every other broken claim keeps a result from a patient."""


@dg.asset(
    group_name="operations",
    owners=["team:screening-operations"],
    kinds={"python"},
    tags={"domain": "housekeeping"},
    freshness_policy=dg.FreshnessPolicy.time_window(fail_window=timedelta(minutes=30), warn_window=timedelta(minutes=20)),
    check_specs=[dg.AssetCheckSpec(rule.__name__, asset="message_flow", description=rule.__doc__) for rule in core.CLAIMS],
)
def message_flow(
    settings: dg.ResourceParam[Settings], queue: dg.ResourceParam[Queue], records: dg.ResourceParam[Records]
) -> dg.MaterializeResult:
    """Does every message get through? Looked at every ten minutes: what waits where and since when, and what was set aside and why.

    The checks are the alarms; each says what to do. When this is not fresh, nobody is looking: the daemon or its runs stand still.
    """
    with as_discreet_failures():
        flow = core.look_at_flow(queue, records, names=settings.queue_names, at=utc_now())
    findings = core.judge(flow, alarm_after=timedelta(minutes=settings.alarm_minutes))
    return dg.MaterializeResult(metadata=_metadata(flow), check_results=[_to_check(one) for one in findings])


def _metadata(flow: core.MessageFlow) -> dict[str, dg.MetadataValue | int | float]:
    """Numbers are plotted over time by Dagster."""
    return {
        "waiting": flow.waiting,
        "dead_letters": flow.dead,
        "oldest_unsent_minutes": _minutes(flow.age(flow.backlog.oldest_unsent_at)),
        "oldest_undiagnosed_minutes": _minutes(flow.age(flow.backlog.oldest_undiagnosed_at)),
        "queues": dg.MetadataValue.md(core.queues_table(flow)),
        "backlog": dg.MetadataValue.md(core.backlog_table(flow)),
        "set_aside": dg.MetadataValue.md(core.dead_letters_table(flow)),
    }


def _minutes(age: timedelta) -> float:
    return round(age.total_seconds() / 60, 1)


def _to_check(finding: core.Finding) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name=finding.claim,
        passed=finding.holds,
        severity=dg.AssetCheckSeverity.WARN if finding.claim in WARNING_ONLY else dg.AssetCheckSeverity.ERROR,
        description=finding.reason,
    )


message_flow_job = dg.define_asset_job(
    "message_flow_job",
    selection=[message_flow],
    executor_def=dg.in_process_executor,
    description="Look at what waits and what was set aside; the checks of message_flow are the alarms.",
    tags={"domain": "housekeeping"},
)


@dg.schedule(
    job=message_flow_job,
    cron_schedule="*/10 * * * *",
    execution_timezone=get_settings().timezone,
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
def message_flow_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """Every ten minutes: late enough to cost little, soon enough to call somebody while the patient still waits."""
    return dg.RunRequest(run_key=context.scheduled_execution_time.isoformat())
