"""Which runs go: exactly those whose term is over and that nothing still shows, whatever the history."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from eye_dx_core.housekeeping.runs import RunFacts, RunTerms, RunVerdict, due_runs, judge_run

NOW = datetime(2026, 6, 1, 3, 45, tzinfo=UTC)
TERMS = RunTerms(succeeded=timedelta(days=30), failed=timedelta(days=90))
SECOND = timedelta(seconds=1)

domains = st.sampled_from(["diagnosis", "delivery", "report", "housekeeping", "training", "registry", "Diagnosis", "", None])
ages = st.timedeltas(min_value=timedelta(days=-2), max_value=timedelta(days=400))


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[RunFacts], frozenset[str]]:
    """Runs of all kinds, ages and states, and which of them are still shown."""
    runs = [
        RunFacts(
            run_id=f"run-{number}",
            domain=draw(domains),
            ended_at=draw(st.none() | ages.map(lambda age: NOW - age)),
            has_succeeded=draw(st.booleans()),
        )
        for number in range(draw(st.integers(0, 12)))
    ]
    return runs, draw(st.frozensets(st.sampled_from([run.run_id for run in runs]))) if runs else frozenset()


@given(histories())
def test_what_is_due_goes_and_nothing_else(history: tuple[list[RunFacts], frozenset[str]]):
    runs, shown = history
    kept = []
    for run in runs:
        is_routine = run.domain in ("diagnosis", "delivery", "report", "housekeeping")
        days = 30 if run.has_succeeded else 90
        is_over = run.ended_at is not None and (NOW - run.ended_at).total_seconds() > days * 86_400
        if not (is_routine and is_over and run.run_id not in shown):
            kept.append(run.run_id)

    due = due_runs(runs, TERMS, shown=shown, at=NOW)

    assert [run.run_id for run in runs if run.run_id not in due] == kept
    assert len(set(due)) == len(due)


@given(histories(), st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=300)))
@example(([], frozenset()), timedelta(0))
def test_what_goes_tonight_would_go_on_every_later_night(history: tuple[list[RunFacts], frozenset[str]], later: timedelta):
    runs, shown = history

    assert set(due_runs(runs, TERMS, shown=shown, at=NOW)) <= set(due_runs(runs, TERMS, shown=shown, at=NOW + later))


@pytest.mark.parametrize(
    ("age", "succeeded", "verdict"),
    [
        (timedelta(days=30), True, RunVerdict.YOUNG),
        (timedelta(days=30) + SECOND, True, RunVerdict.DUE),
        (timedelta(days=90), False, RunVerdict.YOUNG),
        (timedelta(days=90) + SECOND, False, RunVerdict.DUE),
        (-timedelta(days=1), True, RunVerdict.YOUNG),  # the clock was set back
    ],
)
def test_a_term_counts_from_the_end_of_a_run(age: timedelta, *, succeeded: bool, verdict: RunVerdict):
    run = RunFacts(run_id="run", domain="delivery", ended_at=NOW - age, has_succeeded=succeeded)

    assert judge_run(run, TERMS, shown=frozenset(), at=NOW) is verdict


def test_a_run_that_made_a_model_or_still_runs_stays_for_ever():
    training = RunFacts(run_id="run", domain="training", ended_at=NOW - timedelta(days=4000), has_succeeded=True)
    unfinished = RunFacts(run_id="run", domain="diagnosis", ended_at=None)

    assert judge_run(training, TERMS, shown=frozenset(), at=NOW) is RunVerdict.NOT_ROUTINE
    assert judge_run(unfinished, TERMS, shown=frozenset(), at=NOW) is RunVerdict.UNFINISHED
