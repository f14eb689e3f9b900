"""What stands in the cells of the page: measurements with what is odd about them, and the AI's word per eye with its doubts."""

from dataclasses import dataclass

from eye_dx_core.reporting.agreement import decide_agreement
from eye_dx_core.reporting.facts import EYES, confidence_percent, measurement_doubts
from eye_dx_core.schema.case import EyeMeasurement, Laterality
from eye_dx_core.schema.diagnosis import AiDiagnosis, EyeClaim, EyeClaimSource, EyeDiagnosis, Outcome, PhotoPrediction
from eye_dx_core.schema.quality import QualityLevel
from eye_dx_core.schema.routing import ACUITY_IMPLAUSIBLE, IOP_IMPLAUSIBLE, NOT_SIGNED_ZH, Subject

_LEVELS = {QualityLevel.GOOD: "合格", QualityLevel.USABLE: "可用", QualityLevel.REJECT: "不合格"}
_SOURCES = {
    EyeClaimSource.MESSAGE: "申请", EyeClaimSource.FILE_NAME: "文件名", EyeClaimSource.DICOM: "DICOM", EyeClaimSource.PICTURE: "图像",
}  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """What was measured on one eye; None where nothing was."""

    eye: Laterality
    acuity: str | None
    iop: str | None
    is_acuity_odd: bool
    is_iop_odd: bool


@dataclass(frozen=True)
class ShownReading:
    """The AI's word on one eye."""

    title: str
    code: str
    conclusion: str
    is_open: bool
    """No conclusion was reached: shown so that nobody takes it for normal."""
    percent: int | None = None
    areas: str = ""
    quality: tuple[str, ...] = ()
    """One line per photograph, with what to do."""
    side_doubts: tuple[str, ...] = ()
    """What a doctor must know before trusting that it is this eye."""


def show_measured(measured: EyeMeasurement, eye: Laterality, diagnosis: AiDiagnosis) -> Measured:
    """The values of one eye; one that cannot be right, or asks for a doctor, is marked."""
    doubts = measurement_doubts(diagnosis, eye)
    reasons = diagnosis.routing.of(Subject.MEASUREMENT) if diagnosis.routing else ()
    acuity, five_point, iop = measured.acuity_decimal, measured.acuity_five_point, measured.iop_mmhg
    written = f"（五分记录 {five_point:g}）" if five_point is not None else ""
    return Measured(
        eye=eye,
        acuity=None if acuity is None else f"{acuity:g}{written}{_not_used(ACUITY_IMPLAUSIBLE in doubts)}",
        iop=None if iop is None else f"{iop:g} mmHg{_not_used(IOP_IMPLAUSIBLE in doubts)}",
        is_acuity_odd=ACUITY_IMPLAUSIBLE in doubts,
        is_iop_odd=any(one.rule != ACUITY_IMPLAUSIBLE and one.eye in (eye, None) for one in reasons),
    )


def _not_used(is_implausible: bool) -> str:  # noqa: FBT001 - a word or none
    return "（超出可信范围，未采用）" if is_implausible else ""


def show_readings(diagnosis: AiDiagnosis) -> list[ShownReading]:
    """Both eyes, then what is of an unknown eye."""
    sided = [_show_reading(diagnosis.find_eye(eye), eye) for eye in EYES]
    return sided + [_show_reading(one, None) for one in diagnosis.eyes if one.eye is None]


def _show_reading(diagnosis: EyeDiagnosis | None, eye: Laterality | None) -> ShownReading:
    title, code = (eye.name_zh, eye.value) if eye else ("眼别不明", "side unknown")
    if diagnosis is None or not diagnosis.photos:
        return ShownReading(title, code, conclusion="未评估（没有照片）", is_open=True)
    return ShownReading(
        title,
        code,
        conclusion=diagnosis.conclusion_zh,
        is_open=diagnosis.outcome is not Outcome.ASSESSED,
        percent=confidence_percent(diagnosis.confidence),
        areas="、".join(f"{area.zone.name_zh} {area.strength:.0%}" for area in diagnosis.abnormal_areas),
        quality=tuple(dict.fromkeys(_quality_of(photo) for photo in diagnosis.photos)),
        side_doubts=tuple(dict.fromkeys(_side_doubt(photo) for photo in diagnosis.photos if _is_side_doubtful(photo))),
    )


def _quality_of(photo: PhotoPrediction) -> str:
    if photo.quality is None:
        return "文件不能读取：请重新发送或重拍。"
    return "".join((_LEVELS[photo.quality.level], *(f"；{issue.advice_zh.rstrip('。')}" for issue in photo.quality.issues)))


def _is_side_doubtful(photo: PhotoPrediction) -> bool:
    return photo.eye is None or len({claim.eye for claim in photo.eye_claims}) > 1


def _side_doubt(photo: PhotoPrediction) -> str:
    said = "，".join(map(_claim, photo.eye_claims))
    return f"请核对眼别（{said}）" if said else "请核对眼别（没有任何来源说明）"


def _claim(claim: EyeClaim) -> str:
    sure = "" if claim.strength == 1 else f" {claim.strength:.0%}"
    return f"{_SOURCES[claim.source]}：{claim.eye.name_zh}{sure}"


def routing_note(diagnosis: AiDiagnosis, doctors_conclusion: str) -> str:
    """What must be read with the urgency: the doctor's word counts, the more so where it differs."""
    differs = diagnosis.label is not None and not decide_agreement(diagnosis.label, doctors_conclusion)
    note = "AI 判读与医生结论不同，以下仅为 AI 建议，请以医生建议为准" if differs else "AI 建议，请以医生建议为准"
    is_signed = diagnosis.routing is None or diagnosis.routing.rules_signed_by is not None
    return note if is_signed else f"{note}；{NOT_SIGNED_ZH}"
