"""The registry and the training runs in MLflow; models are logged as code with safetensors, never as a pickle."""

import json
import shutil
import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version as installed_version
from pathlib import Path

import mlflow
import numpy as np
from mlflow.artifacts import download_artifacts
from mlflow.entities import Dataset, DatasetInput, RunStatus, ViewType
from mlflow.entities.model_registry import ModelVersion as MlflowVersion
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor
from mlflow.tracking import MlflowClient
from mlflow.types import Schema, TensorSpec

from eye_dx_core.errors import BadCheckpoint, BadSettings, EyeDxError, NotFound, ServiceUnavailable
from eye_dx_core.registry.memory import check_weights, weights_sha256
from eye_dx_core.registry.port import CANDIDATE, TRUNK_FILE, ModelVersion

_SHA, _METRICS = "eye_dx.weights_sha256", "eye_dx.metrics"
TRUNK_TAG = "eye_dx.trunk_sha256"
"""Marks the run that holds a trunk, which all versions that learnt on it share."""
_REQUIREMENTS = ("torch", "timm", "safetensors", "numpy", "pydantic")
_LOOK = "look whether the store of EYE_DX_MLFLOW_TRACKING_URI is up and whole"
_OWNER = "its database must belong to the user of EYE_DX_MLFLOW_TRACKING_URI (createdb --owner)"
_NOT_FOUND = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


