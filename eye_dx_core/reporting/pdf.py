"""A report's view as PDF for A4."""

from pathlib import Path

from eye_dx_core.reporting.typesetting import typeset
from eye_dx_core.reporting.view import ReportView


def render_pdf(view: ReportView) -> bytes:
    """Set a report: the same bytes for the same view."""
    return typeset(Path(__file__).with_name("report.typ"), view.model_dump(mode="python"), written_at=view.written_at)
