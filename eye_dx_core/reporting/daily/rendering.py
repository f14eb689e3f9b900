"""The day as Markdown for Dagster and as a page of HTML for the clinic's morning meeting."""

import base64
from collections.abc import Iterable, Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from eye_dx_core.reporting.daily.page import DayPage, Headline, Tone, day_page
from eye_dx_core.reporting.daily.report import DailyReport

_TEMPLATES = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True)


def daily_markdown(report: DailyReport) -> str:
    """The day as a page of tables."""
    return page_markdown(day_page(report))


def page_markdown(page: DayPage) -> str:
    """A page of tables."""
    parts = [f"# {page.title_zh} {page.title_en}"]
    if not page.sections:
        return f"{parts[0]}\n\n{page.nothing_en} {page.nothing_zh}\n"
    parts += [f"As it stood at {page.counted_at}.", _headlines(page)]
    for section in page.sections:
        parts += [f"## {section.zh} {section.en}", _table(section.head, section.rows)]
        parts += [f"*{section.note}*"] if section.note else []
    return "\n\n".join(parts) + "\n"


def _headlines(page: DayPage) -> str:
    return _table(("figure 指标", "value 数值", ""), [_headline(one) for one in page.headlines])


def _headline(one: Headline) -> tuple[str, str, str]:
    value = f"**⚠ {one.value}**" if one.tone is Tone.ACT else one.value
    return f"{one.en} {one.zh}", value, one.detail


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [f"| {' | '.join(head)} |", "|---|" + "---:|" * (len(head) - 1)]
    return "\n".join(lines + [f"| {' | '.join(_cell(value) for value in row)} |" for row in rows])


def _cell(value: object) -> str:
    """Reasons come from outside: a pipe, a line break or markup in one must not break the table, nor become a link."""
    text = " ".join(str(value).split())
    return "".join(f"\\{one}" if one in "|\\`[]<>" else one for one in text)


def daily_html(report: DailyReport, figure: bytes) -> str:
    """The day as one self-contained page with its figure, a PNG."""
    return page_html(day_page(report), figure)


def page_html(page: DayPage, figure: bytes | None = None) -> str:
    """A self-contained page, with its figure where there is one."""
    drawn = base64.b64encode(figure).decode() if figure is not None else None
    return _TEMPLATES.get_template("day.html.jinja").render(page=page, figure=drawn)
