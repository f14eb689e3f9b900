"""The report as one printable A4 page in HTML; here the patient's name comes back, the phone does not."""

from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from eye_dx_core.reporting.facts import EYES
from eye_dx_core.reporting.showing import routing_note, show_measured, show_readings
from eye_dx_core.schema.case import Case
from eye_dx_core.schema.diagnosis import AiDiagnosis
from eye_dx_core.schema.report import DiagnosisReport

_STRUCTURES = (("视网膜", "Retina", "retina"), ("黄斑", "Macula", "macula"), ("视盘", "Disc", "optic_disc"), ("血管", "Vessels", "vessels"))
# Everything is escaped: a conclusion or a name came by queue and may hold markup.
_TEMPLATES = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True)


def render_html(report: DiagnosisReport, case: Case, diagnosis: AiDiagnosis, *, tz: ZoneInfo) -> str:
    """Render a self-contained page.

    Args:
        report: what was written.
        case: for the patient block and what was measured.
        diagnosis: for the AI's word per eye, what it proposes, and the model that said it.
        tz: local time of the clinic.
    """
    screening = case.screening
    return _TEMPLATES.get_template("report.html.jinja").render(
        report=report,
        patient=screening.patient,
        external_id=case.external_id,
        eyes=[show_measured(screening.vision.of(eye), eye, diagnosis) for eye in EYES],
        readings=show_readings(diagnosis),
        routing=diagnosis.routing,
        routing_note=routing_note(diagnosis, report.conclusion),
        structures=_STRUCTURES,
        diagnosis=diagnosis,
        examined_at=_local(screening.screened_at or case.received_at, tz),
        diagnosed_at=_local(diagnosis.diagnosed_at, tz),
        written_at=_local(report.written_at, tz),
        timezone=tz.key,
    )


def _local(time: datetime, tz: ZoneInfo) -> str:
    return f"{time.astimezone(tz):%Y-%m-%d %H:%M}"
