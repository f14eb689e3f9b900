"""Logs for people and for what collects logs: one object a line, by ids of ours, and of an error no text that may hold a name."""

import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from eye_dx_core.logs import JsonLines, working_on
from eye_dx_core.queue.draining import drain_screenings
from eye_dx_core.queue.memory import MemoryQueue
from eye_dx_core.queue.outbox import deliver_outbox
from eye_dx_core.queue.port import Message, Queue
from eye_dx_core.queue.topology import QueueNames
from eye_dx_core.records.memory import MemoryRecords
from eye_dx_core.records.outgoing import OutboxMessage
from eye_dx_core.schema.message import body_sha256
from tests.builders import NOON, a_case, a_diagnosis
from tests.test_house import PROJECT
from tests.traces import NAME, PHONE

NAMES = QueueNames()


class Kept(logging.Handler):
    """Keeps the lines as a collector would read them."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(JsonLines())
        self.lines: list[dict[str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(json.loads(self.format(record)))


@pytest.fixture
def kept() -> Iterator[Kept]:
    logger, handler = logging.getLogger("eye_dx_core"), Kept()
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


def test_a_line_says_when_how_bad_who_and_what(kept: Kept):
    logging.getLogger("eye_dx_core.somewhere").warning("%s of %s\nand more 眼", 1, 2)

    (line,) = kept.lines
    assert line.keys() == {"time", "level", "logger", "message"}
    assert (line["level"], line["logger"], line["message"]) == ("WARNING", "eye_dx_core.somewhere", "1 of 2\nand more 眼")
    assert datetime.fromisoformat(line["time"]).utcoffset() == timedelta()


def test_what_is_worked_on_is_named_within_the_block_and_in_this_thread_only(kept: Kept):
    log = logging.getLogger("eye_dx_core.somewhere")
    with working_on(case_id="case-1"):
        with working_on(message_id="m-1"):
            log.warning("both")
            other = threading.Thread(target=log.warning, args=("neither",))
            other.start()
            other.join()
        log.warning("case")
    log.warning("neither")

    assert [(line.get("case_id"), line.get("message_id")) for line in kept.lines] == [
        ("case-1", "m-1"),
        (None, None),
        ("case-1", None),
        (None, None),
    ]


def test_an_error_tells_its_class_and_places_and_not_its_text(kept: Kept):
    def open_photo() -> None:
        raise FileNotFoundError(f"incoming/{NAME}.jpg")

    try:
        open_photo()
    except OSError:
        logging.getLogger("eye_dx_core.somewhere").exception("a photograph is missing")

    (line,) = kept.lines
    assert line["error"] == "FileNotFoundError"
    assert any(place.endswith("open_photo") for place in line["where"])
    assert NAME not in json.dumps(kept.lines, ensure_ascii=False)


def test_a_message_that_comes_is_named_by_its_hash_as_its_id_may_be_anything(kept: Kept):
    queue, records = MemoryQueue(names=NAMES), MemoryRecords()
    body = f'{{"phone": "{PHONE}"'.encode()
    queue.publish(NAMES.screenings, Message(body=body, message_id=f"of-{NAME}"))

    drain_screenings(queue, records, names=NAMES, limit=10, now=lambda: NOON)

    (line,) = kept.lines
    assert line["message_sha256"] == body_sha256(body) == records.rejections(since=NOON, until=NOON + timedelta(1))[0].body_sha256
    assert NAME not in json.dumps(line, ensure_ascii=False)
    assert PHONE not in json.dumps(line)


def test_a_message_that_goes_is_named_by_our_id(kept: Kept):
    queue: Queue = MemoryQueue(names=NAMES)
    records = MemoryRecords()
    records.add_case(a_case(), b"{}")
    announced = OutboxMessage(
        message_id="m-1", case_id="case-1", queue=NAMES.reports, type="report/1", body=b"x" * 17_000_000, created_at=NOON
    )
    records.add_diagnosis(a_diagnosis(), [announced])

    deliver_outbox(queue, records, now=lambda: NOON)

    (line,) = kept.lines
    assert (line["case_id"], line["message_id"]) == ("case-1", "m-1")


@pytest.mark.parametrize(
    ("command", "logger", "settings"),
    [
        (("-c", "from eye_dx_cli.main import run; run()", "report", "case-1"), "eye-dx", {}),
        (("-m", "eye_dx_review"), "desk", {"EYE_DX_RECORDS_URL": "ftp://x"}),
        (("-m", "eye_dx_dagster.monitor"), "monitor", {}),
    ],
)
@pytest.mark.parametrize("log_format", ["text", "json"])
def test_every_process_says_its_last_words_in_the_wanted_form(
    tmp_path: Path, command: tuple[str, ...], logger: str, settings: dict[str, str], log_format: str
):
    environment = os.environ | settings | {"EYE_DX_STATE_DIR": str(tmp_path), "EYE_DX_LOG_FORMAT": log_format, "PYTHONPATH": str(PROJECT)}

    done = subprocess.run(
        [sys.executable, "-W", "ignore", *command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=60
    )

    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    if log_format == "text":
        assert last.startswith(f"{logger}: ")
        return
    line = json.loads(last)
    assert (line["logger"], line["level"]) == (logger, "ERROR")
