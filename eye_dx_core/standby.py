"""Stays ready for work that comes, so that it need not wait for a process to start."""

import time
from collections.abc import Callable

_PAUSE_SECONDS = 0.5
_LOOK_ASIDE_SECONDS = 5.0


def stand_by(
    work: Callable[[], bool],
    *,
    must_give_way: Callable[[], bool],
    must_end: Callable[[], bool],
    idle_seconds: float,
    total_seconds: float,
) -> int:
    """Do what comes until nothing has come for a while, somebody else needs the place, or it has gone on for long; count the passes.

    Args:
        work: does what waits and says whether there was anything.
        must_give_way: asked every few seconds while nothing waits.
        must_end: asked every few seconds, whatever waits.
        idle_seconds: end after so long without work.
        total_seconds: end after so long in any case, so that a new process takes over new code and settings.
    """
    started = busy_at = looked_at = time.monotonic()
    passes = 0
    while (now := time.monotonic()) - started < total_seconds:
        may_look_aside = now - looked_at >= _LOOK_ASIDE_SECONDS
        if may_look_aside:
            looked_at = now
            if must_end():
                break
        if work():
            passes, busy_at = passes + 1, time.monotonic()
            continue
        if now - busy_at >= idle_seconds or (may_look_aside and must_give_way()):
            break
        time.sleep(_PAUSE_SECONDS)
    return passes
