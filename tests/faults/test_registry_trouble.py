"""The model cannot be had: the diagnosis run says what to do, uses up no case, and after the repair reads the same cases."""

import gc
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from eye_dx_core import wiring
from eye_dx_core.dataset.phantom_folders import write_phantom_photo
from eye_dx_core.queue.draining import drain_screenings
from eye_dx_core.queue.port import Message
from eye_dx_core.queue.topology import QueueNames
from eye_dx_core.records.port import MAX_ATTEMPTS
from eye_dx_core.records.sql import SqlRecords
from eye_dx_core.registry.promotion import promote
from eye_dx_core.schema.case import Laterality
from eye_dx_core.settings import Settings, adopt_environment
from eye_dx_dagster.defs.diagnosis.jobs import diagnose, utc_now
from tests.builders import a_nested_body
from tests.checkpoints import a_checkpoint
from tests.services import open_queue, open_records

# MLflow's own: its tables use what SQLAlchemy 2.1 deprecates, and its client leaves sockets and files to the collector.
pytestmark = pytest.mark.filterwarnings(
    "ignore::dagster.BetaWarning",
    "ignore::DeprecationWarning",
    "ignore::FutureWarning",
    "ignore::UserWarning",
    "ignore::ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)
NAMES = QueueNames()
GOOD = {"balanced_accuracy": 0.8, "worst_recall": 0.5, "chance": 0.125}


@pytest.fixture(scope="module")
def trusted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder with an MLflow store and a champion: made once, because MLflow's first use takes seconds."""
    folder = tmp_path_factory.mktemp("trusted")
    (folder / "data").mkdir()
    registry = wiring.open_registry(Settings(state_dir=folder))
    registry.add_candidate(a_checkpoint(folder / "checkpoint"), metrics=GOOD, tags={})
    promote(registry, None, reason="test", by="test")
    write_phantom_photo(folder / "data" / "OD.jpg", "D3", eye=Laterality.RIGHT, seed=1, size=128)
    return folder


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    """What MLflow leaves of a store that it could not open ends here, and not in the middle of another test."""
    yield
    gc.collect()


@pytest.fixture
def records(tmp_path: Path) -> Iterator[SqlRecords]:
    """Three stored cases that wait for the model."""
    queue, records = open_queue(f"sqlite:///{tmp_path}/queue.db", NAMES), open_records(f"sqlite:///{tmp_path}/records.db")
    for number in range(3):
        queue.publish(NAMES.screenings, Message(body=a_nested_body(f"P{number}", ("OD.jpg",)), message_id=f"m-{number}"))
    drain_screenings(queue, records, names=NAMES, limit=10, now=utc_now)
    queue.close()
    yield records
    records.close()


def run(settings: Settings, records: SqlRecords) -> None:
    """The op `diagnose` as a run calls it, without the waits of its retries."""
    given = {"settings": settings, "records": records, "registry": wiring.open_registry(settings)}
    diagnose(dg.build_op_context(resources=given))


def assert_fails_and_uses_up_no_case(settings: Settings, records: SqlRecords, text: str) -> None:
    for _ in range(MAX_ATTEMPTS + 1):
        with pytest.raises(dg.Failure) as caught:
            run(settings, records)
        assert text in str(caught.value.description)
    backlog = records.backlog()
    assert (backlog.undiagnosed, backlog.stuck, records.find_work().to_diagnose) == (3, 0, True)


def assert_reads(settings: Settings, records: SqlRecords) -> None:
    run(settings, records)
    assert (records.backlog().unreviewed, records.backlog().stuck) == (3, 0)


def test_a_file_that_is_no_database_is_named(trusted: Path, records: SqlRecords, tmp_path: Path):
    (tmp_path / "mlflow.db").write_text("this is no database " * 100)
    broken = Settings(state_dir=trusted, mlflow_tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")

    assert_fails_and_uses_up_no_case(broken, records, "look whether the store of EYE_DX_MLFLOW_TRACKING_URI is up and whole")
    assert_reads(Settings(state_dir=trusted), records)


def test_a_tracking_server_that_is_gone_is_named_within_seconds(trusted: Path, records: SqlRecords, monkeypatch: pytest.MonkeyPatch):
    gone = Settings(state_dir=trusted, mlflow_tracking_uri="http://127.0.0.1:9")
    for name in os.environ:  # the settings put their own there; the test gives back what it found
        if name.startswith("MLFLOW_"):
            monkeypatch.delenv(name)
    adopt_environment(gone)
    started = time.monotonic()

    with pytest.raises(dg.Failure) as caught:
        run(gone, records)

    assert time.monotonic() - started < 20
    assert "EYE_DX_MLFLOW_TRACKING_URI" in str(caught.value.description)
    assert caught.value.allow_retries
    assert records.backlog().undiagnosed == 3
    assert_reads(Settings(state_dir=trusted), records)


def test_without_a_champion_the_way_to_one_is_named(trusted: Path, records: SqlRecords):
    assert_fails_and_uses_up_no_case(Settings(state_dir=trusted, model_name="nobody"), records, "eye-dx registry promote")
    assert_reads(Settings(state_dir=trusted), records)


def test_weights_that_changed_on_disk_read_no_photograph_until_they_are_fetched_again(trusted: Path, records: SqlRecords):
    settings = Settings(state_dir=trusted)
    registry = wiring.open_registry(settings)
    folder = registry.download(wiring.get_champion(registry).version)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")

    wiring._loaded.clear()  # as a new process finds it; one that has read them before keeps what it has checked
    assert_fails_and_uses_up_no_case(settings, records, f"delete mlruns/downloaded/{folder.name} to fetch them again")
    shutil.rmtree(folder)
    assert_reads(settings, records)
