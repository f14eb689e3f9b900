"""The report job: take in doctors' reviews, write the reports, send them."""

from dataclasses import replace

import dagster as dg

from eye_dx_core.queue.port import Queue
from eye_dx_core.records.port import Records
from eye_dx_core.settings import Settings
from eye_dx_dagster.defs.diagnosis.jobs import RETRY, STARTED_BY_SENSOR, deliver, utc_now
from eye_dx_dagster.resources import as_discreet_failures

# Observed and never materialised: its page in the UI plots the counts of every report run.
LANGUAGE_MODEL = dg.AssetSpec(
    "language_model_guard",
    group_name="reports",
    owners=["team:screening-operations"],
    kinds={"python"},
    tags={"domain": "report"},
    description="What became of the language model's texts: passed, passed on a second try, refused, model unavailable.",
)


@dg.op(retry_policy=RETRY, tags={"domain": "report"}, out=dg.Out(dg.Nothing))
def drain_reviews(
    context: dg.OpExecutionContext, settings: dg.ResourceParam[Settings], queue: dg.ResourceParam[Queue], records: dg.ResourceParam[Records]
) -> None:
    """Store waiting reviews with what the AI had said, and settle their messages."""
    from eye_dx_core.queue.draining import drain_reviews as drain

    with as_discreet_failures():
        result = drain(queue, records, names=settings.queue_names, limit=settings.drain_limit, now=utc_now)
    context.add_output_metadata(result.model_dump())


@dg.op(ins={"reviewed": dg.In(dg.Nothing)}, out=dg.Out(dg.Nothing), pool="llm", retry_policy=RETRY, tags={"domain": "report"})
def write_reports(context: dg.OpExecutionContext, settings: dg.ResourceParam[Settings], records: dg.ResourceParam[Records]) -> None:
    """Write the report of every reviewed case; after the last retry the template writes instead of the language model."""
    from eye_dx_core import casework, wiring
    from eye_dx_core.reporting.language_model.outcomes import count_outcomes

    with as_discreet_failures():
        outlet = replace(wiring.report_outlet(settings), run_id=context.run_id)
        reports = casework.report_waiting(
            records,
            wiring.find_chat_model(settings),
            outlet=outlet,
            limit=settings.drain_limit,
            lease_seconds=settings.lease_seconds,
            now=utc_now,
            is_last_try=context.retry_number >= RETRY.max_retries,
            instructions=wiring.find_instructions(settings),
        )
    count = count_outcomes(reports)
    fallbacks = sum(report.fallback_reason is not None for report in reports)
    files = {report.case_id: dg.MetadataValue.path(outlet.files.address(casework.report_pdf(report.case_id))) for report in reports}
    context.add_output_metadata({"written": len(reports), "by_template_instead": fallbacks} | count.metadata | files)
    if count.asked:
        context.log_event(dg.AssetObservation(LANGUAGE_MODEL.key, description=count.reason, metadata=count.metadata))


@dg.job(executor_def=dg.in_process_executor, tags={"domain": "report"} | STARTED_BY_SENSOR)
def report_job() -> None:
    """From doctors' reviews to delivered reports: drain, write, deliver. Safe to kill and to start again at any point."""
    deliver(write_reports(drain_reviews()))
