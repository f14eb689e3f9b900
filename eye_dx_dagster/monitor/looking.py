"""Looks at one part of the installation, in a thread of its own: what hangs there keeps nobody else waiting."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from eye_dx_core.errors import EyeDxError

Value = TypeVar("Value")


@dataclass(frozen=True)
class Seen(Generic[Value]):
    """What a look found: a value, or what is wrong in words that hold no address."""

    value: Value | None
    problem: str | None
    at: float
    """Seconds since 1970."""
    seconds: float
    """How long it took to look."""


class Part(Generic[Value]):
    """One part, looked at when somebody asks and the last look is too old."""

    def __init__(self, name: str, look: Callable[[], Value], *, keep_seconds: float, lag_seconds: float = 0) -> None:
        """Nothing is looked at yet.

        Args:
            name: bounded; it is a label.
            look: finds the value; it may raise and it may hang.
            keep_seconds: how long a look counts as new, whoever asks.
            lag_seconds: how old a look may be to be told once more while a new one is under way: for what takes long to find.
        """
        self.name, self._look = name, look
        self._keep_seconds, self._lag_seconds = keep_seconds, lag_seconds
        self._changed = threading.Condition()
        self._is_looking = False
        self._seen: Seen[Value] | None = None
        self._seen_at = 0.0

    def begin(self) -> None:
        """Start a look if the last one is too old and none is under way."""
        with self._changed:
            if self._is_looking or self._age() < self._keep_seconds:
                return
            self._is_looking = True
        threading.Thread(target=self._look_once, name=f"look at {self.name}", daemon=True).start()

    def wait(self, *, until: float) -> Seen[Value]:
        """What the look found that was begun for this; a problem when it has not come back by then (by the monotonic clock)."""
        began = time.monotonic()
        with self._changed:
            is_there = self._changed.wait_for(
                lambda: not self._is_looking or self._age() < self._lag_seconds, timeout=max(0.0, until - time.monotonic())
            )
            # However long other parts were waited for meanwhile: it was new when this one was asked.
            if is_there and self._seen is not None:
                return self._seen
        return Seen(None, "does not answer in time", time.time(), time.monotonic() - began)

    def _age(self) -> float:
        """Not by the wall clock: after one that was set back, nothing would be looked at for as long."""
        return time.monotonic() - self._seen_at if self._seen is not None else float("inf")

    def _look_once(self) -> None:
        began = time.monotonic()
        value, problem = None, None
        try:
            value = self._look()
        except EyeDxError as error:
            problem = str(error)
        except Exception as error:  # noqa: BLE001 - told, and its text may hold an address with a password
            problem = f"an error of ours ({type(error).__name__})"
        with self._changed:
            self._seen_at = time.monotonic()
            self._seen = Seen(value, problem, time.time(), self._seen_at - began)
            self._is_looking = False
            self._changed.notify_all()
