"""Every place of an installation where files of ours are left over, swept in one go."""

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from eye_dx_core.dataset.manifest import load_manifest
from eye_dx_core.errors import BadCheckpoint
from eye_dx_core.housekeeping import leftovers
from eye_dx_core.housekeeping.leftovers import Swept
from eye_dx_core.registry.memory import weights_sha256
from eye_dx_core.registry.port import ModelRegistry
from eye_dx_core.schema.frozen import Frozen
from eye_dx_core.settings import Settings

_SQLITE = "sqlite:///"


class SweptModels(Frozen):
    """What was deleted for good of what somebody had deleted in MLflow, and folders that its database does not know."""

    runs: int = 0
    models: int = 0
    experiments: int = 0
    artifacts: Swept = Swept()
    left: int = 0


def file_sweeps(settings: Settings, registry: ModelRegistry, *, at: datetime) -> dict[str, Callable[[], Swept]]:
    """What to sweep, by place: each by itself, so that one which fails keeps no other from being done."""
    before = at - timedelta(days=settings.keep_runs_days)
    downloads = settings.downloads
    pages = (settings.report_folder, settings.prepared, settings.data / "daily", settings.data / "shadow")
    return {
        "engines": lambda: leftovers.sweep_checkpoint_folders(settings.engines, _known_weights(settings, registry), before=before),
        "downloads": lambda: leftovers.sweep_checkpoint_folders(downloads, _known_weights(settings, registry), before=before),
        "trunks": lambda: leftovers.sweep_trunks(downloads, before=before),
        "squares": lambda: leftovers.sweep_squares(settings.prepared / "cache", _known_photos(settings), before=before),
        "drafts": lambda: leftovers.sweep_drafts(pages, at=at),
        "log": lambda: leftovers.shorten_log(settings.dagster_home / "demo-daemon.log"),
    }


def sweep_models(settings: Settings, *, at: datetime) -> SweptModels:
    """Delete what was deleted in MLflow longer ago than EYE_DX_KEEP_RUNS_DAYS, and folders of runs that it does not know.

    In an object store such folders are not looked for: a bucket may serve more than one MLflow.

    Raises:
        ServiceUnavailable: MLflow's store does not answer.
    """
    file = sqlite_file(settings.mlflow_address)
    if file is not None and not file.exists():
        return SweptModels()  # asking would make one
    from eye_dx_core.registry.mlflow_garbage import collect_garbage, orphaned_artifacts

    term = timedelta(days=settings.keep_runs_days)
    garbage = collect_garbage(settings.mlflow_address, older_than=term)
    if garbage is None:
        return SweptModels()
    folder = settings.artifact_folder
    orphans, strange = orphaned_artifacts(settings.mlflow_address, folder) if folder is not None else ((), 0)
    artifacts = leftovers.sweep(orphans, is_ours=lambda _: True, is_due=lambda path: leftovers.newest_change(path) < at - term)
    return SweptModels(
        runs=garbage.runs,
        models=garbage.models,
        experiments=garbage.experiments,
        artifacts=artifacts + Swept(left=strange),
        left=garbage.left,
    )


def databases_of_ours(settings: Settings) -> tuple[Path, ...]:
    """The files of queue, records and MLflow that are there."""
    addresses = (settings.queue_address, settings.records_address, settings.mlflow_address)
    return tuple(file for file in map(sqlite_file, addresses) if file is not None and file.exists())


def sqlite_file(address: str) -> Path | None:
    """The file of a database, or None for one that is served."""
    return Path(address.removeprefix(_SQLITE)) if address.startswith(_SQLITE) else None


def _known_weights(settings: Settings, registry: ModelRegistry) -> frozenset[str]:
    known = {version.checkpoint_sha256 for version in registry.versions()}
    try:
        known.add(weights_sha256(settings.prepared / "checkpoint"))
    except BadCheckpoint:  # nothing was trained here
        return frozenset(known)
    return frozenset(known)


def _known_photos(settings: Settings) -> frozenset[str] | None:
    path = settings.prepared / "manifest.json"
    return frozenset(row.pixel_sha256 for row in load_manifest(path).rows) if path.exists() else None
