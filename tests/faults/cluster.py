"""The trial cluster as `eye-dx cluster` starts it, on a broker and a database of its own: Celery's queues have fixed names."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import dagster as dg
import psutil
import pytest

from eye_dx_core.queue.topology import QueueNames
from eye_dx_core.settings import child_environment
from tests.faults.installation import Installation
from tests.faults.own_servers import own_rabbit
from tests.services import own_postgres


class Cluster(Installation):
    """UI, daemon, desk, MLflow and two Celery workers; workers can be killed alone."""

    diagnosis_runs = 2

    is_cluster = True

    def command(self) -> list[str]:
        return [sys.executable, "-c", "from eye_dx_cli.main import run; run()", "cluster", "--workers", "2", "--places", "2"]

    def told(self) -> dict[str, str]:
        return super().told() | self.ports | {"EYE_DX_DIAGNOSIS_RUNS": str(self.diagnosis_runs)}

    @contextmanager
    def instance(self) -> Iterator[dg.DagsterInstance]:
        """Dagster's own view of the runs, in PostgreSQL."""
        with pytest.MonkeyPatch.context() as patch:
            for name, value in child_environment(self.settings).items():
                patch.setenv(name, value)
            with dg.DagsterInstance.from_config(str(self.settings.dagster_home)) as instance:
                yield instance

    def workers(self) -> list[psutil.Process]:
        """The workers' main processes: each was forked by the process that starts it again, and forks those that execute runs."""
        return [worker for one in self.processes() if _is_keeper(one) for worker in one.children()]

    def stop(self, how: signal.Signals, seconds: float) -> int:
        """As Ctrl-C or a service manager does; its exit code when everything has ended."""
        assert self._daemon is not None
        processes = self.processes()[1:]
        self._daemon.send_signal(how)
        _, alive = psutil.wait_procs(processes, timeout=seconds)
        assert not alive
        return self._daemon.wait(seconds)

    def kill_worker(self, worker: psutil.Process) -> None:
        """As a machine that loses its power: the main process and what executes runs, at once."""
        with suppress(psutil.NoSuchProcess):
            for one in [worker, *worker.children(recursive=True)]:
                with suppress(psutil.NoSuchProcess):
                    one.kill()


def _is_keeper(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
        parent = process.parent()
        return _is_ours(process) and (parent is None or not _is_ours(parent))
    return False


def _is_ours(process: psutil.Process) -> bool:
    command = process.cmdline()
    return "eye_dx_dagster.cluster" in command and Path(command[0]).name.startswith("python")


@contextmanager
def own_worker_cluster(folder: Path) -> Iterator[Cluster]:
    """A cluster that is not started yet."""
    with own_rabbit() as rabbit, own_postgres() as postgres:
        cluster = Cluster(folder, rabbit.url, postgres, QueueNames())
        try:
            yield cluster
        finally:
            cluster.close()
