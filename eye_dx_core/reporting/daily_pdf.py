"""The day as a PDF for print and archive: tagged, with its fonts in it, and the same bytes for the same report."""

import json
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import pylopdf_fonts_zh_cn as fonts
import typst
from matplotlib.ft2font import FT2Font

from eye_dx_core.reporting.daily import DailyReport
from eye_dx_core.reporting.daily_page import day_page

_TEMPLATE = Path(__file__).with_name("daily.typ")


def daily_pdf(report: DailyReport, figure: bytes) -> bytes:
    """Typeset a day on A4 with its figure, a PNG."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "daily.typ").write_bytes(_TEMPLATE.read_bytes())
        (folder / "page.json").write_text(json.dumps(_printable(day_page(report).model_dump(mode="json"))), encoding="utf-8")
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


def _printable(value: Any) -> Any:  # noqa: ANN401 - whatever JSON can hold
    """Reasons come from outside. PDF/UA forbids a glyph that stands for none, and typst then gives no PDF at all."""
    if isinstance(value, str):
        return "".join(one if one.isspace() or ord(one) in _characters() else f"[U+{ord(one):04X}]" for one in value)
    if isinstance(value, dict):
        return {key: _printable(one) for key, one in value.items()}
    return [_printable(one) for one in value]


@lru_cache(maxsize=1)
def _characters() -> frozenset[int]:
    return frozenset(FT2Font(str(fonts.sans_path())).get_charmap())
