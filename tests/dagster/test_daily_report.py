"""The daily report as an asset: what the operator sees of a day, and the warning when the readings are not as before."""

from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from eye_dx_core.records.memory import MemoryRecords
from eye_dx_core.schema.report import GuardOutcome
from eye_dx_core.settings import Settings
from eye_dx_dagster.defs.reports.assets import daily_diagnosis_report
from tests.builders import NOON, a_case, a_diagnosis, a_report, a_review

pytestmark = pytest.mark.filterwarnings("ignore::dagster.BetaWarning", "ignore::DeprecationWarning")
DAY = NOON.date()


def add_readings(records: MemoryRecords, count: int, *, right: str, days_ago: int) -> None:
    for number in range(count):
        case_id = f"case-{days_ago}-{number}"
        records.add_case(a_case(case_id).model_copy(update={"received_at": NOON - timedelta(days=days_ago)}), b"{}")
        records.add_diagnosis(a_diagnosis(case_id, right=right), [])


def report_of_the_day(records: MemoryRecords, folder: Path) -> dg.ExecuteInProcessResult:
    given = {"settings": Settings(state_dir=folder), "records": records}
    with dg.instance_for_test() as instance:
        return dg.materialize([daily_diagnosis_report], resources=given, instance=instance, partition_key=DAY.isoformat())


def check_of(result: dg.ExecuteInProcessResult, name: str) -> dg.AssetCheckEvaluation:
    return next(one for one in result.get_asset_check_evaluations() if one.check_name == name)


@pytest.mark.parametrize(
    ("outcomes", "passes", "said"),
    [
        ({}, True, "no language model was asked on this day"),
        ({GuardOutcome.PASSED: 8, GuardOutcome.REFUSED: 2}, True, "10 reports asked of the language model, 20% refused: side 2"),
        ({GuardOutcome.PASSED: 7, GuardOutcome.REFUSED: 3}, False, "10 reports asked of the language model, 30% refused: side 3"),
        ({GuardOutcome.REFUSED: 9}, True, "9 reports asked of the language model, 100% refused: side 9"),
        ({GuardOutcome.UNAVAILABLE: 10}, False, "10 reports asked of the language model, none came back"),
    ],
)
def test_a_day_on_which_too_many_texts_were_refused_warns(outcomes: dict[GuardOutcome, int], *, passes: bool, said: str, tmp_path: Path):
    records = MemoryRecords()
    add_readings(records, sum(outcomes.values()), right="A", days_ago=0)
    for number, outcome in enumerate(outcome for outcome, count in outcomes.items() for _ in range(count)):
        case_id = f"case-0-{number}"
        rules = ("side",) if outcome is GuardOutcome.REFUSED else ()
        records.add_review(a_review(case_id, review_id=case_id))
        records.add_report(a_report(case_id).model_copy(update={"guard": outcome, "guard_rules": rules}), [])

    check = check_of(report_of_the_day(records, tmp_path), "language_model_keeps_the_rules")

    assert (check.passed, check.description) == (passes, said)


def test_a_day_of_other_findings_than_before_warns_and_says_what_grew(tmp_path: Path):
    records = MemoryRecords()
    add_readings(records, 200, right="N", days_ago=3)
    add_readings(records, 200, right="A", days_ago=30)  # too long ago to count
    add_readings(records, 40, right="A", days_ago=0)

    result = report_of_the_day(records, tmp_path)

    check = check_of(result, "reading_has_not_drifted")
    assert (check.check_name, check.passed, check.severity) == ("reading_has_not_drifted", False, dg.AssetCheckSeverity.WARN)
    assert "conclusions drift, PSI 3.33 (A: 0% → 50%)" in (check.description or "")
    (event,) = result.get_asset_materialization_events()
    assert event.step_materialization_data.materialization.metadata["psi_conclusions"].value > 0.25


def test_a_month_is_one_run_with_the_figures_of_each_day(tmp_path: Path):
    records = MemoryRecords()
    for days_ago in range(4):
        add_readings(records, days_ago + 1, right="A", days_ago=days_ago)
    given = {"settings": Settings(state_dir=tmp_path), "records": records}
    first, last = (DAY - timedelta(days=3)).isoformat(), DAY.isoformat()
    tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}

    with dg.instance_for_test() as instance:
        result = dg.materialize([daily_diagnosis_report], resources=given, instance=instance, tags=tags)

    events = [event.step_materialization_data.materialization for event in result.get_asset_materialization_events()]
    assert {event.partition: event.metadata["cases"].value for event in events} == {
        (DAY - timedelta(days=days_ago)).isoformat(): days_ago + 1 for days_ago in range(4)
    }
    kinds = ("csv", "html", "json", "md", "parquet", "pdf", "png")
    assert sorted(path.name for path in (tmp_path / "data" / "daily").glob("2026-*")) == [
        f"{DAY - timedelta(days=days_ago)}.{kind}" for days_ago in (3, 2, 1, 0) for kind in kinds
    ]


def test_a_new_installation_has_too_few_readings_to_speak_of_drift(tmp_path: Path):
    records = MemoryRecords()
    add_readings(records, 8, right="N", days_ago=0)

    check = check_of(report_of_the_day(records, tmp_path), "reading_has_not_drifted")

    assert check.passed
    assert "conclusions not assessed, too few: 16 photographs, 0 before (50 and 200 are needed)" in (check.description or "")
