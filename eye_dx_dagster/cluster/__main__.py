"""`python -m eye_dx_dagster.cluster`: one worker, and the process that starts it again when it is killed.

Takes the options of `celery worker`. What runs need is imported once, here; the worker is a fork of this process and its pool forks of
the worker, so that they share the memory, and a worker that was killed is back in a moment instead of after all of that.
"""

import ctypes
import gc
import importlib
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress

from celery.bin.celery import celery

from eye_dx_core.logs import start_logging
from eye_dx_core.settings import get_log_format

_LIBRARIES = (  # what a worker and its runs import late and slowly; none may start a thread, which no fork would have
    "celery.apps.worker",
    "celery.concurrency.prefork",
    "kombu.transport.pyamqp",
    "psycopg",
    "dagster_postgres",
    "eye_dx_dagster.cluster.worker",
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
_STOPS, _ENDED = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT}, {signal.SIGCHLD}
_PAUSE_SECONDS, _LONG_PAUSE_SECONDS = 0.2, 10.0
"""Before a killed worker is started again; the long one after a short life: what killed it is still there."""
_SHORT_LIFE_SECONDS = 3.0
_PR_SET_PDEATHSIG = 1
"""Of Linux' prctl(2): which signal a process gets when its parent dies."""

log = logging.getLogger("eye_dx_dagster.cluster")


def main() -> None:
    """Keep a worker alive until it ends by itself, and end as it did."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS | _ENDED)  # they are waited for, so none comes at a bad moment
    start_logging(get_log_format())
    for name in _LIBRARIES:
        importlib.import_module(name)
    gc.freeze()  # what is here stays: no collection of a fork need look at it, which takes half a second and unshares the memory
    while True:
        started = time.monotonic()
        status, is_told = _outlive(_start())
        if status >= 0 or is_told:
            sys.exit(max(status, 0))
        pause = _PAUSE_SECONDS if time.monotonic() - started > _SHORT_LIFE_SECONDS else _LONG_PAUSE_SECONDS
        log.warning("the worker was killed by signal %d: it is started again in %g s", -status, pause)
        if signal.sigtimedwait(_STOPS, pause) is not None:
            sys.exit(0)


def _start() -> int:
    """The worker's process."""
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        if sys.platform == "linux":  # nobody would start it again or tell it to stop
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != parent:
                sys.exit(1)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPS | _ENDED)
        arguments = ["--quiet", "-A", "eye_dx_dagster.cluster.worker", "worker", *sys.argv[1:]]
        sys.exit(celery.main(args=arguments, standalone_mode=False))
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
