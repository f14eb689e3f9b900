"""The daily diagnosis reports: one partition a day over the records."""

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import dagster as dg

from eye_dx_core.records.port import Records
from eye_dx_core.reporting.drift import REFERENCE_DAYS, Drift
from eye_dx_core.settings import Settings, get_settings
from eye_dx_dagster.defs.dataset.assets import inline_png
from eye_dx_dagster.resources import as_discreet_failures

# Today's partition exists from midnight on (end_offset), so that the day can be looked at before it is over.
DAYS = dg.DailyPartitionsDefinition(start_date="2026-01-01", timezone=get_settings().timezone, end_offset=1)

_NO_DRIFT = "reading_has_not_drifted"

DAILY_COLUMNS = dg.TableSchema(
    columns=[
        dg.TableColumn("conclusion", "string", "Label code, `uncertain` or `not_assessed`."),
        dg.TableColumn("eyes", "int", "Eyes with this AI conclusion."),
    ]
)


@dg.asset(
    partitions_def=DAYS,
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
        )
    ],
)
def daily_diagnosis_report(
    context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings], records: dg.ResourceParam[Records]
) -> dg.MaterializeResult:
    """The clinic's day: cases, conclusions per eye, confidence, not assessed, agreement of AI and doctor, times, undelivered, drift."""
    from eye_dx_core.reporting.daily import daily_figure, daily_markdown, summarise_day

    zone = ZoneInfo(settings.timezone)
    day = date.fromisoformat(context.partition_key)
    since = datetime(day.year, day.month, day.day, tzinfo=zone)
    until = since + timedelta(days=1)
    with as_discreet_failures():
        report = summarise_day(
            records.case_records(since=since, until=until),
            records.rejections(since=since, until=until),
            day=day,
            before=records.case_records(since=since - timedelta(days=REFERENCE_DAYS), until=since),
        )
    folder = settings.data / "daily"
    folder.mkdir(parents=True, exist_ok=True)
    figure, table = daily_figure(report), daily_markdown(report)
    (folder / f"{day}.json").write_text(report.model_dump_json(indent=2), encoding="utf-8")
    (folder / f"{day}.md").write_text(table, encoding="utf-8")
    (folder / f"{day}.png").write_bytes(figure)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": report.cases,
            "report": dg.MetadataValue.md(table),
            "figure": inline_png(figure),
            "file": dg.MetadataValue.path(folder / f"{day}.md"),
            **_drift_metadata(report.drift),
        },
        check_results=[_to_check(report.drift)],
    )


def _drift_metadata(drift: Drift | None) -> dict[str, float]:
    """Numbers are plotted over the days by Dagster."""
    return {f"psi_{one.subject}": round(one.psi, 3) for one in drift.subjects if one.psi is not None} if drift else {}


def _to_check(drift: Drift | None) -> dg.AssetCheckResult:
    """A warning: a shift is no fault of anybody, and somebody should look at the photographs before trusting the readings."""
    said = "; ".join(map(str, drift.subjects)) if drift else "nothing was read on this day"
    advice = ". Look at some of the day's photographs: another camera, site or kind of patient?" if drift and drift.drifted else ""
    return dg.AssetCheckResult(check_name=_NO_DRIFT, passed=not advice, severity=dg.AssetCheckSeverity.WARN, description=said + advice)


daily_report_job = dg.define_asset_job("daily_report_job", selection=[daily_diagnosis_report], executor_def=dg.in_process_executor)


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
