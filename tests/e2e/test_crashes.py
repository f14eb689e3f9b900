"""Real processes are killed in the middle of a batch; afterwards every message has one case, one diagnosis, one result."""

import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest

from eye_dx_core.dataset.phantom_folders import write_phantom_photo
from eye_dx_core.queue.port import Message
from eye_dx_core.queue.topology import QueueNames
from eye_dx_core.records.sql import SqlRecords
from eye_dx_core.schema.case import Laterality
from tests.builders import NOON, a_nested_body
from tests.checkpoints import a_checkpoint
from tests.services import STACKS, open_records, services

MESSAGES = 60
PROJECT = Path(__file__).parents[2]

# Drains, reads and delivers as the diagnosis job does, with a lease short enough to wait for in a test.
WORKER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from eye_dx_core import casework
from eye_dx_core.inference.intake import PhotoIntake
from eye_dx_core.inference.sources.folders import FolderPhotos
from eye_dx_core.inference.predictor import Predictor
from eye_dx_core.model.checkpoint import load_checkpoint
from eye_dx_core.queue.draining import drain_screenings
from eye_dx_core.queue.outbox import deliver_outbox
from eye_dx_core.queue.topology import QueueNames
from tests.services import open_queue, open_records

queue_url, records_url, names_json, folder = sys.argv[1:]
names, folder = QueueNames.model_validate_json(names_json), Path(folder)
queue = open_queue(queue_url, names)
records = open_records(records_url)
now = lambda: datetime.now(UTC)
predictor = Predictor(load_checkpoint(folder / "checkpoint"), model_name="m", model_version="1")
drain_screenings(queue, records, names=names, limit=500, now=now)
photos, outlet = PhotoIntake(FolderPhotos([folder], base=folder)), casework.DiagnosisOutlet(names)
casework.diagnose_waiting(records, predictor, photos, outlet=outlet, limit=500, micro_batch=4, lease_seconds=1, now=now)
deliver_outbox(queue, records, now=now, lease_seconds=1)
records.close()
queue.close()
"""


def start(queue_url: str, records_url: str, names: QueueNames, folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", WORKER, queue_url, records_url, names.model_dump_json(), str(folder)]
    return subprocess.Popen(command, cwd=PROJECT, env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(PROJECT)})


@pytest.mark.parametrize("kind", STACKS)
def test_a_run_killed_in_the_middle_leaves_one_diagnosis_and_one_result_each(kind: str, tmp_path: Path):
    a_checkpoint(tmp_path / "checkpoint")
    write_phantom_photo(tmp_path / "OD.jpg", "D3", eye=Laterality.RIGHT, seed=1, size=128)
    with services(kind, tmp_path) as (queue_url, records_url, names, queue):
        for number in range(MESSAGES):
            queue.publish(names.screenings, Message(body=a_nested_body(f"P{number}", ("OD.jpg",)), message_id=f"m-{number}"))
        records = open_records(records_url)
        for least in (12, 30):
            worker = start(queue_url, records_url, names, tmp_path)
            until = time.monotonic() + 60
            while (done := _diagnosed(records)) < least and worker.poll() is None and time.monotonic() < until:
                time.sleep(0.01)
            os.kill(worker.pid, signal.SIGKILL)
            worker.wait()
            assert done < MESSAGES
        time.sleep(1.1)  # the leases of what the dead held
        assert start(queue_url, records_url, names, tmp_path).wait(60) == 0

        found = list(records.case_records(since=NOON - timedelta(days=9999), until=NOON + timedelta(days=9999)))
        assert len(found) == MESSAGES
        assert all(record.diagnosis is not None and len(record.outbox) == 1 for record in found)
        results = {delivery.message.message_id for delivery in queue.receive(names.ai_results, limit=500)}
        assert len(results) == MESSAGES
        records.close()


def test_two_workers_side_by_side_read_no_case_twice(tmp_path: Path):
    a_checkpoint(tmp_path / "checkpoint")
    write_phantom_photo(tmp_path / "OD.jpg", "D3", eye=Laterality.RIGHT, seed=1, size=128)
    with services("embedded", tmp_path) as (queue_url, records_url, names, queue):
        for number in range(40):
            queue.publish(names.screenings, Message(body=a_nested_body(f"P{number}", ("OD.jpg",)), message_id=f"m-{number}"))
        workers = [start(queue_url, records_url, names, tmp_path) for _ in range(2)]

        assert [worker.wait(90) for worker in workers] == [0, 0]

        results = [delivery.message.message_id for delivery in queue.receive(names.ai_results, limit=500)]
        assert len(results) == len(set(results)) == 40
        assert queue.depth(names.screenings) == 0


def _diagnosed(records: SqlRecords) -> int:
    return records.backlog().unreviewed
