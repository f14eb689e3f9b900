"""The report as one printable A4 page in HTML; here the patient's name comes back, the phone does not."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from eye_dx_core.reporting.facts import EYES, confidence_percent
from eye_dx_core.schema.case import Case, Laterality
from eye_dx_core.schema.diagnosis import AiDiagnosis, EyeDiagnosis, Outcome
from eye_dx_core.schema.report import DiagnosisReport

_STRUCTURES = (("视网膜", "Retina", "retina"), ("黄斑", "Macula", "macula"), ("视盘", "Disc", "optic_disc"), ("血管", "Vessels", "vessels"))
# Everything is escaped: a conclusion or a name came by queue and may hold markup.
_TEMPLATES = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True)


@dataclass(frozen=True)
class _Measured:
    eye: Laterality
    acuity: str | None
    iop: str | None


@dataclass(frozen=True)
class _Reading:
    title: str
    code: str
    conclusion: str
    is_open: bool
    """No conclusion was reached: shown so that nobody takes it for normal."""
    percent: int | None
    areas: str


def render_html(report: DiagnosisReport, case: Case, diagnosis: AiDiagnosis, *, tz: ZoneInfo) -> str:
    """Render a self-contained page.

    Args:
        report: what was written.
        case: for the patient block and what was measured.
        diagnosis: for the AI's word per eye and the model that said it.
        tz: local time of the clinic.
    """
    screening = case.screening
    return _TEMPLATES.get_template("report.html.jinja").render(
        report=report,
        patient=screening.patient,
        external_id=case.external_id,
        eyes=[_measured(case, eye) for eye in EYES],
        readings=_readings(diagnosis),
        structures=_STRUCTURES,
        diagnosis=diagnosis,
        examined_at=_local(screening.screened_at or case.received_at, tz),
        diagnosed_at=_local(diagnosis.diagnosed_at, tz),
        written_at=_local(report.written_at, tz),
        timezone=tz.key,
    )


def _measured(case: Case, eye: Laterality) -> _Measured:
    measured = case.screening.vision.of(eye)
    return _Measured(
        eye=eye,
        acuity=None if measured.acuity_decimal is None else f"{measured.acuity_decimal:g}",
        iop=None if measured.iop_mmhg is None else f"{measured.iop_mmhg:g} mmHg",
    )


def _readings(diagnosis: AiDiagnosis) -> list[_Reading]:
    sided = [_reading(diagnosis.find_eye(eye), eye) for eye in EYES]
    return sided + [_reading(one, None) for one in diagnosis.eyes if one.eye is None]


def _reading(diagnosis: EyeDiagnosis | None, eye: Laterality | None) -> _Reading:
    title, code = (eye.name_zh, eye.value) if eye else ("眼别不明", "side unknown")
    if diagnosis is None or not diagnosis.photos:
        return _Reading(title, code, conclusion="未评估（没有照片）", is_open=True, percent=None, areas="")
    return _Reading(
        title,
        code,
        conclusion=diagnosis.conclusion_zh,
        is_open=diagnosis.outcome is not Outcome.ASSESSED,
        percent=confidence_percent(diagnosis.confidence),
        areas="、".join(area.zone.name_zh for area in diagnosis.abnormal_areas),
    )


def _local(time: datetime, tz: ZoneInfo) -> str:
    return f"{time.astimezone(tz):%Y-%m-%d %H:%M}"
