"""Which runs of Dagster are due: a pure rule, so that it can be tried on any history."""

from collections.abc import Iterable, Set
from datetime import datetime, timedelta
from enum import StrEnum

from pydantic import AwareDatetime

from eye_dx_core.schema.frozen import Frozen

ROUTINE = frozenset({"diagnosis", "delivery", "report", "housekeeping"})
"""Tag `domain` of the jobs that sensors and schedules start all day. Whatever else ran is how a model came about and was trusted, or was
started by hand, and stays."""


class RunTerms(Frozen):
    """How long routine runs are kept after their end. One that failed or was canceled may be asked about for longer."""

    succeeded: timedelta
    failed: timedelta


class RunFacts(Frozen):
    """What the rule knows of a run."""

    run_id: str
    domain: str | None
    """The tag of its job; None for what has none."""
    ended_at: AwareDatetime | None
    """None while it has not ended."""
    has_succeeded: bool = False


class RunVerdict(StrEnum):
    """What becomes of a run, and why."""

    DUE = "due"
    UNFINISHED = "unfinished"
    NOT_ROUTINE = "not routine"
    YOUNG = "young"
    SHOWN = "shown"


def judge_run(run: RunFacts, terms: RunTerms, *, shown: Set[str], at: datetime) -> RunVerdict:
    """Whether a run is due.

    Args:
        run: of any age and state.
        terms: how long routine runs are kept.
        shown: ids of runs that hold what Dagster still shows: the last event of an asset, a partition or a check.
        at: now.
    """
    if run.ended_at is None:
        return RunVerdict.UNFINISHED
    if run.domain not in ROUTINE:
        return RunVerdict.NOT_ROUTINE
    if at - run.ended_at <= (terms.succeeded if run.has_succeeded else terms.failed):
        return RunVerdict.YOUNG
    return RunVerdict.SHOWN if run.run_id in shown else RunVerdict.DUE


def due_runs(runs: Iterable[RunFacts], terms: RunTerms, *, shown: Set[str], at: datetime) -> tuple[str, ...]:
    """Ids of the runs that are due, in the order given."""
    return tuple(run.run_id for run in runs if judge_run(run, terms, shown=shown, at=at) is RunVerdict.DUE)
