"""A report's view as HTML and as JSON; the patient's name stands in it, the phone does not."""

import base64
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from eye_dx_core.reporting.view import ReportView

# Everything is escaped: a conclusion or a name came by queue and may hold markup.
_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


_TEMPLATES.filters["base64"] = _base64


def render_html(view: ReportView) -> str:
    """A page that needs no other file and no script, for screens from a phone's on and for A4."""
    return _TEMPLATES.get_template("report.html.jinja").render(view=view, title=f"{view.heading.title} {view.report_id}")


def render_patient_page(view: ReportView) -> str:
    """The page behind a patient's link: the same, with a title that tells nothing, since titles stand in histories and shared cards."""
    return _TEMPLATES.get_template("report.html.jinja").render(view=view, title=view.heading.title)


def render_json(view: ReportView) -> str:
    """The view as it is, pictures in base64."""
    return view.model_dump_json(indent=2)
