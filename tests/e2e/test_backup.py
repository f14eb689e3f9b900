"""Backups are made while a real process works, and killed in the middle; a restored state goes on where it was."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from eye_dx_core import wiring
from eye_dx_core.backup.making import make_backup
from eye_dx_core.backup.parts import MANIFEST
from eye_dx_core.backup.restoring import restore_backup
from eye_dx_core.queue.draining import drain_screenings
from eye_dx_core.queue.outbox import deliver_outbox
from eye_dx_core.records.audit import AuditEvent
from eye_dx_core.registry.promotion import promote
from eye_dx_core.settings import Settings
from tests.builders import NOON, a_case, a_diagnosis
from tests.checkpoints import a_checkpoint
from tests.services import wait_for

PROJECT = Path(__file__).parents[2]
EVER = {"since": NOON - timedelta(days=9999), "until": NOON + timedelta(days=9999)}

# Publishes, drains, diagnoses and delivers without end, and notes an id only after the queue has confirmed it.
CLINIC = """
import sys
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from eye_dx_core import wiring
from eye_dx_core.queue.announcing import announce_diagnosis
from eye_dx_core.queue.draining import drain_screenings
from eye_dx_core.queue.outbox import deliver_outbox
from eye_dx_core.queue.port import Message
from eye_dx_core.settings import Settings
from tests.builders import a_diagnosis, a_nested_body

now = lambda: datetime.now(UTC)
settings = Settings(state_dir=Path(sys.argv[1]), lease_seconds=0.5)
names, queue, records = settings.queue_names, wiring.open_queue(settings), wiring.open_records(settings)
with open(sys.argv[2], "w") as confirmed:
    for number in count():
        queue.publish(names.screenings, Message(body=a_nested_body(f"P{number}"), message_id=f"m-{number}"))
        print(f"m-{number}", file=confirmed, flush=True)
        if number % 3:
            continue
        drain_screenings(queue, records, names=names, limit=2, now=now)
        for case in records.claim_undiagnosed(limit=2, lease_seconds=1):
            diagnosis = a_diagnosis(case.case_id)
            records.add_diagnosis(diagnosis, [announce_diagnosis(case, diagnosis, names=names, now=now())])
        deliver_outbox(queue, records, now=now, lease_seconds=1)
"""

BACKUP_THAT_DIES = """
import os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from eye_dx_core.backup import making, snapshot
from eye_dx_core.records.audit import AuditEvent
from eye_dx_core.settings import Settings

