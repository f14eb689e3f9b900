"""The diagnosis job: drain the queues, let the model read, send the results. Started by the sensors, with no payload."""

from datetime import UTC, datetime

import dagster as dg

from eye_dx_core.queue.port import Queue
from eye_dx_core.records.port import Records
from eye_dx_core.registry.port import ModelRegistry
from eye_dx_core.settings import Settings
from eye_dx_dagster.resources import as_dagster_failures

RETRY = dg.RetryPolicy(max_retries=3, delay=5, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)


def utc_now() -> datetime:
    """The aware time now."""
    return datetime.now(UTC)


@dg.op(retry_policy=RETRY, tags={"domain": "diagnosis"}, out=dg.Out(dg.Nothing))
def drain_screenings(
    context: dg.OpExecutionContext, settings: dg.ResourceParam[Settings], queue: dg.ResourceParam[Queue], records: dg.ResourceParam[Records]
) -> None:
    """Store waiting screenings and settle their messages; what cannot be understood becomes a dead letter with its reason."""
    from eye_dx_core.queue.draining import drain_screenings as drain

    with as_dagster_failures():
        result = drain(queue, records, names=settings.queue_names, limit=settings.drain_limit, now=utc_now)
    context.add_output_metadata(result.model_dump())


@dg.op(ins={"drained": dg.In(dg.Nothing)}, out=dg.Out(dg.Nothing), pool="gpu", retry_policy=RETRY, tags={"domain": "diagnosis"})
def diagnose(
    context: dg.OpExecutionContext,
    settings: dg.ResourceParam[Settings],
    records: dg.ResourceParam[Records],
    registry: dg.ResourceParam[ModelRegistry],
) -> None:
    """Let the champion read the waiting cases; its version is resolved once and stored in every diagnosis."""
    if not records.find_work().to_diagnose:
        context.log.info("no case waits for a diagnosis")
        return
    from eye_dx_core import casework, wiring

    with as_dagster_failures():
        champion = wiring.get_champion(registry)
        if champion.learnt_from_phantoms:
            context.log.warning("champion %s was trained on phantoms: it must not read patients", champion.version)
        done = casework.diagnose_waiting(
            records,
            wiring.load_predictor(registry, champion),
            wiring.photo_roots(settings),
            outlet=wiring.diagnosis_outlet(settings),
            limit=settings.drain_limit,
            micro_batch=settings.micro_batch,
            lease_seconds=settings.lease_seconds,
            now=utc_now,
        )
    context.add_output_metadata({"diagnosed": len(done), "model_version": champion.version})


@dg.op(ins={"stored": dg.In(dg.Nothing)}, out=dg.Out(dg.Nothing), retry_policy=RETRY, tags={"domain": "delivery"})
def deliver(
    context: dg.OpExecutionContext, settings: dg.ResourceParam[Settings], queue: dg.ResourceParam[Queue], records: dg.ResourceParam[Records]
) -> None:
    """Publish what waits in the outbox; a message counts as sent only after the broker confirmed it."""
    from eye_dx_core.queue.outbox import deliver_outbox

    with as_dagster_failures():
        delivered = deliver_outbox(queue, records, limit=settings.drain_limit, now=utc_now)
    context.add_output_metadata({"sent": delivered.sent, "failed": delivered.failed})


@dg.job(executor_def=dg.in_process_executor, tags={"domain": "diagnosis"})
def diagnosis_job() -> None:
    """From waiting messages to AI results: drain, diagnose, deliver. Safe to kill and to start again at any point."""
    deliver(diagnose(drain_screenings()))


@dg.job(executor_def=dg.in_process_executor, tags={"domain": "delivery"})
def delivery_job() -> None:
    """Publish what an earlier run could not."""
    deliver.alias("deliver_outbox")()