class MlflowRegistry:
    """The port `ModelRegistry` on an MLflow tracking store, such as `sqlite:///…/mlflow.db`.

    Args:
        tracking_uri: the store, or a server.
        model_name: in the registry.
        artifact_location: where new experiments keep their files; None leaves it to the server.
        downloads: folder for the checkpoints that are fetched.
    """

    def __init__(self, tracking_uri: str, *, model_name: str, artifact_location: str | None, downloads: Path) -> None:
        self._uri, self._model_name, self._location, self._downloads = tracking_uri, model_name, artifact_location, downloads

    def add_candidate(self, checkpoint: Path, *, metrics: dict[str, float], tags: dict[str, str]) -> ModelVersion:
        """See the port."""
        sha256 = weights_sha256(checkpoint)
        version = self._log_model(checkpoint, metrics, tags)
        self.set_tags(version, tags | {_SHA: sha256, _METRICS: json.dumps(metrics)})
        self.set_alias(CANDIDATE, version)
        return self.get_version(version)

    # MLflow's run declares that its exit may swallow an exception; it never does.
    def _log_model(self, checkpoint: Path, metrics: dict[str, float], tags: dict[str, str]) -> str:  # pyright: ignore[reportReturnType]
        """Log the folder as code and safetensors under a run of its own, and register it; the new version."""
        card = json.loads((checkpoint / "card.json").read_text(encoding="utf-8"))
        with translated_errors():
            _use_store(self._uri)
            experiment_id = _experiment(self._client(), self._model_name, self._location)
            trunk = self._keep_trunk(checkpoint, str(card["trunk_sha256"]))
            with tempfile.TemporaryDirectory() as name, mlflow.start_run(experiment_id=experiment_id, run_name="candidate", tags=tags):
                own = shutil.copytree(checkpoint, Path(name) / "checkpoint", ignore=shutil.ignore_patterns(TRUNK_FILE))
                mlflow.log_metrics({f"test_{name}": value for name, value in metrics.items()})
                return str(
                    mlflow.pyfunc.log_model(
                        name="checkpoint",
                        python_model=str(Path(__file__).with_name("pyfunc_model.py")),
                        artifacts={"checkpoint": str(own)},
                        model_config={"trunk": trunk},
                        signature=_signature(int(card["preprocess"]["size"]), len(card["label_set"]["codes"])),
                        pip_requirements=[f"{name}=={installed_version(name)}" for name in _REQUIREMENTS],
                        registered_model_name=self._model_name,
                        model_type="classifier",
                    ).registered_model_version
                )

    def _keep_trunk(self, checkpoint: Path, sha256: str) -> str | None:
        """Where MLflow keeps the checkpoint's trunk: uploaded once, by a run of its own; None for a checkpoint without one."""
        if not (checkpoint / TRUNK_FILE).exists():
            return None
        client = self._client()
        experiment_id = _experiment(client, f"{self._model_name}-trunks", self._location)
        known = self._find_trunk(sha256, [experiment_id])  # elsewhere it may lie where new hosts cannot reach
        if known is not None:
            return known
        run_id = client.create_run(experiment_id, run_name=f"trunk {sha256[:12]}").info.run_id
        client.log_artifact(run_id, str(checkpoint / TRUNK_FILE))
        # Named only now, so that an upload that was cut off is never found.
        client.set_tag(run_id, TRUNK_TAG, sha256)
        client.set_terminated(run_id)
        return f"runs:/{run_id}/{TRUNK_FILE}"

    def _find_trunk(self, sha256: str, experiment_ids: list[str], view: int = ViewType.ACTIVE_ONLY) -> str | None:
        """The newest upload of a trunk."""
        found = self._client().search_runs(experiment_ids, f"tags.`{TRUNK_TAG}` = '{sha256}'", view, max_results=1)
        return f"runs:/{found[0].info.run_id}/{TRUNK_FILE}" if found else None

    def find_by_alias(self, alias: str) -> ModelVersion | None:
        """See the port."""
        try:
            with translated_errors():
                return self._to_version(self._client().get_model_version_by_alias(self._model_name, alias))
        except NotFound:
            return None

    def get_version(self, version: str) -> ModelVersion:
        """See the port."""
        with translated_errors(f"there is no version {version} of {self._model_name}"):
            return self._to_version(self._client().get_model_version(self._model_name, version))

    def versions(self) -> tuple[ModelVersion, ...]:
        """See the port."""
        with translated_errors():
            found = self._client().search_model_versions(f"name = '{self._model_name}'", max_results=1000)
            newest_first = sorted(found, key=lambda one: int(one.version), reverse=True)
            # Only a single version tells its aliases (mlflow issue 9952).
            return tuple(self.get_version(str(one.version)) for one in newest_first)

    def set_alias(self, alias: str, version: str) -> None:
        """See the port."""
        self.get_version(version)
        with translated_errors():
            self._client().set_registered_model_alias(self._model_name, alias, version)

    def drop_alias(self, alias: str) -> None:
        """See the port."""
        with translated_errors():
            self._client().delete_registered_model_alias(self._model_name, alias)

    def set_tags(self, version: str, tags: dict[str, str]) -> None:
        """See the port."""
        with translated_errors(f"there is no version {version} of {self._model_name}"):
            for name, value in tags.items():
                self._client().set_model_version_tag(self._model_name, version, name, value)

    def download(self, version: str) -> Path:
        """See the port. Kept in a folder named by the hash, so that two versions never meet."""
        known = self.get_version(version)
        kept = self._downloads / known.checkpoint_sha256
        if not (kept / "card.json").is_file():
            kept.parent.mkdir(parents=True, exist_ok=True)
            with translated_errors(), tempfile.TemporaryDirectory(dir=kept.parent) as draft:
                _use_store(self._uri)
                fetched = Path(download_artifacts(f"models:/{self._model_name}/{version}", dst_path=draft))
                checkpoint = next(fetched.rglob("card.json")).parent
                check_weights(checkpoint, known.checkpoint_sha256)
                if _names_trunk(fetched):
                    self._place_trunk(checkpoint)
                if not kept.exists():
                    checkpoint.rename(kept)
        try:
            check_weights(kept, known.checkpoint_sha256)
        except BadCheckpoint as error:
            raise BadCheckpoint(f"{error}: delete mlruns/downloaded/{kept.name} to fetch them again") from None
        return kept

    def _place_trunk(self, checkpoint: Path) -> None:
        """Put the trunk beside the weights that were learnt for it: fetched once, linked into every version."""
        sha256 = json.loads((checkpoint / "card.json").read_text(encoding="utf-8"))["trunk_sha256"]
        # Wherever it is: its experiment may have been renamed or deleted, and the garbage collection leaves trunks alone.
        everywhere = [one.experiment_id for one in self._client().search_experiments(ViewType.ALL)]
        uri = self._find_trunk(sha256, everywhere, ViewType.ALL)
        if uri is None:
            raise BadCheckpoint(
                f"no run in MLflow has the trunk {sha256[:12]}… that this version was trained on: register a checkpoint with the same"
                " trunk again, which uploads it"
            )
        kept = self._downloads / "trunks" / f"{sha256}.safetensors"
        if not kept.exists():
            kept.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=kept.parent) as draft:
                Path(download_artifacts(uri, dst_path=draft)).replace(kept)
        (checkpoint / TRUNK_FILE).symlink_to(kept)

    def _client(self) -> MlflowClient:
        return MlflowClient(tracking_uri=self._uri, registry_uri=self._uri)

    def _to_version(self, one: MlflowVersion) -> ModelVersion:
        tags = {str(name): str(value) for name, value in one.tags.items()}
        return ModelVersion(
            model_name=self._model_name,
            version=str(one.version),
            checkpoint_sha256=tags.pop(_SHA, ""),
            created_at=datetime.fromtimestamp(one.creation_timestamp / 1000, UTC),
            aliases=tuple(sorted(map(str, one.aliases))),
            metrics=json.loads(tags.pop(_METRICS, "{}")),
            tags=tags,
        )


