"""Deletes for good what somebody deleted in MLflow long ago, as `mlflow gc` does, but never what a registered version was made of.

`mlflow gc` itself asks only how long ago something was deleted: it would take the training run, or the weights, of the champion.
"""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.tracking import MlflowClient

# The methods of the store that begin with an underscore are what `mlflow gc` calls; there is no public way, and the contract test
# of this module runs them on every version that is installed.
from mlflow.tracking._tracking_service.utils import _get_store  # pyright: ignore[reportPrivateUsage]

from eye_dx_core.registry.mlflow import TRUNK_TAG, translated_errors
from eye_dx_core.schema.frozen import Frozen

_PAGE = 1000
_RUN_FOLDER, _MODEL_FOLDER = re.compile(r"[0-9a-f]{32}"), re.compile(r"m-[0-9a-f]{32}")
_TRAINING_RUN = "training.mlflow_run_id"


class Garbage(Frozen):
    """What was deleted for good, and what was left: deleted by somebody, but a registered version was made of it."""

    runs: int = 0
    models: int = 0
    experiments: int = 0
    left: int = 0


class _Referred(Frozen):
    """What registered versions were made of."""

    runs: frozenset[str]
    models: frozenset[str]


def collect_garbage(tracking_uri: str, *, older_than: timedelta) -> Garbage | None:
    """Delete runs, models and experiments that were deleted in MLflow longer ago than that, with their artifacts.

    None where MLflow is served: only the machine that holds its database can do it.

    Raises:
        ServiceUnavailable: the store does not answer.
    """
    with translated_errors():
        store = _get_store(tracking_uri)
        if not hasattr(store, "_hard_delete_run"):
            return None
        client, age = MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri), int(older_than.total_seconds() * 1000)
        referred = _referred(client, store)
        runs, models = set[str](store._get_deleted_runs(older_than=age)), set[str](store._get_deleted_logged_models(older_than=age))  # noqa: SLF001
        for run_id in runs - referred.runs:
            get_artifact_repository(str(client.get_run(run_id).info.artifact_uri)).delete_artifacts()
            store._hard_delete_run(run_id)  # noqa: SLF001
        for model_id in models - referred.models:
            get_artifact_repository(store.get_logged_model(model_id, allow_deleted=True).artifact_location).delete_artifacts()
            store._hard_delete_logged_model(model_id)  # noqa: SLF001
        experiments = [one for one in _deleted_experiments(client, before=datetime.now(UTC) - older_than) if _is_empty(client, store, one)]
        for experiment_id in experiments:
            store._hard_delete_experiment(experiment_id)  # noqa: SLF001
    left = len(runs & referred.runs) + len(models & referred.models)
    return Garbage(runs=len(runs - referred.runs), models=len(models - referred.models), experiments=len(experiments), left=left)


def orphaned_artifacts(tracking_uri: str, artifacts: Path) -> tuple[tuple[Path, ...], int]:
    """Folders of runs and models that MLflow's database does not know, and how many entries are neither.

    None are told when the database knows nothing of what lies there: then it is the database that was lost or exchanged.

    Raises:
        ServiceUnavailable: the store does not answer.
    """
    with translated_errors():
        store = _get_store(tracking_uri)
        if not hasattr(store, "_hard_delete_run"):
            return (), 0
        runs = {path for path in _folders(artifacts) if _RUN_FOLDER.fullmatch(path.name)}
        models = {path for path in _folders(artifacts / "models") if _MODEL_FOLDER.fullmatch(path.name)}
        known = {path for path in runs if _is_known(store.get_run, path.name)}
        known |= {path for path in models if _is_known(partial(store.get_logged_model, allow_deleted=True), path.name)}
    entries = {*_folders(artifacts), *_folders(artifacts / "models")} - {artifacts / "models"}
    orphans = sorted((runs | models) - known) if known else []
    return tuple(orphans), len(entries - runs - models)


def _referred(client: MlflowClient, store: Any) -> _Referred:  # noqa: ANN401 - MLflow's store has no public type
    """By the versions of every registered model, not only of ours: the store may be shared."""
    runs, models = set[str](), set[str]()
    for version in _pages(lambda token: client.search_model_versions(max_results=_PAGE, page_token=token)):
        named = re.fullmatch(r"models:/(m-[0-9a-f]+)", str(version.source))
        if named:
            models.add(named[1])
            if _is_known(partial(store.get_logged_model, allow_deleted=True), named[1]):
                runs.add(str(store.get_logged_model(named[1], allow_deleted=True).source_run_id))
        runs |= {str(version.run_id), str(version.tags.get(_TRAINING_RUN))}
    experiments = [one.experiment_id for one in _experiments(client, ViewType.ALL)]
    trunks = f"tags.`{TRUNK_TAG}` LIKE '%'"
    for run in _pages(lambda token: client.search_runs(experiments, trunks, ViewType.ALL, _PAGE, page_token=token)) if experiments else ():
        runs.add(run.info.run_id)  # any version may have learnt on this trunk
    return _Referred(runs=frozenset(runs), models=frozenset(models))


def _experiments(client: MlflowClient, view: int) -> Iterator[Any]:
    return _pages(lambda token: client.search_experiments(view, _PAGE, page_token=token))


def _deleted_experiments(client: MlflowClient, *, before: datetime) -> Iterator[str]:
    deleted = ((str(one.experiment_id), one.last_update_time) for one in _experiments(client, ViewType.DELETED_ONLY))
    return (name for name, at in deleted if at is not None and at < before.timestamp() * 1000)


def _is_empty(client: MlflowClient, store: Any, experiment_id: str) -> bool:  # noqa: ANN401 - as above
    """An experiment takes its runs and models along, so it goes after them."""
    runs = client.search_runs([experiment_id], run_view_type=ViewType.ALL, max_results=1)
    return not runs and not store.search_logged_models([experiment_id], max_results=1)


def _is_known(get: Callable[[str], object], name: str) -> bool:
    try:
        get(name)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return False
        raise
    return True


def _folders(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _pages(load: Callable[[str | None], Any]) -> Iterator[Any]:
    token = None
    while True:
        page = load(token)
        yield from page
        token = page.token
        if not token:
            return
