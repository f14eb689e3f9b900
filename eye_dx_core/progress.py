"""How far a long step is, said in the log: Dagster shows it in the run, the command line on the terminal."""

import logging
import time
from datetime import timedelta

_SECONDS_BETWEEN = 10
"""A step that takes less says nothing."""
_log = logging.getLogger(__name__)


class LoggedProgress:
    """Counts what is done and now and then logs it, with the time that is left at the pace so far."""

    def __init__(self, what: str, total: int) -> None:
        """Start the clock of `total` things, which `what` names without saying whose they are."""
        self._what, self._total, self._done = what, total, 0
        self._started = self._said = time.monotonic()

    def advance(self, count: int = 1) -> None:
        """So many more are done."""
        self._done += count
        now = time.monotonic()
        if now - self._said < _SECONDS_BETWEEN or self._done >= self._total:
            return
        self._said = now
        left = timedelta(seconds=round((now - self._started) / self._done * (self._total - self._done)))
        _log.info("%s: %s of %s, about %s to go", self._what, f"{self._done:,}", f"{self._total:,}", left)
