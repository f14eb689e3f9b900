"""Versions whose files lie in a bucket: because a setting names it, or because the MLflow that is served has them there."""

import os
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from pydantic import SecretStr

from eye_dx_cli.serving import commands
from eye_dx_core import wiring
from eye_dx_core.errors import BadSettings
from eye_dx_core.files.object_store import ObjectStore, open_store
from eye_dx_core.model.checkpoint import load_checkpoint
from eye_dx_core.registry.port import CHAMPION, ModelRegistry
from eye_dx_core.registry.promotion import promote
from eye_dx_core.settings import Settings, child_environment, get_settings
from tests.checkpoints import a_checkpoint
from tests.faults.own_servers import free_port
from tests.services import own_s3, wait_for

GOOD = {"balanced_accuracy": 0.8, "worst_recall": 0.5, "chance": 0.125}

# MLflow's own: its tables use what SQLAlchemy 2.1 deprecates, and its client leaves sockets and files to the collector.
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning", "ignore::ResourceWarning"
)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    with own_s3() as address:
        for name in ("EYE_DX_S3_ENDPOINT", "MLFLOW_S3_ENDPOINT_URL"):
            monkeypatch.setenv(name, address)
        store = open_store(address)
        store.mkdir("clinic-models")
        yield store


def settings_with(monkeypatch: pytest.MonkeyPatch, folder: Path, **named: str) -> Settings:
    """As a process of an installation reads them, which also tells MLflow where the store is."""
    for name, value in (named | {"state_dir": str(folder)}).items():
        monkeypatch.setenv(f"EYE_DX_{name.upper()}", value)
    return get_settings()


def register_promote_and_fetch(registry: ModelRegistry, checkpoint: Path) -> None:
    version = registry.add_candidate(checkpoint, metrics=GOOD, tags={})
    promote(registry, None, reason="test", by="test")
    champion = registry.find_by_alias(CHAMPION)
    assert champion is not None
    fetched = load_checkpoint(registry.download(champion.version))
    known = load_checkpoint(checkpoint)
    assert (champion.version, fetched.sha256) == (version.version, known.sha256)
    batch = torch.rand(1, 3, known.card.preprocess.size, known.card.preprocess.size)
    with torch.inference_mode():
        assert torch.equal(known.model(batch), fetched.model(batch))


def names_in(bucket: ObjectStore) -> set[str]:
    return {path.rpartition("/")[2] for path in bucket.find("clinic-models/eye-dx")}


def test_a_version_is_kept_in_the_bucket_that_the_setting_names(bucket: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    settings = settings_with(monkeypatch, tmp_path / "state", mlflow_artifacts="s3://clinic-models/eye-dx/")

    register_promote_and_fetch(wiring.open_registry(settings), a_checkpoint(tmp_path / "checkpoint"))

    assert {"model.safetensors", "card.json", "trunk.safetensors"} <= names_in(bucket)
    assert not (settings.state / "mlruns" / "artifacts").exists()


def test_an_experiment_that_keeps_its_files_elsewhere_is_named(bucket: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    before = settings_with(monkeypatch, tmp_path / "state")
    checkpoint = a_checkpoint(tmp_path / "checkpoint")
    wiring.open_registry(before).add_candidate(checkpoint, metrics=GOOD, tags={})
    after = settings_with(monkeypatch, tmp_path / "state", mlflow_artifacts="s3://clinic-models/eye-dx")

    with pytest.raises(BadSettings, match="rename that experiment"):
        wiring.open_registry(after).add_candidate(checkpoint, metrics=GOOD, tags={})
    assert wiring.open_registry(after).download("1").exists()


def test_a_store_that_mlflow_was_told_by_itself_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for told, used in (("https://models.clinic.example", "https://models.clinic.example"), ("", "https://photos.clinic.example")):
        monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", told)
        settings = settings_with(monkeypatch, tmp_path, s3_endpoint="https://photos.clinic.example")
        assert child_environment(settings)["MLFLOW_S3_ENDPOINT_URL"] == used


@contextmanager
def a_served_mlflow(settings: Settings) -> Iterator[None]:
    """The server as `eye-dx serve mlflow` starts it."""
    address = f"http://127.0.0.1:{settings.mlflow_port}/health"
    wiring.open_registry(settings).versions()  # makes the database, as `eye-dx serve` does before
    server = subprocess.Popen(commands(settings)["mlflow"], env=child_environment(settings), cwd=settings.state, start_new_session=True)
    try:
        assert wait_for(lambda: answers(address), seconds=120)
        yield
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=2):
            return True
    except OSError:
        return False


def test_a_host_that_knows_only_the_server_of_mlflow_needs_no_bucket(bucket: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    served = settings_with(monkeypatch, tmp_path / "main", mlflow_artifacts="s3://clinic-models/eye-dx", mlflow_port=str(free_port()))
    with a_served_mlflow(served), monkeypatch.context() as elsewhere:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "EYE_DX_S3_ENDPOINT", "MLFLOW_S3_ENDPOINT_URL"):
            elsewhere.delenv(name, raising=False)
        host = Settings(
            state_dir=tmp_path / "host", mlflow_artifacts=None, mlflow_tracking_uri=SecretStr(f"http://127.0.0.1:{served.mlflow_port}")
        )
        register_promote_and_fetch(wiring.open_registry(host), a_checkpoint(tmp_path / "checkpoint"))

    assert {"model.safetensors", "card.json", "trunk.safetensors"} <= names_in(bucket)
    assert not (host.state / "mlruns" / "artifacts").exists()
