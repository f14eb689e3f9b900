"""What the nightly job does to a real Dagster instance: what is due goes without a trace, what Dagster shows stays."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteInstigatorOrigin, RemoteRepositoryOrigin
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, ScheduleInstigatorData, TickData, TickStatus
from hypothesis import given, settings
from hypothesis import strategies as st

from eye_dx_core.errors import ServiceUnavailable
from eye_dx_core.housekeeping.runs import RunTerms
from eye_dx_core.records.memory import MemoryRecords
from eye_dx_core.registry.memory import MemoryRegistry
from eye_dx_core.settings import Settings
from eye_dx_dagster.defs.housekeeping import history, nightly
from eye_dx_dagster.defs.reports.assets import daily_diagnosis_report
from tests.dagster.past import ENDED, add_run, run_ids, traces_of

pytestmark = pytest.mark.filterwarnings("ignore::dagster.BetaWarning", "ignore::DeprecationWarning")

NOW = datetime(2026, 6, 1, 3, 45, tzinfo=UTC)
TERMS = RunTerms(succeeded=timedelta(days=30), failed=timedelta(days=90))
OLD = NOW - timedelta(days=200)
REPORT, FLOW = "daily_diagnosis_report", "message_flow"
CHECK = dg.AssetCheckKey(dg.AssetKey(FLOW), "no_dead_letters")
SUCCESS, FAILURE, CANCELED = ENDED


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test(temp_dir=str(tmp_path), overrides={"retention": {"schedule": {"purge_after_days": 90}}}) as opened:
        yield opened


def forget(instance: dg.DagsterInstance) -> dict[str, int]:
    return history.forget_runs(instance, TERMS, checks=[CHECK], at=NOW)


def test_a_run_that_is_due_leaves_no_trace(instance: dg.DagsterInstance):
    """`delete_run` alone leaves the database of its events, its logs, and a row for each check."""
    due = [
        add_run(instance, at=OLD + timedelta(hours=n), materializes=[(FLOW, None)], checks=[(FLOW, CHECK.name)], log="words")
        for n in (0, 1)
    ]
    last = add_run(instance, at=NOW - timedelta(hours=1), materializes=[(FLOW, None)], checks=[(FLOW, CHECK.name)], log="words")
    assert len(traces_of(instance, due)) > 8

    counts = forget(instance)

    assert traces_of(instance, due) == []
    assert (counts["runs_deleted"], counts["runs_bytes_freed"] > 100_000, run_ids(instance)) == (2, True, {last})
    (kept,) = instance.event_log_storage.get_latest_asset_check_execution_by_key([CHECK]).values()
    assert kept.run_id == last
    assert (Path(instance.storage_directory()) / last / "compute_logs" / "step.err").read_text() == "words"


def test_the_days_of_the_daily_report_stay_materialized(instance: dg.DagsterInstance):
    """Of a day that was written twice only the second run stays; with `delete_run` alone the day would be missing."""
    key, days = dg.AssetKey(REPORT), ("2025-11-01", "2025-11-02", "2025-11-03")
    for day in days:
        add_run(instance, at=OLD, job="daily_report_job", domain="report", materializes=[(REPORT, day)])
    add_run(instance, at=OLD + timedelta(hours=5), job="daily_report_job", domain="report", materializes=[(REPORT, days[0])])
    assert instance.get_materialized_partitions(key) == set(days)

    counts = forget(instance)

    assert (counts["runs_deleted"], counts["old_runs_kept"]) == (1, 3)
    assert instance.get_materialized_partitions(key) == set(days)
    shown = {day: instance.get_latest_materialization_event(key) for day in days}
    assert all(shown.values())
    assert len(instance.fetch_materializations(dg.AssetRecordsFilter(key, asset_partitions=list(days)), limit=9).records) == 3


def test_a_real_report_of_a_day_outlives_the_term(instance: dg.DagsterInstance, tmp_path: Path):
    given = {"settings": Settings(state_dir=tmp_path / "state"), "records": MemoryRecords()}
    day = date(2026, 3, 2).isoformat()
    tags = {"domain": "report"}  # as `daily_report_job` has it
    written = dg.materialize([daily_diagnosis_report], resources=given, instance=instance, partition_key=day, tags=tags)
    assert written.success

    later = datetime.now(UTC) + timedelta(days=500)
    counts = history.forget_runs(instance, TERMS, checks=[], at=later)

    assert (counts["runs_deleted"], run_ids(instance)) == (0, {written.run_id})
    assert instance.get_materialized_partitions(daily_diagnosis_report.key) == {day}


def test_the_last_of_an_asset_of_a_check_and_of_what_is_observed_stays(instance: dg.DagsterInstance):
    checked = add_run(instance, at=OLD, checks=[(FLOW, CHECK.name)])
    shown = add_run(instance, at=OLD, materializes=[(FLOW, None)])
    renamed = add_run(instance, at=OLD, checks=[(FLOW, "a_check_that_is_gone")])

    forget(instance)

    assert run_ids(instance) == {checked, shown}
    assert traces_of(instance, [renamed]) == []


def test_what_made_a_model_what_runs_and_what_a_person_started_stays(instance: dg.DagsterInstance):
    kept = {
        add_run(instance, at=OLD, job="training_job", domain="training"),
        add_run(instance, at=OLD, job="promotion_job", domain="registry"),
        add_run(instance, at=OLD, job="__ASSET_JOB", domain=None),
        add_run(instance, at=OLD, status=dg.DagsterRunStatus.STARTED),
        add_run(instance, at=OLD, status=dg.DagsterRunStatus.NOT_STARTED),
        add_run(instance, at=NOW - timedelta(days=80), status=FAILURE),
    }
    add_run(instance, at=NOW - timedelta(days=91), status=CANCELED)

    assert forget(instance)["runs_deleted"] == 1
    assert run_ids(instance) == kept


def test_the_first_try_stays_as_long_as_a_later_one(instance: dg.DagsterInstance):
    """Dagster raises an error for a run whose first try is gone."""
    first = add_run(instance, at=NOW - timedelta(days=92), status=FAILURE)
    again = add_run(instance, at=NOW - timedelta(days=89), status=FAILURE, root=first)

    forget(instance)

    assert run_ids(instance) == {first, again}
    assert len(instance.get_run_group(again)[1]) == 2


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[str | None, dg.DagsterRunStatus, int, str | None]]:
    """Domain, state, age in days and, where a run wrote one, the day of its report."""
    run = st.tuples(
        st.sampled_from(["diagnosis", "report", "housekeeping", "training", None]),
        st.sampled_from([*ENDED, dg.DagsterRunStatus.STARTED]),
        st.sampled_from([0, 29, 31, 89, 91, 300]),
        st.sampled_from([None, "2026-01-01", "2026-01-02"]),
    )
    return draw(st.lists(run, min_size=1, max_size=6))


@pytest.fixture(scope="module")
def long_kept() -> Iterator[dg.DagsterInstance]:
    """One instance for many histories, one after the other: its databases take a second to make."""
    with dg.instance_for_test() as opened:
        yield opened


@settings(max_examples=15, deadline=None)
@given(past=histories())
def test_of_any_history_what_is_due_goes_and_nothing_else(
    long_kept: dg.DagsterInstance, past: list[tuple[str | None, dg.DagsterRunStatus, int, str | None]]
):
    ids = [
        add_run(
            long_kept,
            at=NOW - timedelta(days=days),
            domain=domain,
            status=status,
            materializes=[(REPORT, day)] if day else (),
            checks=[(FLOW, CHECK.name)],
        )
        for domain, status, days, day in past
    ]
    # What was stored last is what is shown, whatever its time says.
    last = {day: run_id for run_id, (*_, day) in zip(ids, past, strict=True) if day}
    shown = {*last.values(), ids[-1]}
    due = {
        run_id
        for run_id, (domain, status, days, _) in zip(ids, past, strict=True)
        if domain in ("diagnosis", "report", "housekeeping")
        and status in ENDED
        and days > (30 if status is SUCCESS else 90)
        and run_id not in shown
    }
    before = long_kept.get_materialized_partitions(dg.AssetKey(REPORT))

    forget(long_kept)

    assert set(ids) - run_ids(long_kept) == due
    assert long_kept.get_materialized_partitions(dg.AssetKey(REPORT)) == before
    assert traces_of(long_kept, sorted(due)) == []


def test_a_night_has_a_limit_and_the_next_goes_on(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(history, "A_NIGHT", 2)
    monkeypatch.setattr(history, "_PAGE", 2)
    runs = [add_run(instance, at=OLD + timedelta(days=number)) for number in range(5)]

    assert (forget(instance)["runs_for_next_night"], run_ids(instance)) == (3, set(runs[2:]))
    assert (forget(instance)["runs_deleted"], forget(instance)["runs_deleted"], run_ids(instance)) == (2, 1, set())


def test_what_a_crash_left_of_a_run_goes_a_day_later(instance: dg.DagsterInstance):
    """Dagster deletes the run's row first, then its events: whoever dies in between leaves events of no run."""
    known, gone = add_run(instance, at=OLD, log="words"), add_run(instance, at=OLD, log="words")
    instance.run_storage.delete_run(gone)
    instance.report_runless_asset_event(dg.AssetMaterialization("an_asset_of_somebody"))
    outputs = Path(instance.storage_directory()) / "an_asset_of_somebody"
    outputs.mkdir()

    assert history.sweep_orphans(instance, at=datetime.now(UTC)).deleted == 0
    swept = history.sweep_orphans(instance, at=datetime.now(UTC) + timedelta(days=2))

    assert (swept.deleted, swept.left) == (2, 1)
    assert traces_of(instance, [gone]) == []
    assert (len(traces_of(instance, [known])) >= 4, outputs.exists()) == (True, True)


