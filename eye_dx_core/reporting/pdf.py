"""A report's view as PDF for A4: tagged (PDF/UA-1), fonts within, and byte for byte the same for the same view."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import pylopdf_fonts_zh_cn
import typst

from eye_dx_core.reporting.view import ReportView

_TEMPLATE = Path(__file__).parent / "report.typ"
_FONT = pylopdf_fonts_zh_cn.sans_path()


def render_pdf(view: ReportView) -> bytes:
    """Set a report. The view goes in as data and never as source, so markup in it is shown and not run."""
    return typst.compile(
        _TEMPLATE,
        root=_TEMPLATE.parent,
        format="pdf",
        font_paths=_fonts(),
        ignore_system_fonts=True,
        sys_inputs={"view": json.dumps(_printable(view.model_dump(mode="python")), default=str)},
        pdf_standards="ua-1",
        timestamp=int(view.written_at.timestamp()),
    )


def _printable(value: Any) -> Any:  # noqa: ANN401 - whatever JSON can hold
    """Pictures as numbers, which typst turns into bytes again; characters that the font lacks as their code points."""
    if isinstance(value, bytes):
        return list(value)
    if isinstance(value, str):
        return "".join(one if one.isspace() or ord(one) in _characters() else f"[U+{ord(one):04X}]" for one in value)
    if isinstance(value, dict):
        return {key: _printable(one) for key, one in value.items()}  # pyright: ignore[reportUnknownVariableType]
    return [_printable(one) for one in value] if isinstance(value, tuple) else value  # pyright: ignore[reportUnknownVariableType]


@lru_cache(maxsize=1)
def _fonts() -> typst.Fonts:
    return typst.Fonts(include_system_fonts=False, include_embedded_fonts=False, font_paths=[_FONT.parent])


@lru_cache(maxsize=1)
def _characters() -> frozenset[int]:
    """What the font can draw. PDF/UA forbids a glyph that stands for none, and typst then gives no PDF at all."""
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(str(_FONT)).get_charmap())
