"""Holds back whoever tries too often: passwords, and tokens of patients' links. Counted in this process."""

from collections import deque
from threading import Lock
from time import monotonic


class Attempts:
    """At most `most` failures within `seconds` for one name or address."""

    def __init__(self, most: int = 5, seconds: float = 300) -> None:
        self._most, self._seconds = most, seconds
        self._failed: dict[str, deque[float]] = {}
        self._lock = Lock()

    def is_too_many(self, *whos: str) -> bool:
        """Whether one of these failed too often."""
        with self._lock:
            return any(len(self._recent(who)) >= self._most for who in whos)

    def failed(self, *whos: str) -> None:
        """Note a failure."""
        with self._lock:
            for who in whos:
                self._failed.setdefault(who, deque(maxlen=self._most)).append(monotonic())

    def _recent(self, who: str) -> deque[float]:
        times = self._failed.get(who, deque[float]())
        while times and times[0] < monotonic() - self._seconds:
            times.popleft()
        if not times:
            self._failed.pop(who, None)
        return times
