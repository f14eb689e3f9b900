"""Messages that flow through real processes while a test breaks what they stand on, and what must be true afterwards."""

import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from eye_dx_core.errors import ServiceUnavailable
from tests.builders import NOON
from tests.faults.worker import NAMES
from tests.services import open_queue, open_records, wait_for

PROJECT = Path(__file__).parents[2]
EVER = {"since": NOON - timedelta(days=9999), "until": NOON + timedelta(days=9999)}
PATIENCE_SECONDS = 60


class Flow:
    """A sender and a worker on one queue and one set of records."""

    def __init__(self, queue_url: str, records_url: str, folder: Path, messages: int) -> None:
        self.queue_url, self.records_url, self.messages = queue_url, records_url, messages
        self.sender_said, self.worker_said = folder / "sender-said", folder / "worker-said"
        self._errors = folder / "errors"
        self._sender = self._start("send", queue_url, self.sender_said, 0, messages)
        self._worker = self._start("work", queue_url, records_url, self.worker_said)

    def wait_until_read(self, share: float) -> None:
        """Return while the rest is still on its way, so that what a test breaks now is in use."""
        least = round(self.messages * share)
        assert wait_for(lambda: self.read() >= least, PATIENCE_SECONDS), self.errors()
        assert self._sender.poll() is None, "everything was sent before the fault: use more messages"

    def wait_for_complaints(self, text: str) -> None:
        """Both processes say what they wait for."""
        for said in (self.sender_said, self.worker_said):
            assert wait_for(lambda said=said: said.exists() and text in said.read_text(), PATIENCE_SECONDS), (said.name, self.errors())

    def forget_complaints(self) -> None:
        for said in (self.sender_said, self.worker_said):
            said.unlink(missing_ok=True)

    def read(self) -> int:
        """How many cases have their diagnosis; none while nobody can tell."""
        return self._look(lambda backlog: backlog.unreviewed) or 0

    def wait_until_done(self) -> None:
        assert wait_for(lambda: self._sender.poll() == 0, PATIENCE_SECONDS), self.errors()
        assert wait_for(lambda: self.read() == self.messages, PATIENCE_SECONDS), self.errors()
        assert wait_for(lambda: self._look(lambda backlog: backlog.unsent == 0), PATIENCE_SECONDS), self.errors()
        assert self._worker.poll() is None, self.errors()

    def assert_nothing_is_lost_or_doubled(self) -> None:
        records, queue = open_records(self.records_url), open_queue(self.queue_url, NAMES)
        found = list(records.case_records(**EVER))
        assert {record.case.message_id for record in found} == {f"m-{number}" for number in range(self.messages)}
        assert len(found) == self.messages
        assert all(record.diagnosis is not None and len(record.outbox) == 1 for record in found)
        assert records.backlog().stuck == 0
        ids_by_case = defaultdict(set)
        for delivery in queue.receive(NAMES.ai_results, limit=3 * self.messages):
            ids_by_case[delivery.message.correlation_id].add(delivery.message.message_id)
        assert ids_by_case == {record.case.case_id: {record.outbox[0].message_id} for record in found}
        assert (queue.depth(NAMES.screenings), queue.depth(NAMES.dead)) == (0, 0)
        records.close()
        queue.close()

    def errors(self) -> str:
        return self._errors.read_text(errors="replace")[-3000:]

    def end(self) -> None:
        for process in (self._sender, self._worker):
            process.kill()
            process.wait()

    def _look(self, see: Callable) -> object:
        try:
            records = open_records(self.records_url)
            try:
                return see(records.backlog())
            finally:
                records.close()
        except ServiceUnavailable:
            return None

    def _start(self, *arguments: object) -> subprocess.Popen[bytes]:
        with self._errors.open("ab") as errors:
            return subprocess.Popen(
                [sys.executable, "-m", "tests.faults.worker", *map(str, arguments)], cwd=PROJECT, env=dict(os.environ), stderr=errors
            )


@contextmanager
def flowing(queue_url: str, records_url: str, folder: Path, *, messages: int) -> Iterator[Flow]:
    flow = Flow(queue_url, records_url, folder, messages)
    try:
        yield flow
    finally:
        flow.end()
