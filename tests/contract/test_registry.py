"""Every adapter of the port `ModelRegistry` keeps the same promises; promotion works on all of them."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from eye_dx_core.errors import BadCheckpoint, NotFound, PromotionRefused
from eye_dx_core.model.checkpoint import load_checkpoint, save_checkpoint
from eye_dx_core.registry.memory import MemoryRegistry
from eye_dx_core.registry.mlflow import TRUNK_TAG, MlflowRegistry, start_training_run
from eye_dx_core.registry.overview import registry_table
from eye_dx_core.registry.port import CANDIDATE, CHALLENGER, CHAMPION, DATA, MADE_BY, PREVIOUS_CHAMPION, ModelRegistry
from eye_dx_core.registry.promotion import challenge, end_challenge, promote, rollback
from tests.checkpoints import a_checkpoint
from tests.services import own_postgres, wait_for

PROJECT = Path(__file__).parents[2]
GOOD = {"balanced_accuracy": 0.8, "worst_recall": 0.5, "chance": 0.125}

# MLflow's own: its tables use what SQLAlchemy 2.1 deprecates, and its client leaves sockets and files to the collector.
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning", "ignore::ResourceWarning"
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One MLflow store for the module: its first use takes seconds."""
    return tmp_path_factory.mktemp("mlruns")


def places_in(store: Path) -> dict[str, Any]:
    return {"artifact_location": (store / "artifacts").as_uri(), "downloads": store / "downloaded"}


@pytest.fixture(params=["memory", "mlflow"])
def registry(request: pytest.FixtureRequest, tmp_path: Path, store: Path) -> Iterator[ModelRegistry]:
    if request.param == "memory":
        yield MemoryRegistry(tmp_path / "registry")
        return
    yield MlflowRegistry(f"sqlite:///{store}/mlflow.db", model_name=f"model-{tmp_path.name}", **places_in(store))


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return a_checkpoint(tmp_path / "checkpoint")


def test_a_registered_checkpoint_is_the_candidate(registry: ModelRegistry, checkpoint: Path):
    version = registry.add_candidate(checkpoint, metrics=GOOD, tags={"trained_on": "phantoms"})

    found = registry.find_by_alias(CANDIDATE)
    assert found == version
    assert (version.metrics, version.aliases) == (GOOD, (CANDIDATE,))
    assert version.learnt_from_phantoms
    assert version.checkpoint_sha256 == load_checkpoint(checkpoint).sha256


def test_a_download_gives_the_same_logits(registry: ModelRegistry, checkpoint: Path):
    version = registry.add_candidate(checkpoint, metrics=GOOD, tags={})
    before, after = load_checkpoint(checkpoint), load_checkpoint(registry.download(version.version))
    batch = torch.rand(2, 3, before.card.preprocess.size, before.card.preprocess.size)

    with torch.inference_mode():
        assert torch.equal(before.model(batch), after.model(batch))


def test_a_checkpoint_that_holds_everything_needs_no_trunk(registry: ModelRegistry, checkpoint: Path, tmp_path: Path):
    known = load_checkpoint(checkpoint)
    card = known.card.model_copy(update={"method": "full", "trunk_sha256": "e" * 64})
    save_checkpoint(tmp_path / "whole", known.model, card, trunk=None)

    folder = registry.download(registry.add_candidate(tmp_path / "whole", metrics=GOOD, tags={}).version)

    assert not (folder / "trunk.safetensors").exists()
    assert torch.equal(load_checkpoint(folder).model.head.weight, known.model.head.weight)


def test_a_trunk_is_kept_once_for_all_versions(store: Path, checkpoint: Path, tmp_path: Path):
    registry = MlflowRegistry(f"sqlite:///{store}/mlflow.db", model_name=f"model-{tmp_path.name}", **places_in(store))

    def kept() -> int:
        return len([path for path in store.rglob("trunk.safetensors") if not path.is_symlink()])

    before = kept()
    folders = [registry.download(registry.add_candidate(checkpoint, metrics=GOOD, tags={}).version) for _ in range(2)]

    assert kept() == before + 1
    assert (folders[0] / "trunk.safetensors").samefile(folders[1] / "trunk.safetensors")


