"""Sets pages as PDF by typst: tagged (PDF/UA-1), fonts within, and byte for byte the same for the same content."""

import json
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import pylopdf_fonts_zh_cn
import typst

_FONT = pylopdf_fonts_zh_cn.sans_path()


def typeset(template: Path, content: Mapping[str, Any], *, written_at: datetime) -> bytes:
    """Set a template of this folder.

    Args:
        template: typst source that reads `json(bytes(sys.inputs.view))`.
        content: goes in as data and never as source, so markup in it is shown and not run; bytes arrive as lists of numbers.
        written_at: the date in the file.
    """
    return typst.compile(
        template,
        root=template.parent,
        format="pdf",
        font_paths=_fonts(),
        ignore_system_fonts=True,
        sys_inputs={"view": json.dumps(_printable(content), default=str)},
        pdf_standards="ua-1",
        timestamp=int(written_at.timestamp()),
    )


def _printable(value: Any) -> Any:  # noqa: ANN401 - whatever JSON can hold
    """Pictures as numbers, which typst turns into bytes again; characters that the font lacks as their code points."""
    if isinstance(value, bytes):
        return list(value)
    if isinstance(value, str):
        return "".join(one if one.isspace() or ord(one) in _characters() else f"[U+{ord(one):04X}]" for one in value)
    if isinstance(value, dict):
        return {key: _printable(one) for key, one in value.items()}  # pyright: ignore[reportUnknownVariableType]
    return [_printable(one) for one in value] if isinstance(value, list | tuple) else value  # pyright: ignore[reportUnknownVariableType]


@lru_cache(maxsize=1)
def _fonts() -> typst.Fonts:
    return typst.Fonts(include_system_fonts=False, include_embedded_fonts=False, font_paths=[_FONT.parent])


@lru_cache(maxsize=1)
def _characters() -> frozenset[int]:
    """What the font can draw. PDF/UA forbids a glyph that stands for none, and typst then gives no PDF at all."""
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(str(_FONT)).get_charmap())
