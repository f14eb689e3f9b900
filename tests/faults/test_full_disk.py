"""The disk of the embedded databases runs full: it is said, what was confirmed stays, and freed space is all it takes to go on."""

import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from eye_dx_core.errors import ServiceUnavailable
from eye_dx_core.queue.port import Message
from tests.builders import a_nested_body
from tests.faults.flow import EVER
from tests.faults.own_servers import own_cluster
from tests.faults.worker import NAMES, run
from tests.services import open_queue, open_records


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """Not under pytest's own folder, which PostgreSQL's user cannot enter."""
    with tempfile.TemporaryDirectory(prefix="eye-dx-disk-") as name:
        folder = Path(name)
        mount = ["mount", "-t", "tmpfs", "-o", "size=16m,mode=755", "none", name]
        if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("a small disk needs root and the right to mount")
        try:
            yield folder
        finally:
            subprocess.run(["umount", "--lazy", name], check=True)


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
    assert refusal == "no space is left on the disk of the queue"
    with pytest.raises(ServiceUnavailable, match="no space is left on the disk of the records"):
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


@pytest.mark.service
def test_a_full_disk_of_postgresql_is_named_too(small_disk: Path):
    with own_cluster() as cluster:
        space = small_disk / "space"
        space.mkdir()
        shutil.chown(space, "postgres")
        with psycopg.connect(host="127.0.0.1", port=cluster.port, user="postgres", autocommit=True) as admin:
            admin.execute(f"CREATE TABLESPACE small LOCATION '{space}'")
        url = f"{cluster.url}?options=-cdefault_tablespace%3Dsmall"
        open_queue(url, NAMES).close()
        ballast = fill(small_disk, leave=100_000)

        confirmed, refusal = send_until_full(url, 0)

        assert refusal == "no space is left on the disk of the queue"
        ballast.unlink()
        queue = open_queue(url, NAMES)
        queue.publish(NAMES.screenings, Message(body=b"{}", message_id="after"))
        assert [one.message.message_id for one in queue.receive(NAMES.screenings, limit=10_000)] == [*confirmed, "after"]
        queue.close()
