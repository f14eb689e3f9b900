"""The day as a PDF for print and archive."""

from pathlib import Path

from eye_dx_core.reporting.daily.page import day_page
from eye_dx_core.reporting.daily.report import DailyReport
from eye_dx_core.reporting.typesetting import typeset


def daily_pdf(report: DailyReport, figure: bytes) -> bytes:
    """Set a day on A4 with its figure, a PNG."""
    content = day_page(report).model_dump(mode="json") | {"figure": figure}
    return typeset(Path(__file__).with_name("day.typ"), content, written_at=report.at)
