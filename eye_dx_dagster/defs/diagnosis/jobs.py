"""The diagnosis job: drain the queues, let the model read, send the results. Started by the sensors, with no payload."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster._core.errors import DagsterExecutionInterruptedError

from eye_dx_core.errors import EyeDxError
from eye_dx_core.queue.port import Queue
from eye_dx_core.records.port import Records
from eye_dx_core.registry.port import CHALLENGER, ModelRegistry
from eye_dx_core.settings import Settings
from eye_dx_dagster.cluster.queues import FINISH_TAG, GPU, on_queue
from eye_dx_dagster.resources import as_discreet_failures

RETRY = dg.RetryPolicy(max_retries=3, delay=5, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)
_LONGEST_SECONDS = 3600
# So many cases are read before their results go out: nobody waits for a whole backlog to be read.
READ_TOGETHER = 50
_QUEUED_BY_RIGHT = timedelta(seconds=10)
# A sensor starts the next run as soon as something waits, so a run whose process died need not be run again for its own sake.
STARTED_BY_SENSOR = {"dagster/max_retries": "0"}


def utc_now() -> datetime:
    """The aware time now."""
    return datetime.now(UTC)


@dg.op(retry_policy=RETRY, tags={"domain": "diagnosis"}, out=dg.Out(dg.Nothing))
def drain_screenings(
    context: dg.OpExecutionContext, settings: dg.ResourceParam[Settings], queue: dg.ResourceParam[Queue], records: dg.ResourceParam[Records]
) -> None:
    """Store waiting screenings and settle their messages; what cannot be understood becomes a dead letter with its reason."""
    from eye_dx_core.queue.draining import drain_screenings as drain

    with as_discreet_failures():
        result = drain(queue, records, names=settings.queue_names, limit=settings.drain_limit, now=utc_now, run_id=context.run_id)
    context.add_output_metadata(result.model_dump())


@dg.op(ins={"drained": dg.In(dg.Nothing)}, out=dg.Out(dg.Nothing), pool="gpu", retry_policy=RETRY, tags={"domain": "diagnosis"})
def diagnose(
    context: dg.OpExecutionContext,
    settings: dg.ResourceParam[Settings],
    records: dg.ResourceParam[Records],
    registry: dg.ResourceParam[ModelRegistry],
) -> None:
    """Let the champion read the cases that have waited longest; its version is stored in every diagnosis. `stay_ready` reads the rest."""
    with as_discreet_failures():
        if not records.find_work().to_diagnose:
            context.log.info("no case waits for a diagnosis")
            return
        diagnosed, version = read_waiting_cases(context, settings, records, registry)
    context.add_output_metadata({"diagnosed": diagnosed, "model_version": version})


@dg.op(ins={"stored": dg.In(dg.Nothing)}, out=dg.Out(dg.Nothing), retry_policy=RETRY, tags={"domain": "delivery"})
def deliver(context: dg.OpExecutionContext, queue: dg.ResourceParam[Queue], records: dg.ResourceParam[Records]) -> None:
    """Publish what waits in the outbox; a message counts as sent only after the broker confirmed it."""
    from eye_dx_core.queue.outbox import deliver_outbox

    with as_discreet_failures():
        delivered = deliver_outbox(queue, records, now=utc_now)
    context.add_output_metadata({"sent": delivered.sent, "failed": delivered.failed})


@dg.op(ins={"delivered": dg.In(dg.Nothing)}, out=dg.Out(dg.Nothing), pool="gpu", tags={"domain": "diagnosis"})
def stay_ready(
    context: dg.OpExecutionContext,
    settings: dg.ResourceParam[Settings],
    queue: dg.ResourceParam[Queue],
    records: dg.ResourceParam[Records],
    registry: dg.ResourceParam[ModelRegistry],
) -> None:
    """Keep the champion in memory and drain, read and deliver what comes within a second.

    Ends when nothing has come for EYE_DX_LINGER_SECONDS, when another run waits for its turn, when its worker is told to stop, and
    after an hour; the sensor then starts a new run for the next screening, which takes as long as a process and a model take to load.
    """
    from eye_dx_core.queue.draining import drain_screenings as drain
    from eye_dx_core.queue.outbox import deliver_outbox
    from eye_dx_core.standby import stand_by

    is_busy = False

    def work() -> bool:
        nonlocal is_busy
        if not any(find_screenings(settings, queue, records).values()):
            return False
        is_busy = True
        drain(queue, records, names=settings.queue_names, limit=settings.drain_limit, now=utc_now, run_id=context.run_id)
        if records.find_work().to_diagnose:
            diagnosed, _ = read_waiting_cases(context, settings, records, registry)
            context.log.info("%s cases read", diagnosed)
        deliver_outbox(queue, records, now=utc_now)
        is_busy = False
        return True

    def is_told_to_finish() -> bool:
        run = context.instance.get_run_by_id(context.run_id)
        return run is not None and FINISH_TAG in run.tags

    try:
        with as_discreet_failures():
            passes = stand_by(
                work,
                must_give_way=lambda: is_a_run_waiting(context.instance),
                must_end=is_told_to_finish,
                idle_seconds=settings.linger_seconds,
                total_seconds=_LONGEST_SECONDS,
            )
        context.add_output_metadata({"passes": passes})
    except DagsterExecutionInterruptedError:
        if is_busy:
            raise
        context.log.info("told to stop while nothing was to do")


@dg.op(ins={"idle": dg.In(dg.Nothing)}, out=dg.Out(dg.Nothing), pool="gpu", tags={"domain": "diagnosis"})
def read_as_shadow(
    context: dg.OpExecutionContext,
    settings: dg.ResourceParam[Settings],
    queue: dg.ResourceParam[Queue],
    records: dg.ResourceParam[Records],
    registry: dg.ResourceParam[ModelRegistry],
) -> None:
    """Where EYE_DX_SHADOW is on: let the challenger read what the champion has read, while nobody waits. It sends nothing.

    Comes last, when every result is on its way, and never fails the run: what a challenger trips over is a warning.
    """
    if not settings.shadow:
        context.log.info("shadow mode is off (EYE_DX_SHADOW)")
        return
    try:
        context.add_output_metadata(read_what_was_read(context, settings, queue, records, registry))
    except DagsterExecutionInterruptedError:
        context.log.info("told to stop; what the challenger has read is kept")
    except EyeDxError as error:
        context.log.warning("the challenger did not read on: %s", error)
    except Exception as error:  # noqa: BLE001 - whatever a challenger does, the diagnoses are sent and the run is well
        # The class only: a library's own text may hold a path, and a path may hold a name.
        context.log.warning("the challenger did not read on: %s", type(error).__name__)


def read_what_was_read(
    context: dg.OpExecutionContext, settings: Settings, queue: Queue, records: Records, registry: ModelRegistry
) -> dict[str, str | int | bool]:
    """One pass of the challenger; what to tell of it."""
    from eye_dx_core import shadowing, wiring

    champion, challenger = wiring.get_champion(registry), registry.find_by_alias(CHALLENGER)
    if challenger is None or challenger.version == champion.version:
        context.log.info("no challenger: `eye-dx registry challenge VERSION --reason …` names one")
        return {"read": 0}
    done = shadowing.shadow_waiting(
        records,
        wiring.load_readers(registry, champion=champion, challenger=challenger, settings=settings),
        wiring.photo_intake(settings),
        rules=wiring.routing_rules(settings),
        limit=settings.drain_limit,
        micro_batch=settings.micro_batch,
        now=utc_now,
        must_give_way=lambda: any(find_screenings(settings, queue, records).values()) or is_a_run_waiting(context.instance),
    )
    return {"challenger": challenger.version, "champion": champion.version} | done.model_dump()


def is_a_run_waiting(instance: dg.DagsterInstance) -> bool:
    """Whether a run waits for a place: every run is in the queue for a second, and one that stays there waits."""
    waiting = dg.RunsFilter(statuses=[dg.DagsterRunStatus.QUEUED], created_before=utc_now() - _QUEUED_BY_RIGHT)
    return bool(instance.get_runs(waiting, limit=1))


def find_screenings(settings: Settings, queue: Queue, records: Records) -> dict[str, int]:
    """What a diagnosis run would find: messages by queue, and whether stored cases wait for the model."""
    depths = {name: queue.depth(name) for name in settings.queue_names.screening_queues}
    return depths | {"undiagnosed": int(records.find_work().to_diagnose)}


def read_waiting_cases(context: dg.OpExecutionContext, settings: Settings, records: Records, registry: ModelRegistry) -> tuple[int, str]:
    """Read some waiting cases with whoever is the champion now; return how many, and the champion's version."""
    from eye_dx_core import casework, wiring

    champion = wiring.get_champion(registry)
    if champion.learnt_from_phantoms:
        context.log.warning("champion %s was trained on phantoms: it must not read patients", champion.version)
    photos = wiring.photo_intake(settings)
    photos.start()  # while the champion loads
    done = casework.diagnose_waiting(
        records,
        wiring.load_predictor(registry, champion, settings),
        photos,
        outlet=replace(wiring.diagnosis_outlet(settings), run_id=context.run_id),
        limit=READ_TOGETHER,
        micro_batch=settings.micro_batch,
        lease_seconds=settings.lease_seconds,
        now=utc_now,
    )
    return len(done), champion.version


@dg.job(executor_def=dg.in_process_executor, tags={"domain": "diagnosis"} | STARTED_BY_SENSOR | on_queue(GPU))
def diagnosis_job() -> None:
    """From waiting messages to AI results: drain, diagnose, deliver, stay ready, then shadow. Safe to kill and to start again."""
    read_as_shadow(stay_ready(deliver(diagnose(drain_screenings()))))


@dg.job(executor_def=dg.in_process_executor, tags={"domain": "delivery"} | STARTED_BY_SENSOR)
def delivery_job() -> None:
    """Publish what an earlier run could not."""
    deliver.alias("deliver_outbox")()
