"""What stands in the cells of a report: measurements with what is odd about them, and the AI's word per eye with its doubts."""

from collections.abc import Sequence
from dataclasses import dataclass

from eye_dx_core.reporting.agreement import decide_agreement
from eye_dx_core.reporting.facts import EYES, confidence_percent, measurement_doubts
from eye_dx_core.reporting.material import Language
from eye_dx_core.reporting.view import Cell, Row
from eye_dx_core.schema.case import Laterality, VisionData
from eye_dx_core.schema.condition import LABELS
from eye_dx_core.schema.diagnosis import AiDiagnosis, EyeClaim, EyeClaimSource, EyeDiagnosis, Outcome, PhotoPrediction
from eye_dx_core.schema.quality import QualityLevel
from eye_dx_core.schema.review import DoctorReview, EyeReview
from eye_dx_core.schema.routing import ACUITY_IMPLAUSIBLE, IOP_IMPLAUSIBLE, NOT_SIGNED_EN, NOT_SIGNED_ZH, Subject

_NOTHING = "—"
_LEVELS = {
    QualityLevel.GOOD: ("合格", "good"), QualityLevel.USABLE: ("可用", "usable"), QualityLevel.REJECT: ("不合格", "not fit to be read"),
}  # fmt: skip
_SOURCES = {
    EyeClaimSource.MESSAGE: ("申请", "request"), EyeClaimSource.FILE_NAME: ("文件名", "file name"),
    EyeClaimSource.DICOM: ("DICOM", "DICOM"), EyeClaimSource.PICTURE: ("图像", "picture"),
}  # fmt: skip


@dataclass(frozen=True)
class EyeColumn:
    """One column of the tables: an eye, or what nobody knows the eye of (`eye` is None)."""

    eye: Laterality | None
    reading: EyeDiagnosis | None

    def title(self, lang: Language) -> str:
        """Its heading, with the abbreviation that doctors use."""
        if self.eye is None:
            return lang.say("眼别不明", "side unknown")
        return f"{lang.say(self.eye.name_zh, self.eye.name_en.capitalize())} {self.eye.value}"


def columns_of(diagnosis: AiDiagnosis) -> tuple[EyeColumn, ...]:
    """Both eyes, then what is of an unknown eye."""
    unknown = (EyeColumn(None, one) for one in diagnosis.eyes if one.eye is None)
    return (*(EyeColumn(eye, diagnosis.find_eye(eye)) for eye in EYES), *unknown)


def measured_rows(vision: VisionData, diagnosis: AiDiagnosis, lang: Language) -> tuple[Row, ...]:
    """Acuity and pressure of both eyes; a value that cannot be right, or asks for a doctor, says so."""
    return (
        Row(label=lang.say("视力（小数）", "Visual acuity (decimal)"), cells=tuple(_acuity(vision, eye, diagnosis, lang) for eye in EYES)),
        Row(label=lang.say("眼压", "Intraocular pressure"), cells=tuple(_pressure(vision, eye, diagnosis, lang) for eye in EYES)),
    )


def _acuity(vision: VisionData, eye: Laterality, diagnosis: AiDiagnosis, lang: Language) -> Cell:
    value, five_point = vision.of(eye).acuity_decimal, vision.of(eye).acuity_five_point
    if value is None:
        return Cell(text=lang.say("未测量", "not measured"))
    written = lang.say(f"（五分记录 {five_point:g}）", f" (five-point {five_point:g})") if five_point is not None else ""
    is_odd = ACUITY_IMPLAUSIBLE in measurement_doubts(diagnosis, eye)
    return Cell(text=f"{value:g}{written}{_not_used(lang) if is_odd else ''}", is_marked=is_odd)


def _pressure(vision: VisionData, eye: Laterality, diagnosis: AiDiagnosis, lang: Language) -> Cell:
    value = vision.of(eye).iop_mmhg
    if value is None:
        return Cell(text=lang.say("未测量", "not measured"))
    reasons = diagnosis.routing.of(Subject.MEASUREMENT) if diagnosis.routing else ()
    is_odd = any(one.rule != ACUITY_IMPLAUSIBLE and one.eye in (eye, None) for one in reasons)
    is_implausible = IOP_IMPLAUSIBLE in measurement_doubts(diagnosis, eye)
    said = _not_used(lang) if is_implausible else lang.say("（需关注）", " (needs attention)") if is_odd else ""
    return Cell(text=f"{value:g} mmHg{said}", is_marked=is_odd)


def _not_used(lang: Language) -> str:
    return lang.say("（超出可信范围，未采用）", " (implausible, not used)")


def reading_rows(columns: Sequence[EyeColumn], review: DoctorReview | None, lang: Language) -> tuple[Row, ...]:
    """The AI's word per eye, and the doctor's beside it where it was given eye by eye. Rows that say nothing are left out."""
    rows = [
        Row(label=lang.say("AI 判读", "AI reading"), cells=tuple(_ai_word(one.reading, lang) for one in columns)),
        Row(label=lang.say("置信度", "Confidence"), cells=tuple(_confidence(one.reading) for one in columns)),
        Row(label=lang.say("证据区域", "Evidence in"), cells=tuple(_areas(one.reading, lang) for one in columns)),
        Row(label=lang.say("照片质量", "Photo quality"), cells=tuple(_quality(one.reading, lang) for one in columns)),
    ]
    doubts = tuple(_side_doubts(one.reading, lang) for one in columns)
    if any(one.is_marked for one in doubts):
        rows.append(Row(label=lang.say("眼别疑问", "Which eye"), cells=doubts))
    if review and any(one.features for one in review.eyes):
        said = tuple(Cell(text="、".join(_review_of(review, one.eye).features) or _NOTHING) for one in columns)
        rows.append(Row(label=lang.say("医生所见", "Doctor's findings"), cells=said))
    if review and any(one.terms_zh for one in review.eyes):
        said = tuple(Cell(text="、".join(terms_of(_review_of(review, one.eye), lang)) or _NOTHING) for one in columns)
        rows.append(Row(label=lang.say("医生结论", "Doctor"), cells=said))
    return tuple(rows)


