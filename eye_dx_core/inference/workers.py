"""Worker processes that prepare photographs, so that no file can take down or hold up the process that diagnoses."""

import os
import secrets
import socket
import subprocess
import sys
import time
import weakref
from contextlib import suppress
from pathlib import Path
from threading import BoundedSemaphore, Event, Lock
from types import TracebackType
from typing import Self

from eye_dx_core.errors import BadPhoto, ServiceUnavailable
from eye_dx_core.inference.preparing import Prepared
from eye_dx_core.inference.quality_rules import RuleBook
from eye_dx_core.inference.worker import Frame, question, read_answer, receive_frame, send_frame

_MOST = 4
_START_SECONDS = 120.0
_TRIES = 2
"""A worker may also die of what others do to the machine; a photograph is blamed when it is there twice."""
_START = """
import os, runpy, sys
os.environ["OPENBLAS_NUM_THREADS"] = "1"
sys.path[:] = sys.argv[2:]
runpy.run_module(sys.argv[1], run_name="__main__")
"""


class PhotoWorkers:
    """Processes that are started when they are first needed, the first one also by `start`, and used again; any thread may ask.

    Each has a socket of its own, so that one that dies at any moment, or answers nonsense, leaves the others as they are.
    They end when this process does, however it ends.
    """

    def __init__(self, count: int | None = None, *, seconds: float = 60.0, program: str = "eye_dx_core.inference.worker") -> None:
        """Start nothing yet.

        Args:
            count: how many; default is one for each core that this process may use, at most four.
            seconds: how long one photograph may take.
            program: the module that a worker runs.
        """
        self.count = count or min(_MOST, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
        self._seconds, self._program = seconds, program
        self._places, self._lock = BoundedSemaphore(self.count), Lock()
        self._idle: list[_Worker] = []
        self._all: set[_Worker] = set()
        self._closings, self._has_ended = 0, Event()
        weakref.finalize(self, _stop_own, self._all, self._has_ended, os.getpid())

    def __enter__(self) -> Self:
        """Nothing to do: workers start when they are needed."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close."""
        self.close()

    @property
    def process_ids(self) -> tuple[int, ...]:
        """Who is running now."""
        with self._lock:
            return tuple(one.process_id for one in self._all)

    def start(self) -> None:
        """Start the first one, if none runs, and do not wait for it: its libraries take a second or two to load."""
        with self._lock:
            if not self._all:
                first = _Worker(self._program)
                self._all.add(first)
                self._idle.append(first)

    def get_ready(self) -> None:
        """The same, and wait for it; should it fail, whoever needs it is told."""
        self.start()
        with self._lock:
            idle = tuple(self._idle)
        for worker in idle:
            worker.is_ready(seconds=_START_SECONDS)

    def prepare(self, source: Path | bytes, *, size: int, rules: RuleBook | None = None) -> Prepared:
        """As `prepare_or_refuse`, in another process; waits while all are busy.

        Returns:
            Also a `BadPhoto` of `decoder_died` or `decoder_timed_out`.

        Raises:
            ServiceUnavailable: no worker can be started, or all were stopped meanwhile. It says nothing of the photograph.
        """
        with self._places:
            closings = self._closings
            for _ in range(_TRIES):
                prepared = self._ask(source, size, rules)
                if prepared is not None:
                    return prepared
                if closings != self._closings or self._has_ended.is_set():
                    raise ServiceUnavailable("the worker processes were stopped")
        return BadPhoto("decoder_died", "the process that decoded it died of it, twice")

    def close(self) -> None:
        """End all workers now, also busy ones; asking again starts new ones."""
        with self._lock:
            self._closings += 1
            idle, self._idle = self._idle, []
            busy = self._all.difference(idle)
            self._all.difference_update(idle)
        for worker in idle:
            worker.stop()
        for worker in busy:
            worker.interrupt()  # whoever waits for it puts it away

    def _ask(self, source: Path | bytes, size: int, rules: RuleBook | None) -> Prepared | None:
        """One try; None when the worker died."""
        worker, token = self._take(), secrets.token_hex(8)
        is_fit = False
        try:
            asked = question(source, size=size, seconds=self._seconds, token=token, rules=rules)
            frame = worker.ask(asked, seconds=self._seconds)
            prepared = read_answer(frame, size=size, token=token) if frame else None
            is_fit = prepared is not None
        except TimeoutError:
            prepared = BadPhoto("decoder_timed_out", f"decoding took longer than {self._seconds:g} seconds")
        except (OSError, ValueError, KeyError):
            prepared = None
        finally:
            self._put_back(worker, is_fit=is_fit)
        return prepared

    def _take(self) -> "_Worker":
        for _ in range(_TRIES):
            worker = self._idle_or_new()
            if worker.is_ready(seconds=_START_SECONDS):
                return worker
            self._put_back(worker, is_fit=False)
        raise ServiceUnavailable("a worker process for photographs did not start")

    def _idle_or_new(self) -> "_Worker":
        with self._lock:
            while self._idle:
                worker = self._idle.pop()
                if worker.is_alive:
                    return worker
                self._all.discard(worker)
                worker.stop()
            worker = _Worker(self._program)
            self._all.add(worker)
            return worker

    def _put_back(self, worker: "_Worker", *, is_fit: bool) -> None:
        with self._lock:
            if is_fit:
                self._idle.append(worker)
                return
            self._all.discard(worker)
        worker.stop()


class _Worker:
    """One process and the socket to it."""

    def __init__(self, program: str) -> None:
        self._first_word, self._is_ready = Lock(), False
        self._channel, theirs = socket.socketpair()
        with theirs:
            # Its own session: Ctrl-C at the terminal is for the process that diagnoses, which then ends its workers.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _START, program, *sys.path],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )

    @property
    def process_id(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def is_ready(self, *, seconds: float) -> bool:
        """Wait for its first word; any thread may."""
        with self._first_word, suppress(OSError):
            self._is_ready = self._is_ready or receive_frame(self._channel, until=time.monotonic() + seconds) is not None
        return self._is_ready

    def ask(self, frame: Frame, *, seconds: float) -> Frame | None:
        """Ask and wait for the answer; None when it died. A `TimeoutError` says that it took too long."""
        until = time.monotonic() + seconds
        self._channel.settimeout(seconds)
        send_frame(self._channel, *frame)
        return receive_frame(self._channel, until=until)

    def interrupt(self) -> None:
        """End it while another thread may be waiting for it."""
        self._process.kill()

    def stop(self) -> None:
        """End it and put it away."""
        self._process.kill()
        self._channel.close()
        with suppress(subprocess.TimeoutExpired):  # one that hangs in the file server's name cannot even be killed
            self._process.wait(timeout=5)


def _stop_own(workers: set[_Worker], has_ended: Event, owner: int) -> None:
    """At the end of the process that started them; one that was forked from it ends alone."""
    has_ended.set()
    if os.getpid() == owner:
        for worker in tuple(workers):
            worker.stop()
