"""Starts runs as Celery tasks; what became of them is told by the workers, in Dagster's own log."""

import warnings
from collections.abc import Mapping
from typing import Any, Self

from celery.exceptions import DuplicateTaskNameWarning
from dagster._serdes import ConfigurableClassData
from dagster_celery.launcher import CeleryRunLauncher
from dagster_celery.tags import DAGSTER_CELERY_TASK_ID_TAG

from eye_dx_dagster.cluster.app import configure

# dagster-celery makes its task anew for each run, and Celery would warn of each.
warnings.filterwarnings("ignore", category=DuplicateTaskNameWarning, module="dagster_celery")


class ClusterRunLauncher(CeleryRunLauncher):
    """Dagster's Celery launcher, with our queues and without a store of results.

    Such a store keeps what became of each task, and a worker that was killed writes nothing there. RabbitMQ knows better: it
    gives what a dead worker had to another one, and that tells Dagster (see `worker`). So nobody need be asked.
    """

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]) -> Self:
        """As Dagster builds it from dagster.yaml."""
        launcher = super().from_config_value(inst_data, config_value)
        configure(launcher.celery)
        return launcher

    @property
    def supports_check_run_worker_health(self) -> bool:
        """A run whose worker died is told by the worker that is given its message."""
        return False

    @property
    def supports_resume_run(self) -> bool:
        """A run of one process has nothing to resume from: a new run takes what waits."""
        return False

    def terminate(self, run_id: str) -> bool:
        """Interrupt the run where it works, as Ctrl-C would; False when it is over or has not reached a worker yet."""
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished or DAGSTER_CELERY_TASK_ID_TAG not in run.tags:
            return False
        self._instance.report_run_canceling(run)
        self.celery.control.revoke(run.tags[DAGSTER_CELERY_TASK_ID_TAG], terminate=True, signal="SIGINT")
        return True
