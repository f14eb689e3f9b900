"""One of the processes that train together, started by `torchrun` for the asset `fine_tuned_checkpoint`; Dagster hears the first.

torchrun --standalone --nproc-per-node 2 -m eye_dx_dagster.defs.training.team_process '{"knobs": {…}, "mlflow_run_id": "…"}'
"""

import json
import logging
import sys
from collections.abc import Mapping

from dagster_pipes import open_dagster_pipes

from eye_dx_core.registry.mlflow import open_training_run
from eye_dx_core.settings import Settings, get_settings
from eye_dx_core.training.team import join_team
from eye_dx_dagster.defs.training.running import run_fine_tuning


def main() -> None:
    """Train; the first process also reports each epoch."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("eye_dx_core").setLevel(logging.INFO)
    order, settings = json.loads(sys.argv[1]), get_settings()
    if join_team().is_first:
        report_epochs(settings, order["knobs"], order["mlflow_run_id"])
        return
    for _ in run_fine_tuning(settings, order["knobs"]):
        pass


def report_epochs(settings: Settings, knobs: Mapping[str, object], mlflow_run_id: str) -> None:
    """Each epoch to Dagster's log and to the MLflow run that Dagster has opened."""
    run = open_training_run(settings.mlflow_address, mlflow_run_id)
    with open_dagster_pipes() as pipes:
        for epoch in run_fine_tuning(settings, knobs):
            run.log_epoch(epoch.epoch, epoch.as_metrics())
            pipes.log.info(str(epoch))


if __name__ == "__main__":
    main()