def test_ticks_of_what_was_stopped_go_by_the_terms_of_dagster(instance: dg.DagsterInstance):
    """The daemon purges only what still ticks."""
    location = RegisteredCodeLocationOrigin("somewhere")
    origin = RemoteInstigatorOrigin(RemoteRepositoryOrigin(location, "repository"), "a_schedule_that_was_renamed")
    state = InstigatorState(origin, InstigatorType.SCHEDULE, InstigatorStatus.STOPPED, ScheduleInstigatorData("0 3 * * *"))
    instance.add_instigator_state(state)
    for days in (200, 91, 89, 0):
        at = (NOW - timedelta(days=days)).timestamp()
        tick = TickData(
            state.instigator_origin_id, state.name, state.instigator_type, TickStatus.SUCCESS, at, run_ids=[], selector_id=state.selector_id
        )
        instance.create_tick(tick)

    assert history.purge_ticks(instance, at=NOW) == 1

    kept = instance.get_ticks(state.instigator_origin_id, state.selector_id)
    assert [round((NOW.timestamp() - tick.timestamp) / 86_400) for tick in kept] == [0, 89]


def test_our_dagster_yaml_has_a_term_for_every_kind_of_tick():
    """Without one Dagster keeps ticks for ever, but for skipped ones of sensors."""
    home = Path(__file__).parents[2] / "dagster_home"
    with dg.instance_for_test(overrides=dg_config(home)) as opened:
        for kind in (InstigatorType.SENSOR, InstigatorType.SCHEDULE, InstigatorType.AUTO_MATERIALIZE):
            terms = opened.get_tick_retention_settings(kind)
            assert set(terms) == {TickStatus.STARTED, TickStatus.SKIPPED, TickStatus.SUCCESS, TickStatus.FAILURE}
            assert all(0 < days <= 90 for days in terms.values()), (kind, terms)


