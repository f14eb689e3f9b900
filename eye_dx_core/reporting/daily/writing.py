"""A day's report from the records: counted, compared, drawn, and written to files."""

import gc
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from eye_dx_core.files.port import FileStore
from eye_dx_core.records.port import Records
from eye_dx_core.reporting.daily.charts import daily_figures
from eye_dx_core.reporting.daily.drift import REFERENCE_DAYS, tally_of
from eye_dx_core.reporting.daily.frames import frames_of
from eye_dx_core.reporting.daily.pdf import daily_pdf
from eye_dx_core.reporting.daily.rendering import daily_html, daily_markdown
from eye_dx_core.reporting.daily.report import DailyReport, count_day
from eye_dx_core.reporting.daily.tables import day_tables
from eye_dx_core.reporting.daily.tallies import Tallies


@dataclass(frozen=True)
class DayPages:
    """What was written of a day, under which names: `<day>.md`, `.html`, `.pdf`, `.png`, `.json`, `.csv`, `.parquet`."""

    day: date
    markdown: str
    figure: bytes
    """Small enough for Dagster's event log."""

    def file(self, suffix: str) -> str:
        """Name of the file of that kind."""
        return _name_of(self.day, suffix)


def write_day(records: Records, day: date, *, zone: ZoneInfo, files: FileStore, at: datetime) -> tuple[DailyReport, DayPages]:
    """Count one local day, and write its report in every form.

    Args:
        records: where the cases are.
        day: by the clinic's clock.
        zone: of that clock.
        files: where they go, and where the tallies of the days are.
        at: the moment for which overdue is told.
    """
    report = report_of_day(records, day, zone=zone, files=files, at=at)
    figure, sharp_figure = daily_figures(report)
    pages = DayPages(day, daily_markdown(report), figure)
    files.write(pages.file("json"), report.model_dump_json(indent=1).encode())
    files.write(pages.file("md"), pages.markdown.encode())
    files.write(pages.file("png"), sharp_figure)
    files.write(pages.file("html"), daily_html(report, sharp_figure).encode())
    files.write(pages.file("pdf"), daily_pdf(report, sharp_figure))
    return report, pages


def report_of_day(records: Records, day: date, *, zone: ZoneInfo, files: FileStore, at: datetime) -> DailyReport:
    """Count one local day and compare it with those before; its table of eyes and its tally are written on the way."""
    since, until = _start_of(day, zone), _start_of(day + timedelta(days=1), zone)
    with _without_collecting():
        frames = frames_of(records.day_figures(since=since, until=until))
    tallies = Tallies(files, records)
    for suffix, content in day_tables(frames, day, zone=zone).items():
        files.write(_name_of(day, suffix), content)
    tallies.keep(day, since, until, tally_of(frames))
    days_before = (day - timedelta(days=ago) for ago in range(REFERENCE_DAYS, 0, -1))
    before = [tallies.of(one, _start_of(one, zone), _start_of(one + timedelta(days=1), zone)) for one in days_before]
    return count_day(frames, records.rejections(since=since, until=until), day=day, at=at, before=before)


@contextmanager
def _without_collecting() -> Generator[None]:
    """Hundreds of thousands of rows without a cycle among them: looking for cycles again and again took a quarter of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _name_of(day: date, suffix: str) -> str:
    return f"daily/{day}.{suffix}"


def _start_of(day: date, zone: ZoneInfo) -> datetime:
    """Midnight of a local day; where clocks are put forward or back, a day has 23 or 25 hours."""
    return datetime(day.year, day.month, day.day, tzinfo=zone)
