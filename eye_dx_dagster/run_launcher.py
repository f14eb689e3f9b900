"""Starts runs as Dagster does by default, and notices when a run's process went down with everything around it."""

import json
import socket
from typing import Self

from dagster import DagsterRun
from dagster._core.launcher import CheckRunHealthResult, DefaultRunLauncher, WorkerStatus
from dagster._core.storage.tags import GRPC_INFO_TAG
from dagster._serdes import ConfigurableClassData

_PATIENCE_SECONDS = 5.0


class WatchedRunLauncher(DefaultRunLauncher):
    """Dagster's default launcher, with an answer to "is the process of this run still there?".

    A run's code server reports when the run's process dies. When both die at once, as in a power cut, nobody does: the run stays
    "started", holds its pool, and its sensor waits for it. Dagster's run monitoring asks us instead, and marks the run as failed.
    """

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: object) -> Self:
        """As Dagster builds it from dagster.yaml."""
        return cls(inst_data=inst_data)

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Let run monitoring ask."""
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Failed when the code server that started the run accepts no connection; while it does, it speaks for its runs itself."""
        address = json.loads(run.tags.get(GRPC_INFO_TAG, "{}"))
        if not address or _accepts(address):
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.FAILED, "the process that started this run is gone, and the run with it")


def _accepts(address: dict[str, str | int]) -> bool:
    family, place = (
        (socket.AF_UNIX, str(address["socket"])) if "socket" in address else (socket.AF_INET, (str(address["host"]), int(address["port"])))
    )
    with socket.socket(family) as probe:
        probe.settimeout(_PATIENCE_SECONDS)
        try:
            probe.connect(place)
        except TimeoutError:
            return True  # too busy to answer is not gone
        except OSError:
            return False
    return True