def dg_config(home: Path) -> dict[str, object]:
    import yaml

    return {"retention": yaml.safe_load((home / "dagster.yaml").read_text(encoding="utf-8"))["retention"]}


class Nights:
    """The job's two assets on one instance, with a clock that can be turned."""

    def __init__(self, instance: dg.DagsterInstance, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._instance, self.at = instance, NOW
        self._given = {"settings": Settings(state_dir=folder), "registry": MemoryRegistry(folder / "registry")}
        (folder / "data").mkdir(parents=True)
        monkeypatch.setattr(nightly, "utc_now", lambda: self.at)

    def pass_one(self) -> dg.ExecuteInProcessResult:
        result = dg.materialize([nightly.housekeeping, nightly.storage], resources=self._given, instance=self._instance)
        self.at += timedelta(days=1)
        return result

    def told(self, result: dg.ExecuteInProcessResult, asset: str) -> dict[str, object]:
        (event,) = result.asset_materializations_for_node(asset)
        return {name: one.value for name, one in event.metadata.items()}

    def check(self, result: dg.ExecuteInProcessResult, name: str) -> dg.AssetCheckEvaluation:
        return next(one for one in result.get_asset_check_evaluations() if one.check_name == name)


@pytest.fixture
def nights(instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Nights:
    return Nights(instance, tmp_path / "state", monkeypatch)


def test_a_night_tells_what_it_did(instance: dg.DagsterInstance, nights: Nights):
    add_run(instance, at=OLD, log="words")

    result = nights.pass_one()

    told = nights.told(result, "housekeeping")
    assert (told["runs_deleted"], told["old_runs_kept"], told["mlflow_runs"], told["engines_deleted"]) == (1, 0, 0, 0)
    assert set(told) >= {
        "ticking",
        "run_orphans_left",
        "squares_bytes_freed",
        "database_index_bytes_freed",
        "database_schedules_bytes_freed",
    }
    assert nights.check(result, "everything_due_is_gone").passed
    assert nights.pass_one().success


def test_a_part_that_fails_is_told_and_keeps_no_other_from_being_done(
    instance: dg.DagsterInstance, nights: Nights, monkeypatch: pytest.MonkeyPatch
):
    def refuse(*_: object, **__: object) -> int:
        raise ServiceUnavailable("the disk refused")

    def stumble(*_: object, **__: object) -> int:
        raise ValueError("测试甲")

    monkeypatch.setattr(history, "purge_ticks", refuse)
    monkeypatch.setattr(history, "sweep_orphans", stumble)
    add_run(instance, at=OLD)

    result = nights.pass_one()

    check = nights.check(result, "everything_due_is_gone")
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "ticks: the disk refused; orphans of runs: an error of ours (ValueError in stumble, line " in (check.description or "")
    assert "测试甲" not in " ".join(str(entry) for entry in instance.all_logs(result.run_id))
    assert (result.success, nights.told(result, "housekeeping")["runs_deleted"]) == (True, 1)


def test_the_disk_is_foretold_from_the_nights_before(nights: Nights, monkeypatch: pytest.MonkeyPatch):
    free = iter(100 * 10**9 - 8 * 10**9 * night for night in range(12))
    monkeypatch.setattr(
        nightly.core, "measure_storage", lambda _: nightly.core.Storage(parts={"photos": 5}, free=next(free), total=10**12 // 2)
    )

    first = nights.pass_one()
    for _ in range(3):
        nights.pass_one()
    fifth = nights.pass_one()

    said = nights.check(first, "disk_lasts")
    assert (said.passed, "not known yet: 1 nights are measured" in (said.description or "")) == (True, True)
    assert "days_until_full" not in nights.told(first, "storage")
    assert nights.told(fifth, "storage")["photos_bytes"] == 5
    assert nights.told(fifth, "storage")["days_until_full"] == pytest.approx(68 / 8)
    said = nights.check(fifth, "disk_lasts")
    assert (said.passed, said.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert said.description == "14% of the disk is free; full in 8 days: 8000.0 MB less are free each day, over the last 5 nights"


def test_the_job_is_told_the_checks_that_dagster_shows():
    assert CHECK in nightly._shown_checks()


def test_a_row_of_a_check_is_dagsters_own(instance: dg.DagsterInstance):
    """We delete in a table of Dagster's by its own definition; should it be renamed, this says so."""
    add_run(instance, at=OLD, checks=[(FLOW, "one")])
    with closing(sqlite3.connect(Path(instance.root_directory) / "history" / "runs" / "index.db")) as connection:
        assert connection.execute("SELECT count(*) FROM asset_check_executions").fetchone() == (1,)

    history.forget_runs(instance, TERMS, checks=[], at=NOW)

    with closing(sqlite3.connect(Path(instance.root_directory) / "history" / "runs" / "index.db")) as connection:
        assert connection.execute("SELECT count(*) FROM asset_check_executions").fetchone() == (0,)
