"""A worker of the cluster: `eye-dx worker` starts Celery with this module.

Runs are executed in the worker's own processes, which live on: the libraries are loaded and the champion is in memory when
the next run comes. When a worker dies, RabbitMQ gives its messages to another, and Dagster must hear that the runs behind
them have failed: the sensor then starts a new one for what waits, and Dagster retries what it is told to retry.
"""

import os
import time
from typing import Any

import dagster as dg
from billiard.exceptions import WorkerLostError
from celery import Task, signals
from celery.worker import state
from dagster._core.events import EngineEventData
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import unpack_value
from dagster_celery.make_app import make_app
from dagster_celery.tasks import create_execute_job_task

from eye_dx_core.settings import get_settings
from eye_dx_dagster.cluster.app import configure
from eye_dx_dagster.cluster.queues import FINISH_TAG, WORKER_TAG

_ANSWER_SECONDS, _SILENCE_SECONDS = 1.0, 60.0
"""How long one question waits for its answer, and after how long a worker that gives none is gone: when a broker was restarted, all
messages come again, before every worker has found it again."""

app = configure(make_app({"broker": get_settings().celery_broker_address, "backend": "disabled://"}))
execute_run = create_execute_job_task(app)


@signals.task_prerun.connect
def take_run(task: Task, kwargs: dict[str, Any], **_: object) -> None:
    """In the process that will execute a run: note who has it; or, if a dead worker had it, tell that it failed.

    Dagster ignores a second start of a run, so the task that follows does nothing in that case.
    """
    with dg.DagsterInstance.get() as instance:
        run = instance.get_run_by_id(run_id_of(kwargs))
        if run is None or run.is_finished:
            return
        if run.status is dg.DagsterRunStatus.STARTED and not _is_working(run.tags.get(WORKER_TAG, "")):
            fail(instance, run, "the worker that had this run is gone, and the run with it")
        elif run.status is not dg.DagsterRunStatus.STARTED:
            instance.add_run_tags(run.run_id, {WORKER_TAG: f"{task.request.hostname}/{os.getpid()}"})


@signals.task_failure.connect
def lose_run(exception: BaseException, kwargs: dict[str, Any], **_: object) -> None:
    """In the worker's main process: a process of its pool was killed, for want of memory as a rule."""
    if isinstance(exception, WorkerLostError):
        with dg.DagsterInstance.get() as instance:
            run = instance.get_run_by_id(run_id_of(kwargs))
            if run is not None and not run.is_finished:
                fail(instance, run, "the process that executed this run was killed; out of memory?")


@signals.worker_shutting_down.connect
def finish_soon(**_: object) -> None:
    """Told to stop, as for new code: runs that would stay ready for the next screening are told to end now."""
    with dg.DagsterInstance.get() as instance:
        for request in list(state.active_requests):
            instance.add_run_tags(run_id_of(request.kwargs), {FINISH_TAG: "true"})


def run_id_of(kwargs: dict[str, Any]) -> str:
    """The run that a task of dagster-celery is to execute."""
    return unpack_value(kwargs["execute_job_args_packed"], as_type=ExecuteRunArgs).run_id


def fail(instance: dg.DagsterInstance, run: dg.DagsterRun, why: str) -> None:
    """As Dagster's run monitoring does it; which runs are started anew is decided by their tags."""
    instance.report_engine_event(why, run, EngineEventData(), cls=None)
    instance.report_run_failed(run, why)


def _is_working(worker: str) -> bool:
    """Whether that process of that worker still executes something; RabbitMQ also gives away what takes longer than its patience."""
    hostname, _, pid = worker.rpartition("/")
    if not hostname:
        return False
    until = time.monotonic() + _SILENCE_SECONDS
    while (active := app.control.inspect(destination=[hostname], timeout=_ANSWER_SECONDS, limit=1).active()) is None:
        if time.monotonic() > until:
            return False
    return any(str(one["worker_pid"]) == pid and pid != str(os.getpid()) for tasks in active.values() for one in tasks)
