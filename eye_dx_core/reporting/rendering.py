"""The report as a page that can be read on a phone and printed on A4."""

from datetime import datetime, tzinfo

from jinja2 import Environment, PackageLoader, StrictUndefined

from eye_dx_core.schema.case import Case, Laterality
from eye_dx_core.schema.diagnosis import AiDiagnosis
from eye_dx_core.schema.report import DiagnosisReport

_STRUCTURES = (("retina", "视网膜"), ("macula", "黄斑"), ("optic_disc", "视盘"), ("vessels", "血管"))
_templates = Environment(loader=PackageLoader("eye_dx_core.reporting", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True)


def render_html(report: DiagnosisReport, case: Case, diagnosis: AiDiagnosis, *, tz: tzinfo) -> str:
    """One self-contained HTML page in Chinese. It names the patient, but not the phone number: who holds the page needs none."""
    return _templates.get_template("report.html.jinja").render(
        report=report,
        case=case,
        patient=case.screening.patient,
        diagnosis=diagnosis,
        eyes=tuple(Laterality),
        structures=_STRUCTURES,
        local=lambda time: _local(time, tz),
        measured=lambda value: "未测" if value is None else f"{value:g}",
    )


def _local(time: datetime, tz: tzinfo) -> str:
    return f"{time.astimezone(tz):%Y-%m-%d %H:%M}"