def _review_of(review: DoctorReview, eye: Laterality | None) -> EyeReview:
    return next((one for one in review.eyes if one.eye is eye), EyeReview(eye=eye or Laterality.RIGHT))


def terms_of(review: EyeReview, lang: Language) -> tuple[str, ...]:
    """What the doctor chose for one eye in words; free terms stay as they were written."""
    if lang is Language.ZH:
        return review.terms_zh
    codes = (f"D{review.dr_grade:d}" if code == "D" and review.dr_grade is not None else code for code in review.labels)
    said = (review.ungradable.name_en,) if review.ungradable else ()
    return (*said, *(LABELS[code].name_en for code in codes), *review.diseases)


def _ai_word(reading: EyeDiagnosis | None, lang: Language) -> Cell:
    if reading is None or not reading.photos:
        return Cell(
            text=lang.say("未评估（没有照片），不代表正常", "not assessed (no photograph); this does not mean normal"), is_marked=True
        )
    word = lang.say(reading.conclusion_zh, reading.conclusion_en)
    if reading.outcome is Outcome.NOT_ASSESSED:
        return Cell(text=word + lang.say("，不代表正常", "; this does not mean normal"), is_marked=True)
    return Cell(text=word, is_marked=reading.outcome is not Outcome.ASSESSED)


def _confidence(reading: EyeDiagnosis | None) -> Cell:
    percent = confidence_percent(reading.confidence) if reading else None
    return Cell(text=_NOTHING if percent is None else f"{percent}%")


def _areas(reading: EyeDiagnosis | None, lang: Language) -> Cell:
    areas = reading.abnormal_areas if reading else ()
    joint = lang.say("、", ", ")
    return Cell(text=joint.join(f"{lang.say(one.zone.name_zh, one.zone.name_en)} {one.strength:.0%}" for one in areas) or _NOTHING)


def _quality(reading: EyeDiagnosis | None, lang: Language) -> Cell:
    photos = reading.photos if reading else ()
    bad = any(one.quality is None or one.quality.level is QualityLevel.REJECT for one in photos)
    return Cell(text="\n".join(dict.fromkeys(quality_of(one, lang) for one in photos)) or _NOTHING, is_marked=bad)


def quality_of(photo: PhotoPrediction, lang: Language) -> str:
    """How good a photograph is, and what to do about it."""
    if photo.quality is None:
        return lang.say("文件不能读取：请重新发送或重拍。", "The file cannot be read: send it again or retake.")
    level = lang.say(*_LEVELS[photo.quality.level])
    joint = lang.say("；", "; ")
    return joint.join((level, *(lang.say(one.advice_zh, one.advice_en).rstrip("。.") for one in photo.quality.issues)))


def _side_doubts(reading: EyeDiagnosis | None, lang: Language) -> Cell:
    doubtful = [one for one in (reading.photos if reading else ()) if one.eye is None or len({claim.eye for claim in one.eye_claims}) > 1]
    said = tuple(dict.fromkeys(_side_doubt(one, lang) for one in doubtful))
    return Cell(text="\n".join(said) or _NOTHING, is_marked=bool(said))


def _side_doubt(photo: PhotoPrediction, lang: Language) -> str:
    said = lang.say("，", ", ").join(claim_words(one, lang) for one in photo.eye_claims)
    said = said or lang.say("没有任何来源说明", "nothing says which")
    return lang.say(f"请核对眼别（{said}）", f"check which eye it is ({said})")


def claim_words(claim: EyeClaim, lang: Language) -> str:
    """Who says which eye a photograph shows, and how surely."""
    sure = "" if claim.strength == 1 else f" {claim.strength:.0%}"
    return lang.say(f"{_SOURCES[claim.source][0]}：{claim.eye.name_zh}{sure}", f"{_SOURCES[claim.source][1]}: {claim.eye.name_en}{sure}")


def differs(diagnosis: AiDiagnosis, doctors_conclusion: str) -> bool:
    """Whether the doctor concludes something else than the AI; where the AI has no conclusion, there is nothing to differ from."""
    return diagnosis.label is not None and not decide_agreement(diagnosis.label, doctors_conclusion)


def routing_note(diagnosis: AiDiagnosis, doctors_conclusion: str | None, lang: Language) -> str:
    """What must be read with the urgency: the doctor's word counts, the more so where it differs."""
    note = lang.say("AI 建议，请以医生建议为准", "the AI's proposal; what counts is what the doctor says")
    if doctors_conclusion is not None and differs(diagnosis, doctors_conclusion):
        note = lang.say(
            "AI 判读与医生结论不同，以下仅为 AI 建议，请以医生建议为准",
            "The AI and the doctor differ: this is only the AI's proposal; what counts is what the doctor says",
        )
    is_signed = diagnosis.routing is None or diagnosis.routing.rules_signed_by is not None
    return note if is_signed else note + lang.say(f"；{NOT_SIGNED_ZH}", f"; {NOT_SIGNED_EN}")
