"""What somebody deleted in MLflow goes for good after its term, and never what a registered version was made of."""

import time
from datetime import timedelta
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from eye_dx_core.errors import ServiceUnavailable
from eye_dx_core.files.object_store import open_store
from eye_dx_core.registry.mlflow import MlflowRegistry
from eye_dx_core.registry.mlflow_garbage import Garbage, collect_garbage, orphaned_artifacts
from tests.checkpoints import a_checkpoint
from tests.services import own_s3

# MLflow's own: its tables use what SQLAlchemy 2.1 deprecates, and its client leaves sockets and files to the collector.
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning", "ignore::ResourceWarning"
)
AT_ONCE, DAY = timedelta(0), timedelta(days=1)


class Store:
    """An MLflow store of its own, with a registered version."""

    def __init__(self, folder: Path, artifact_location: str | None = None) -> None:
        self.uri, self.artifacts = f"sqlite:///{folder}/mlflow.db", folder / "artifacts"
        self.location = artifact_location or self.artifacts.as_uri()
        self.client = MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)
        self.registry = MlflowRegistry(self.uri, model_name="model", artifact_location=self.location, downloads=folder / "downloaded")
        trained = self.add_run(self.add_experiment("model"))
        checkpoint = a_checkpoint(folder / "checkpoint")
        self.version = self.registry.add_candidate(checkpoint, metrics={}, tags={"training.mlflow_run_id": trained}).version
        self.trained = trained

    def add_experiment(self, name: str) -> str:
        return self.client.create_experiment(name, artifact_location=self.location)

    def add_run(self, experiment_id: str) -> str:
        run_id = self.client.create_run(experiment_id).info.run_id
        self.client.log_text(run_id, "what a run leaves", "notes.txt")
        return run_id

    def collect(self, older_than: timedelta = AT_ONCE) -> Garbage | None:
        time.sleep(0.01)  # "longer ago than nothing" begins a millisecond later
        return collect_garbage(self.uri, older_than=older_than)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """One for the module: its first use takes seconds."""
    return Store(tmp_path_factory.mktemp("mlruns"))


def test_a_deleted_run_goes_with_its_artifacts_when_its_term_is_over(store: Store):
    run_id = store.add_run(store.add_experiment("a deleted run"))
    store.client.delete_run(run_id)
    kept = store.artifacts / run_id / "artifacts" / "notes.txt"

    assert store.collect(older_than=DAY) == Garbage()
    assert kept.exists()

    assert store.collect() == Garbage(runs=1)
    assert not kept.exists()
    assert "notes.txt" not in {path.name for path in store.artifacts.glob(f"{run_id}/**/*")}


def test_what_a_registered_version_was_made_of_stays_though_somebody_deleted_it(store: Store, tmp_path: Path):
    version = store.client.get_model_version("model", store.version)
    experiment_ids = [one.experiment_id for one in store.client.search_experiments()]
    runs = [run.info.run_id for run in store.client.search_runs(experiment_ids)]
    assert {store.trained, version.run_id} < set(runs)  # and a run that holds the trunk
    for run_id in runs:
        store.client.delete_run(run_id)
    model_id = str(version.source).removeprefix("models:/")
    store.client.delete_logged_model(model_id)

    collected = store.collect()

    assert collected is not None
    assert (collected.runs, collected.models, collected.left) == (0, 0, len(runs) + 1)
    for run_id in runs:
        store.client.restore_run(run_id)
    assert (store.registry.download(store.version) / "model.safetensors").exists()


def test_an_experiment_goes_with_its_runs_unless_a_version_was_made_in_it(store: Store):
    gone, kept = store.add_experiment("gone"), store.client.get_experiment_by_name("model")
    assert kept is not None
    store.add_run(gone)
    store.client.delete_experiment(gone)
    store.client.delete_experiment(kept.experiment_id)

    collected = store.collect()

    assert collected is not None
    assert (collected.runs, collected.experiments) == (1, 1)
    assert collected.left >= 1
    assert "gone" not in {one.name for one in store.client.search_experiments(view_type=3)}
    store.client.restore_experiment(kept.experiment_id)
    assert store.client.get_run(store.trained).info.lifecycle_stage == "active"


def test_folders_that_the_store_does_not_know_are_told_and_known_ones_are_not(store: Store):
    run_id = store.add_run(store.add_experiment("orphans"))
    orphan = store.artifacts / ("0" * 32)
    orphan_model = store.artifacts / "models" / f"m-{'0' * 32}"
    for folder in (orphan, orphan_model, store.artifacts / "by hand"):
        folder.mkdir(parents=True)

    orphans, strange = orphaned_artifacts(store.uri, store.artifacts)

    assert {orphan, orphan_model} <= set(orphans)
    assert store.artifacts / run_id not in orphans
    assert not [path for path in orphans if any(path.rglob("*.safetensors"))]
    assert strange == 1


def test_what_lies_in_a_bucket_goes_the_same_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with own_s3() as address:
        monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", address)
        bucket = open_store(address)
        bucket.mkdir("models")
        store = Store(tmp_path, "s3://models/clinic")
        run_id = store.add_run(store.add_experiment("a deleted run"))
        for one in (run_id, store.trained):
            store.client.delete_run(one)

        assert store.collect() == Garbage(runs=1, left=1)

        kept = bucket.find("models")
    assert not [path for path in kept if run_id in path]
    assert [path for path in kept if store.trained in path]
    assert [path for path in kept if path.endswith("model.safetensors")]


def test_when_the_database_was_lost_its_artifacts_are_no_orphans(store: Store, tmp_path: Path):
    empty = f"sqlite:///{tmp_path}/mlflow.db"

    assert orphaned_artifacts(empty, store.artifacts)[0] == ()


def test_a_served_store_is_left_to_who_serves_it():
    assert collect_garbage("http://127.0.0.1:1", older_than=DAY) is None


def test_a_store_that_cannot_be_read_is_unavailable(tmp_path: Path):
    (tmp_path / "mlflow.db").write_bytes(b"no database" * 1000)

    with pytest.raises(ServiceUnavailable, match="MLflow did not do it"):
        collect_garbage(f"sqlite:///{tmp_path}/mlflow.db", older_than=DAY)
