"""How long a server is waited for, and how long one that stays silent is left alone: one that is down holds nobody up."""

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import NamedTuple

from eye_dx_core.errors import ServiceUnavailable

_log = logging.getLogger(__name__)
# Two would let one photograph that never comes rest its server: it is asked for twice, with its batch and then alone.
_SILENCES, _REST_SECONDS = 3, 30.0


class ServerSilent(ServiceUnavailable):
    """A server could not be reached, or did not answer in time; one that answers with an error is not silent."""


class Patience(NamedTuple):
    """Seconds that a server is given to take a connection, between two pieces of an answer, and for a photograph as a whole."""

    connect: float = 5.0
    silence: float = 10.0
    total: float = 30.0

    def within(self, total: float) -> "Patience":
        """The same for a photograph that may take `total` seconds."""
        return Patience(min(self.connect, total), min(self.silence, total), total)


DEFAULT_PATIENCE = Patience()


def seconds_left(deadline: float, at_most: float | None = None) -> float:
    """Seconds until a deadline on the monotonic clock, or fewer.

    Raises:
        ServerSilent: there are none left.
    """
    left = deadline - time.monotonic()
    if left <= 0:
        raise ServerSilent("the photograph did not come in time")
    return left if at_most is None else min(left, at_most)


class Rests:
    """Who was silent how often in a row, and rests until when."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._silences: dict[str, int] = defaultdict(int)
        self._until: dict[str, float] = {}

    @contextmanager
    def asking(self, server: str) -> Generator[None]:
        """Ask a server something; its silence is counted, and any answer, even a bad one, ends the count.

        Raises:
            ServiceUnavailable: it was silent three times in a row, the last time less than half a minute ago.
        """
        if self._now() < self._until.get(server, 0.0):
            raise ServiceUnavailable(f"{server} was silent and is left alone for a while")
        try:
            yield
        except ServiceUnavailable as error:
            self._count(server, error)
            raise
        except Exception:
            self._silences[server] = 0
            raise
        self._silences[server] = 0

    def _count(self, server: str, error: ServiceUnavailable) -> None:
        # Whoever reads photographs logs the kind of an error only; these words are ours, and say what to mend.
        _log.warning("no photograph from %s: %s", server, error)
        self._silences[server] = self._silences[server] + 1 if isinstance(error, ServerSilent) else 0
        if self._silences[server] >= _SILENCES:
            self._until[server] = self._now() + _REST_SECONDS
