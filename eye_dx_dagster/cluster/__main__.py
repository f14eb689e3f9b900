"""`python -m eye_dx_dagster.cluster`: one worker, and the process that starts it again when it is killed.

Takes the options of `celery worker`. What runs need is imported once, here; the worker is a fork of this process and its pool forks of
the worker, so that they share the memory, and a worker that was killed is back in a moment instead of after half a minute.
"""

import gc
import importlib
import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress

from eye_dx_dagster.cluster.worker import app

_LIBRARIES = (  # what a worker and its runs import late and slowly; none may start a thread, which no fork would have
    "celery.apps.worker",
    "celery.bin.celery",
    "celery.concurrency.prefork",
    "kombu.transport.pyamqp",
    "psycopg",
    "dagster_postgres",
    "eye_dx_dagster.definitions",
    "eye_dx_core.casework",
    "eye_dx_core.inference.engines.choosing",
    "eye_dx_core.inference.intake",
    "eye_dx_core.inference.predictor",
    "eye_dx_core.queue.draining",
    "eye_dx_core.queue.rabbitmq",
    "eye_dx_core.records.sql",
    "eye_dx_core.registry.mlflow",
    "mlflow.store.tracking.sqlalchemy_store",
)
_STOPS, _ENDED = {signal.SIGTERM, signal.SIGINT}, {signal.SIGCHLD}
_PAUSE_SECONDS = 0.2
"""Before a killed worker is started again: what killed it may still be going on."""

log = logging.getLogger("eye_dx_dagster.cluster")


def main() -> None:
    """Keep a worker alive until it ends by itself, and end as it did."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS | _ENDED)  # they are waited for, so none comes at a bad moment
    for name in _LIBRARIES:
        importlib.import_module(name)
    gc.freeze()  # what is here stays: no collection of a fork need look at it, which takes half a second and unshares the memory
    while True:
        status, is_told = _outlive(_start())
        if status >= 0 or is_told:
            sys.exit(max(status, 0))
        log.warning("the worker was killed by signal %d: it is started again", -status)
        if signal.sigtimedwait(_STOPS, _PAUSE_SECONDS) is not None:
            sys.exit(0)


def _start() -> int:
    """The worker's process."""
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPS | _ENDED)
        sys.exit(app.worker_main(["--quiet", "worker", *sys.argv[1:]]))
    return child


def _outlive(child: int) -> tuple[int, bool]:
    """Its exit code, or minus the signal that killed it, and whether somebody said meanwhile that it is time to stop; it is told so."""
    is_told = False
    while True:
        if signal.sigwait(_STOPS | _ENDED) in _STOPS:
            is_told = True
            os.kill(child, signal.SIGTERM)  # Ctrl-C has reached it too; to be told twice to finish what it has begun changes nothing
            continue
        for pid, status in _reap():
            if pid == child:
                return os.waitstatus_to_exitcode(status), is_told


def _reap() -> Iterator[tuple[int, int]]:
    """Children that have ended; as the first process of a container this one has every orphan too."""
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            yield ended


if __name__ == "__main__":
    main()
