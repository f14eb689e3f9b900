"""The day as a PDF for print and archive: tagged, with its fonts in it, and the same bytes for the same report."""

import tempfile
from pathlib import Path

import pylopdf_fonts_zh_cn as fonts
import typst

from eye_dx_core.reporting.daily import DailyReport
from eye_dx_core.reporting.daily_page import day_page

_TEMPLATE = Path(__file__).with_name("daily.typ")


def daily_pdf(report: DailyReport, figure: bytes) -> bytes:
    """Typeset a day on A4 with its figure, a PNG."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "daily.typ").write_bytes(_TEMPLATE.read_bytes())
        (folder / "page.json").write_text(day_page(report).model_dump_json(), encoding="utf-8")
        (folder / "figure.png").write_bytes(figure)
        return typst.compile(
            str(folder / "daily.typ"),
            root=name,
            font_paths=[str(Path(fonts.sans_path()).parent)],
            ignore_system_fonts=True,
            format="pdf",
            pdf_standards=["ua-1"],
            timestamp=int(report.at.timestamp()),
        )
