"""The daily diagnosis reports: one partition a day over the records."""

import warnings
from datetime import date, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import dagster as dg

from eye_dx_core.files.port import FileStore
from eye_dx_core.records.port import Records
from eye_dx_core.reporting.daily.columns import COLUMNS
from eye_dx_core.reporting.daily.drift import Drift
from eye_dx_core.settings import Settings, get_settings
from eye_dx_dagster.defs.dataset.assets import inline_png
from eye_dx_dagster.defs.diagnosis.jobs import utc_now
from eye_dx_dagster.resources import as_discreet_failures

if TYPE_CHECKING:  # matplotlib and typst are for the run that draws
    from eye_dx_core.reporting.daily.report import DailyReport
    from eye_dx_core.reporting.daily.writing import DayPages

# It says so each time a definition is made.
warnings.filterwarnings("ignore", "Parameter `backfill_policy`", dg.BetaWarning)

# Today's partition exists from midnight on (end_offset), so that the day can be looked at before it is over.
DAYS = dg.DailyPartitionsDefinition(start_date="2026-01-01", timezone=get_settings().timezone, end_offset=1)

_NO_DRIFT, _KEEPS_RULES = "reading_has_not_drifted", "language_model_keeps_the_rules"

# One row per eye; a test holds the names to those that the table is written with.
DAILY_COLUMNS = dg.TableSchema(columns=[dg.TableColumn(name, kind, meaning) for name, (kind, meaning) in COLUMNS.items()])


@dg.asset(
    partitions_def=DAYS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    group_name="reports",
    owners=["team:screening-operations"],
    kinds={"python"},
    tags={"domain": "report"},
    metadata={"dagster/column_schema": DAILY_COLUMNS},
    freshness_policy=dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=36), warn_window=timedelta(hours=26)),
    check_specs=[
        dg.AssetCheckSpec(
            _NO_DRIFT,
            asset="daily_diagnosis_report",
            description="Quality, conclusions, confidence and distance from the training photographs are as in the days before.",
        ),
        dg.AssetCheckSpec(
            _KEEPS_RULES,
            asset="daily_diagnosis_report",
            description="At most a fifth of the language model's texts was refused. Every patient has a report: a template wrote it.",
        ),
    ],
)
def daily_diagnosis_report(
    context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings], records: dg.ResourceParam[Records]
) -> dg.MaterializeResult:
    """The clinic's day: what was found, whether doctor and AI agree, times, overdue reviews, unreadable photographs, deliveries, drift.

    A month is one run: choose its days and launch a backfill.
    """
    from eye_dx_core import wiring
    from eye_dx_core.reporting.daily.writing import write_day

    zone = ZoneInfo(settings.timezone)
    checks: list[dg.AssetCheckResult] = []
    for key in context.partition_keys:
        with as_discreet_failures():
            files = wiring.open_files(settings)
            report, pages = write_day(records, date.fromisoformat(key), zone=zone, files=files, at=utc_now().astimezone(zone))
        context.add_asset_metadata(_metadata(report, pages, files), partition_key=key)
        context.log.info("%s: %s cases", key, report.cases)
        checks = [_to_check(report.drift), _guard_check(report)]  # the last day's speak for a backfill
    return dg.MaterializeResult(check_results=checks)


def _metadata(report: "DailyReport", pages: "DayPages", files: FileStore) -> dict[str, dg.MetadataValue | int | float]:
    """Numbers are plotted over the days by Dagster."""
    numbers = {"dagster/row_count": report.eyes, "cases": report.cases, "overdue_urgent": report.times.overdue_urgent}
    shares = {"override_rate": report.agreement.override_rate, "ungradable_eyes": report.ungradable}
    drift = report.drift.subjects if report.drift else ()
    return {
        "report": dg.MetadataValue.md(pages.markdown),
        "figure": inline_png(pages.figure),
        **{name: dg.MetadataValue.path(files.address(pages.file(name))) for name in ("html", "pdf", "csv", "parquet", "json")},
        **numbers,
        "overdue": report.times.overdue,
        "undelivered": report.undelivered,
        **{name: round(share.value, 4) for name, share in shares.items() if share},
        **{f"psi_{one.subject}": round(one.psi, 3) for one in drift if one.psi is not None},
    }


def _to_check(drift: Drift | None) -> dg.AssetCheckResult:
    """A warning: a shift is no fault of anybody, and somebody should look at the photographs before trusting the readings."""
    said = "; ".join(map(str, drift.subjects)) if drift else "nothing was read on this day"
    advice = ". Look at some of the day's photographs: another camera, site or kind of patient?" if drift and drift.drifted else ""
    return dg.AssetCheckResult(check_name=_NO_DRIFT, passed=not advice, severity=dg.AssetCheckSeverity.WARN, description=said + advice)


def _guard_check(report: "DailyReport") -> dg.AssetCheckResult:
    """A warning: somebody should look at model, instructions and guard."""
    from eye_dx_core.reporting.language_model.outcomes import GuardCount

    count = GuardCount.model_validate({"outcomes": report.guard, "rules": report.guard_rules})
    said = count.reason if count.asked else "no language model was asked on this day"
    is_well = not count.needs_a_look
    return dg.AssetCheckResult(check_name=_KEEPS_RULES, passed=is_well, severity=dg.AssetCheckSeverity.WARN, description=said)


daily_report_job = dg.define_asset_job(
    "daily_report_job", selection=[daily_diagnosis_report], executor_def=dg.in_process_executor, tags={"domain": "report"}
)


@dg.schedule(
    job=daily_report_job,
    cron_schedule="30 0 * * *",
    execution_timezone=get_settings().timezone,
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
def daily_report_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """Write yesterday's report half an hour after midnight, local time."""
    day = context.scheduled_execution_time.astimezone(ZoneInfo(get_settings().timezone)).date() - timedelta(days=1)
    return dg.RunRequest(partition_key=day.isoformat(), run_key=day.isoformat())