def test_a_trunk_is_found_when_its_experiment_was_renamed_and_missed_when_it_is_nowhere(store: Path, checkpoint: Path, tmp_path: Path):
    from mlflow.tracking import MlflowClient

    uri, name = f"sqlite:///{store}/mlflow.db", f"model-{tmp_path.name}"
    registry = MlflowRegistry(uri, model_name=name, artifact_location=(store / "artifacts").as_uri(), downloads=tmp_path / "downloaded")
    client, version = MlflowClient(tracking_uri=uri), registry.add_candidate(checkpoint, metrics=GOOD, tags={}).version
    for experiment in (name, f"{name}-trunks"):
        known = client.get_experiment_by_name(experiment)
        assert known is not None
        client.rename_experiment(known.experiment_id, f"{experiment}-before")

    load_checkpoint(registry.download(version))

    shutil.rmtree(tmp_path / "downloaded")
    for run in client.search_runs([one.experiment_id for one in client.search_experiments()], f"tags.`{TRUNK_TAG}` LIKE '%'"):
        client.set_tag(run.info.run_id, TRUNK_TAG, "x")
    with pytest.raises(BadCheckpoint, match="no run in MLflow has the trunk"):
        registry.download(version)
    assert not any(tmp_path.glob("downloaded/*"))  # nothing half that the next try would take for whole


def test_exchanged_weights_are_refused(registry: ModelRegistry, checkpoint: Path):
    version = registry.add_candidate(checkpoint, metrics=GOOD, tags={})
    weights = registry.download(version.version) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")

    with pytest.raises(BadCheckpoint, match="hash"):
        registry.download(version.version)


def test_what_is_not_there_is_not_found(registry: ModelRegistry):
    assert registry.find_by_alias(CHAMPION) is None
    assert registry.versions() == ()
    for act in (lambda: registry.get_version("9"), lambda: registry.set_alias("x", "9"), lambda: registry.download("9")):
        with pytest.raises(NotFound):
            act()


def test_promotion_keeps_the_former_champion_and_can_be_taken_back(registry: ModelRegistry, checkpoint: Path):
    first = registry.add_candidate(checkpoint, metrics=GOOD, tags={})
    promote(registry, None, reason="first", by="Dr. Test")
    second = registry.add_candidate(checkpoint, metrics=GOOD, tags={})
    promote(registry, second.version, reason="newer photographs", by="Dr. Test")

    assert [one.version for one in registry.versions()] == [second.version, first.version]
    champion, previous = registry.find_by_alias(CHAMPION), registry.find_by_alias(PREVIOUS_CHAMPION)
    assert champion is not None
    assert previous is not None
    assert (champion.version, previous.version) == (second.version, first.version)
    assert champion.tags["promoted.reason"] == "newer photographs"

    assert rollback(registry, reason="misses AMD", by="Dr. Test").version == first.version
    back = registry.find_by_alias(CHAMPION)
    assert back is not None
    assert back.version == first.version


def test_promotion_needs_a_reason_and_a_better_model(registry: ModelRegistry, checkpoint: Path):
    registry.add_candidate(checkpoint, metrics=GOOD | {"worst_recall": 0.0}, tags={})

    with pytest.raises(PromotionRefused, match="reason"):
        promote(registry, None, reason=" ", by="Dr. Test")
    with pytest.raises(PromotionRefused, match="worst class"):
        promote(registry, None, reason="hope", by="Dr. Test")
    assert registry.find_by_alias(CHAMPION) is None
    with pytest.raises(NotFound):
        rollback(registry, reason="x", by="y")


def test_a_challenger_is_named_with_a_reason_beside_a_champion_and_never_is_the_champion(
    registry: ModelRegistry, checkpoint: Path, tmp_path: Path
):
    first = registry.add_candidate(checkpoint, metrics=GOOD, tags={})
    with pytest.raises(NotFound, match="no champion to read beside"):
        challenge(registry, None, reason="new trunk", by="Dr. Test")
    promote(registry, None, reason="first", by="Dr. Test")
    with pytest.raises(PromotionRefused, match="cannot challenge itself"):
        challenge(registry, first.version, reason="new trunk", by="Dr. Test")
    registry.add_candidate(checkpoint, metrics=GOOD, tags={})
    with pytest.raises(PromotionRefused, match="has the weights of the champion"):
        challenge(registry, None, reason="new trunk", by="Dr. Test")
    second = registry.add_candidate(a_checkpoint(tmp_path / "other", seed=4), metrics=GOOD | {"worst_recall": 0.0}, tags={})
    with pytest.raises(PromotionRefused, match="a reason"):
        challenge(registry, None, reason=" ", by="Dr. Test")

    challenger = challenge(registry, None, reason="new trunk", by="Dr. Test")  # no rule is asked

    assert (challenger.version, registry.find_by_alias(CHALLENGER)) == (second.version, challenger)
    assert (challenger.tags["challenges.reason"], challenger.tags["challenges.by"]) == ("new trunk", "Dr. Test")
    assert (champion := registry.find_by_alias(CHAMPION)) is not None
    assert champion.version == first.version
    assert "challenges: new trunk (Dr. Test" in registry_table(registry.versions())