class TrainingRun:
    """An MLflow run while it is open."""

    def __init__(self, client: MlflowClient, run_id: str, experiment_id: str) -> None:
        self._client = client
        self.run_id = run_id
        self.url_path = f"#/experiments/{experiment_id}/runs/{run_id}"

    def log_epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Write the metrics of an epoch, so that its curve can be watched."""
        for name, value in metrics.items():
            self._client.log_metric(self.run_id, name, value, step=epoch)


@contextmanager
def start_training_run(
    tracking_uri: str,
    experiment: str,
    *,
    params: Mapping[str, object],
    tags: Mapping[str, str],
    dataset: tuple[str, str],
    artifact_location: str | None,
) -> Generator[TrainingRun]:
    """Open a run and close it as finished or failed; `dataset` is the name and fingerprint of what is trained on.

    While it is open, the load of processor, memory, disk and GPU is logged beside the metrics.
    """
    with translated_errors():
        client = MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)
        experiment_id = _experiment(client, experiment, artifact_location)
        run_id = client.create_run(experiment_id, run_name="fine-tuning", tags=dict(tags)).info.run_id
        for name, value in params.items():
            client.log_param(run_id, name, value)
        name, fingerprint = dataset
        source = Dataset(name=name, digest=fingerprint[:36], source_type="local", source="{}")
        client.log_inputs(run_id, [DatasetInput(source)])
    status = RunStatus.FAILED
    monitor = SystemMetricsMonitor(run_id, tracking_uri=tracking_uri)
    monitor.start()
    try:
        yield TrainingRun(client, run_id, experiment_id)
        status = RunStatus.FINISHED
    finally:
        monitor.finish()
        client.set_terminated(run_id, RunStatus.to_string(status))


def open_training_run(tracking_uri: str, run_id: str) -> TrainingRun:
    """A run that another process has started and will close.

    Raises:
        NotFound: there is no such run.
    """
    with translated_errors(f"there is no MLflow run {run_id}"):
        client = MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)
        return TrainingRun(client, run_id, client.get_run(run_id).info.experiment_id)


def log_files(tracking_uri: str, run_id: str, paths: Sequence[Path]) -> None:
    """Keep files with a run that has ended."""
    with translated_errors():
        client = MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)
        for path in paths:
            client.log_artifact(run_id, str(path))


def _experiment(client: MlflowClient, name: str, location: str | None) -> str:
    """The experiment of that name, made where it is missing.

    Raises:
        BadSettings: it was made before `EYE_DX_MLFLOW_ARTIFACTS` named an object store, and MLflow cannot move it.
    """
    known = client.get_experiment_by_name(name)
    if known is None:
        return client.create_experiment(name, artifact_location=location)
    if location is not None and location.startswith("s3://") and known.artifact_location != location:
        raise BadSettings(
            f"MLflow keeps the files of the experiment {name} elsewhere than EYE_DX_MLFLOW_ARTIFACTS says, and cannot move them: rename"
            " that experiment in MLflow, and the next training makes a new one; registered versions stay as they are"
        )
    return known.experiment_id


def _names_trunk(model: Path) -> bool:
    """Whether what MLflow keeps of a version needs a trunk beside it."""
    return bool(Model.load(str(model)).flavors["python_function"].get("config", {}).get("trunk"))


def _signature(size: int, labels: int) -> ModelSignature:
    squares = TensorSpec(np.dtype(np.uint8), (-1, size, size, 3))
    return ModelSignature(inputs=Schema([squares]), outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, labels))]))


def _use_store(uri: str) -> None:
    """Logging and downloading models go through MLflow's process-wide store; a process of ours has only this one."""
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)


@contextmanager
def translated_errors(not_found: str = "not in the registry") -> Generator[None]:
    """Turn whatever MLflow raises into our errors, without its text."""
    try:
        yield
    except EyeDxError:
        raise
    except MlflowException as error:
        if error.error_code in _NOT_FOUND:
            raise NotFound(not_found) from None
        # Its text repeats the store's URL with the password in it, and Dagster stores the texts of causes.
        raise ServiceUnavailable(f"MLflow did not do it ({error.error_code}): {_LOOK}") from None
    except Exception as error:  # noqa: BLE001 - its text may hold the password too
        # Its client lets through whatever its database and HTTP libraries raise.
        look = _OWNER if "permission denied" in str(error) else _LOOK
        raise ServiceUnavailable(f"MLflow did not do it ({type(error).__name__}): {look}") from None