state, folder, module, method = sys.argv[1:]
setattr({"making": making, "snapshot": snapshot}[module], method, lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL))
event = AuditEvent(at=datetime.now(UTC), actor="test", action="backup", subject="records")
making.make_backup(Settings(state_dir=Path(state)), Path(folder), event=event, with_key=False)
"""


def run(script: str, *arguments: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(command, cwd=PROJECT, env=os.environ | {"PYTHONPATH": str(PROJECT)})


def event(action: str, *, later: int = 0) -> AuditEvent:
    return AuditEvent(at=datetime.now(UTC) + timedelta(seconds=later), actor="test", action=action, subject="records")


def restored_from(backup: Path, state: Path, *, key_of: Settings, later: dict[str, str] | None = None) -> Settings:
    settings = Settings(state_dir=state).model_copy(update=later)
    settings.data.mkdir(parents=True)
    settings.vault_key_path.write_text(key_of.vault_key_path.read_text())
    settings.vault_key_path.chmod(0o600)
    restore_backup(settings, backup, event=event("restore"), replace=False)
    return settings


def go_on(settings: Settings) -> tuple[list[str], set[str], set[str]]:
    """Drain and deliver what is left; ids of the messages, of the results that cases announce, and of those in the queue."""
    names = settings.queue_names
    with closing(wiring.open_queue(settings)) as queue, closing(wiring.open_records(settings)) as records:
        assert drain_screenings(queue, records, names=names, limit=10_000, now=lambda: datetime.now(UTC)).rejected == 0
        while records.find_work().to_send:
            deliver_outbox(queue, records, now=lambda: datetime.now(UTC))
        found = list(records.case_records(**EVER))
        announced = {message.message_id for record in found for message in record.outbox}
        delivered = {str(one.message.message_id) for one in queue.receive(names.ai_results, limit=10_000)}
    return [record.case.message_id for record in found], announced, delivered


@pytest.mark.timeout(120)
def test_nothing_confirmed_before_a_backup_is_lost_and_nothing_comes_twice(tmp_path: Path):
    live = Settings(state_dir=tmp_path / "live")
    clinic = run(CLINIC, live.state, confirmed := tmp_path / "confirmed")
    try:
        assert wait_for(lambda: confirmed.exists() and len(confirmed.read_text().split()) > 30, seconds=30)
        backups: list[tuple[set[str], Path]] = []
        for number in range(4):
            before = set(confirmed.read_text().split("\n")[:-1])
            backups.append((before, make_backup(live, tmp_path / "backups", event=event("backup", later=number), with_key=False)))
            time.sleep(0.3)
        assert clinic.poll() is None
    finally:
        clinic.kill()
        clinic.wait()

    time.sleep(0.6)  # the leases of what was being taken when the copies were made
    for number, (before, backup) in enumerate(backups):
        for name in ("data/queue.db", "data/records.db"):
            with closing(sqlite3.connect(backup / name)) as database:
                assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        stored, announced, delivered = go_on(restored_from(backup, tmp_path / f"restored-{number}", key_of=live))

        assert len(stored) == len(set(stored))
        assert before <= set(stored)
        assert announced
        assert announced <= delivered


@pytest.mark.parametrize(
    ("module", "method"), [("snapshot", "_write"), ("making", "_copy_part"), ("making", "stored_file"), ("making", "_flush_to_disk")]
)
def test_a_backup_killed_in_the_middle_leaves_nothing_that_looks_whole(tmp_path: Path, module: str, method: str):
    settings = Settings(state_dir=tmp_path / "state")
    wiring.open_records(settings).close()
    folder = tmp_path / "backups"

    assert run(BACKUP_THAT_DIES, settings.state, folder, module, method).wait(60) == -signal.SIGKILL

    (draft,) = [path for path in folder.iterdir() if path.is_dir()]
    assert draft.name.startswith(".draft-")
    assert not draft.stat().st_mode & 0o077
    made = make_backup(settings, folder, event=event("backup", later=5), with_key=False)
    assert [path for path in folder.iterdir() if path.is_dir()] == [made]
    assert (made / MANIFEST).is_file()


# MLflow's tables use what SQLAlchemy 2.1 deprecates, and its client leaves connections to the collector.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize("later", [{}, {"mlflow_artifacts": "s3://clinic/models"}], ids=["folder", "bucket-named-since"])
def test_the_champion_reads_on_in_another_folder(tmp_path: Path, later: dict[str, str]):
    old = Settings(state_dir=tmp_path / "old")
    with closing(wiring.open_records(old)) as records:
        records.add_case(a_case(), b"raw")
        records.add_diagnosis(a_diagnosis(), [])
    registry = wiring.open_registry(old)
    registry.add_candidate(
        a_checkpoint(tmp_path / "checkpoint"), metrics={"balanced_accuracy": 0.8, "worst_recall": 0.5, "chance": 0.125}, tags={}
    )
    promote(registry, None, reason="test", by="test")

    backup = make_backup(old.model_copy(update=later), tmp_path / "backups", event=event("backup"), with_key=False)
    new = restored_from(backup, tmp_path / "new", key_of=old, later=later)
    (tmp_path / "old").rename(tmp_path / "gone")

    registry = wiring.open_registry(new)
    assert wiring.load_predictor(registry, wiring.get_champion(registry), new)
    registry = wiring.open_registry(Settings(state_dir=new.state))
    assert registry.add_candidate(
        a_checkpoint(tmp_path / "checkpoint-2"), metrics={"balanced_accuracy": 0.9, "worst_recall": 0.6, "chance": 0.125}, tags={}
    ).version == "2"  # fmt: skip
    assert not (tmp_path / "old").exists()