@pytest.mark.slow
@pytest.mark.service
def test_processes_that_meet_an_empty_store_at_once_wait_for_each_other(tmp_path: Path):
    script = "from eye_dx_core import wiring; from eye_dx_core.settings import get_settings; wiring.prepare_registry(get_settings())"
    with own_postgres() as records, own_postgres() as store:
        environment = os.environ | {"EYE_DX_STATE_DIR": str(tmp_path), "EYE_DX_RECORDS_URL": records}
        environment["EYE_DX_MLFLOW_TRACKING_URI"] = store.replace("+psycopg:", "+psycopg2:")
        processes = [subprocess.Popen([sys.executable, "-c", script], env=environment, cwd=PROJECT) for _ in range(3)]
        assert [process.wait(120) for process in processes] == [0, 0, 0]


def test_a_challenge_ends_with_a_reason_and_its_version_stays(registry: ModelRegistry, checkpoint: Path, tmp_path: Path):
    registry.add_candidate(checkpoint, metrics=GOOD, tags={})
    promote(registry, None, reason="first", by="Dr. Test")
    with pytest.raises(NotFound, match="no challenger"):
        end_challenge(registry, reason="never began", by="Dr. Test")
    second = registry.add_candidate(a_checkpoint(tmp_path / "other", seed=4), metrics=GOOD, tags={})
    challenge(registry, None, reason="new trunk", by="Dr. Test")
    with pytest.raises(PromotionRefused, match="a reason"):
        end_challenge(registry, reason="", by="Dr. Test")

    ended = end_challenge(registry, reason="differs on AMD", by="Dr. Test")

    assert (ended.version, CHALLENGER in ended.aliases, registry.find_by_alias(CHALLENGER)) == (second.version, False, None)
    assert "challenge ended: differs on AMD (Dr. Test" in registry_table(registry.versions())
    registry.drop_alias(CHALLENGER)  # it is gone already
    assert challenge(registry, second.version, reason="again", by="Dr. Test").version == second.version


def test_mlflow_serves_the_same_probabilities_without_a_pickle(store: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch):
    import mlflow

    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    uri = f"sqlite:///{store}/mlflow.db"
    registry = MlflowRegistry(uri, model_name="served", **places_in(store))
    registry.add_candidate(checkpoint, metrics=GOOD, tags={})
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    served = mlflow.pyfunc.load_model("models:/served/1")
    ours = load_checkpoint(checkpoint)
    size = ours.card.preprocess.size
    squares = np.random.default_rng(0).integers(0, 255, (2, size, size, 3), dtype=np.uint8)

    with torch.inference_mode():
        expected = ours.probabilities(ours.model(ours.card.preprocess.to_batch(squares))).numpy()
    assert np.allclose(served.predict(squares), expected)
    assert not [path for path in store.rglob("*") if path.suffix in (".pkl", ".pickle", ".pt", ".pth")]


def test_epochs_and_the_load_are_written_while_a_run_is_open_and_a_failure_is_marked(store: Path, monkeypatch: pytest.MonkeyPatch):
    from mlflow.tracking import MlflowClient

    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.1")

    uri = f"sqlite:///{store}/mlflow.db"
    client = MlflowClient(tracking_uri=uri)
    with (  # noqa: PT012 - the block is what fails
        pytest.raises(ZeroDivisionError),
        start_training_run(
            uri,
            "runs",
            params={"epochs": 2},
            tags={"dagster.run_id": "r"},
            dataset=("d", "f" * 64),
            artifact_location=(store / "artifacts").as_uri(),
        ) as run,
    ):
        wait_for(lambda: client.get_metric_history(run.run_id, "system/cpu_utilization_percentage"))
        run.log_epoch(0, {"loss": 2.0})
        run.log_epoch(1, {"loss": 1.0})
        assert [one.value for one in client.get_metric_history(run.run_id, "loss")] == [2.0, 1.0]
        1 / 0  # noqa: B018

    kept = client.get_run(run.run_id)
    assert kept.info.status == "FAILED"
    assert kept.data.tags["dagster.run_id"] == "r"


def test_the_overview_says_who_is_trusted_and_why(registry: ModelRegistry, checkpoint: Path):
    for reason in ("first", "newer | better"):
        version = registry.add_candidate(checkpoint, metrics=GOOD, tags={DATA: "d" * 64, MADE_BY: "c" * 40})
        promote(registry, version.version, reason=reason, by="Dr. Test")
    rollback(registry, reason="misses AMD", by="Dr. Test")

    table = registry_table(registry.versions()).splitlines()

    first, second = (next(line for line in table if line.startswith(f"| {version} |")) for version in ("1", "2"))
    assert "| champion |" in first
    assert "promoted: first (Dr. Test" in first
    assert "| dddddddddddd | cccccccccccc |" in first
    assert "rolled back: misses AMD (Dr. Test" in second
