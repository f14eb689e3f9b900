"""The disk of the embedded databases runs full: it is said, what was confirmed stays, and freed space is all it takes to go on."""

import os
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from eye_dx_core.errors import ServiceUnavailable
from eye_dx_core.queue.port import Message
from tests.builders import a_nested_body
from tests.faults.flow import EVER
from tests.faults.worker import NAMES, run
from tests.services import open_queue, open_records


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = os.geteuid() == 0 and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "none", folder], capture_output=True, check=False
    )
    if not mounted or mounted.returncode:
        pytest.skip("a small disk needs root and the right to mount")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill(folder: Path, *, leave: int = 0) -> Path:
    """Take all space but `leave` bytes."""
    file = folder / "ballast"
    free = os.statvfs(folder)
    with file.open("wb") as ballast:
        ballast.write(b"0" * max(0, free.f_bavail * free.f_bsize - leave))
    return file


def send_until_full(url: str, first: int) -> tuple[list[str], str]:
    """The ids that were confirmed before the first refusal, and its text."""
    queue, confirmed = open_queue(url, NAMES), list[str]()
    try:
        for number in range(first, first + 10_000):
            queue.publish(NAMES.screenings, Message(body=a_nested_body(f"P{number}"), message_id=f"m-{number}"))
            confirmed.append(f"m-{number}")
    except ServiceUnavailable as error:
        return confirmed, str(error)
    finally:
        queue.close()
    raise AssertionError("the disk is not full")


def assert_sound(file: Path) -> None:
    with sqlite3.connect(file) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


def test_a_full_disk_is_named_and_loses_nothing_that_was_confirmed(small_disk: Path):
    queue_url, records_url = f"sqlite:///{small_disk}/queue.db", f"sqlite:///{small_disk}/records.db"
    open_records(records_url).close()
    ballast = fill(small_disk, leave=400_000)

    confirmed, refusal = send_until_full(queue_url, 0)

    assert confirmed
    assert refusal == "the queue has no space left on its disk"
    with pytest.raises(ServiceUnavailable, match="has no space left on its disk"):
        run(queue_url, records_url)

    ballast.unlink()
    more = [f"m-{number}" for number in range(5_000, 5_003)]
    queue = open_queue(queue_url, NAMES)
    for message_id in more:
        queue.publish(NAMES.screenings, Message(body=a_nested_body(), message_id=message_id))
    while queue.depth(NAMES.screenings):
        run(queue_url, records_url)
    run(queue_url, records_url)

    records = open_records(records_url)
    found = list(records.case_records(**EVER))
    records.close()
    assert sorted(record.case.message_id for record in found) == sorted([*confirmed, *more])
    assert all(record.diagnosis and record.outbox[0].sent_at for record in found)
    results = [one.message.message_id for one in queue.receive(NAMES.ai_results, limit=10_000)]
    queue.close()
    assert len(results) == len(set(results)) == len(found)
    for name in ("queue.db", "records.db"):
        assert_sound(small_disk / name)
