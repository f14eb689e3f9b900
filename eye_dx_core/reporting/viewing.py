"""From what is known of a case to the words of its report."""

import unicodedata
from datetime import datetime
from typing import TypeVar
from zoneinfo import ZoneInfo

from eye_dx_core.reporting.fixed_texts import DISCLAIMER_EN, EXPLANATION, GAPS, HOW_TO_READ, PRELIMINARY, STATUS
from eye_dx_core.reporting.material import Language, ReportMaterial, ReportPicture, ReportStatus
from eye_dx_core.reporting.narrative import ReportNarrative
from eye_dx_core.reporting.showing import EyeColumn, columns_of, differs, measured_rows, quality_of, reading_rows, routing_note, terms_of
from eye_dx_core.reporting.view import Cell, Conclusion, Entry, Figure, Heading, Proposal, ReportView, Row, Section, Table, Tag
from eye_dx_core.reporting.writing import DISCLAIMER, report_id_of
from eye_dx_core.schema.diagnosis import PhotoPrediction
from eye_dx_core.schema.frozen import Frozen
from eye_dx_core.schema.picture import PictureGap
from eye_dx_core.schema.routing import interval_words

_GENDERS = {"男": "male", "女": "female"}
_STRUCTURES = (
    ("视网膜", "Retina", "retina"),
    ("黄斑", "Macula", "macula"),
    ("视盘", "Optic disc", "optic_disc"),
    ("血管", "Vessels", "vessels"),
)
_NOTHING = "—"
_SHAPELESS = {"Cc", "Cf", "Cn", "Co", "Cs"}

_Shown = TypeVar("_Shown", bound=Frozen)


def build_view(
    material: ReportMaterial, *, tz: ZoneInfo, lang: Language = Language.ZH, narrative: ReportNarrative | None = None
) -> ReportView:
    """Put a report into words.

    Args:
        material: what is known.
        tz: local time of the clinic.
        lang: of labels and fixed texts; the doctor's words stay as they were written.
        narrative: the phrased part in `lang`. None takes the report's own, which is Chinese.
    """
    return _Writer(material, tz, lang, narrative).view()


class _Writer:
    def __init__(self, material: ReportMaterial, tz: ZoneInfo, lang: Language, narrative: ReportNarrative | None) -> None:
        self._of, self._tz, self._lang, self._say = material, tz, lang, lang.say
        self._columns = columns_of(material.diagnosis)
        self._tag: Tag = "zh-CN" if lang is Language.ZH else "en"
        report = material.report
        own = ReportNarrative(findings=report.findings, opinion=report.opinion, advice=report.advice) if report else None
        self._narrative = narrative or own
        self._narrative_tag: Tag = self._tag if narrative else "zh-CN"

    def view(self) -> ReportView:
        material, report = self._of, self._of.report
        is_signed = material.status is not ReportStatus.PRELIMINARY
        disclaimer = self._say(report.disclaimer if report else DISCLAIMER, DISCLAIMER_EN) if is_signed else self._say(*PRELIMINARY)
        return _cleaned(
            ReportView(
                lang=self._tag,
                status=material.status,
                status_text=self._say(*STATUS[material.status]),
                watermark="" if is_signed else "未签署 UNSIGNED",
                heading=self._heading("眼底照相诊断报告", "Colour Fundus Photography Report"),
                report_id=self._report_id(),
                written_at=report.written_at if report else material.diagnosis.diagnosed_at,
                ids=self._ids(),
                patient=self._patient(),
                conclusion=self._conclusion(),
                addenda=self._addenda(),
                photos_heading=self._heading("眼底照片", "Fundus photographs"),
                figures=tuple(self._figure(column, number, photo) for column in self._columns for number, photo in self._photos(column)),
                explanation=self._explanation(),
                measurements=self._measurements(),
                readings=Table(
                    heading=self._heading("AI 判读与医生意见", "AI reading and doctor"),
                    columns=tuple(column.title(self._lang) for column in self._columns),
                    rows=reading_rows(self._columns, material.review, self._lang),
                    lang=self._tag,
                ),
                agreement=self._agreement(),
                proposal=self._proposal(),
                findings=self._findings(),
                narrative=self._sections(),
                how_to_read=Section(
                    heading=self._heading("如何阅读本报告", "How to read this report"),
                    paragraphs=tuple(self._say(*one) for one in HOW_TO_READ),
                    lang=self._tag,
                ),
                signature=self._signature(),
                disclaimer=disclaimer,
                provenance=self._provenance(),
            )
        )

    def _heading(self, zh: str, en: str) -> Heading:
        return Heading(title=self._say(zh, en), subtitle=self._say(en, zh))

    def _entry(self, zh: str, en: str, text: str | None) -> Entry:
        return Entry(label=self._say(zh, en), text=text or _NOTHING)

    def _local(self, time: datetime) -> str:
        return f"{time.astimezone(self._tz):%Y-%m-%d %H:%M}"

    def _report_id(self) -> str:
        return self._of.report.report_id if self._of.report else report_id_of(self._of.case.case_id)

    def _ids(self) -> tuple[Entry, ...]:
        case, report = self._of.case, self._of.report
        ids = (
            self._entry("报告编号", "Report ID", self._report_id()),
            self._entry("检查时间", "Examined", self._local(case.screening.screened_at or case.received_at)),
        )
        return (*ids, self._entry("报告时间", "Reported", self._local(report.written_at))) if report else ids

    def _patient(self) -> tuple[Entry, ...]:
        patient = self._of.case.screening.patient
        if patient is None:
            return (self._entry("申请编号", "Request ID", self._of.case.external_id),)
        gender = self._say(patient.gender or "", _GENDERS.get(patient.gender or "", patient.gender or ""))
        age = None if patient.age_years is None else self._say(f"{patient.age_years} 岁", f"{patient.age_years} years")
        return (
            self._entry("姓名", "Name", patient.name),
            self._entry("性别", "Sex", gender),
            self._entry("年龄", "Age", age),
            self._entry("患者编号", "Patient ID", patient.patient_id),
        )

    def _conclusion(self) -> Conclusion:
        review, report = self._of.review, self._of.report
        heading = self._heading("医生结论", "Doctor's conclusion")
        if review is None:
            return Conclusion(heading=heading, text=self._say("医生尚未审核", "not reviewed by a doctor yet"), reading="", entries=())
        entries = [self._entry("医生建议", "Recommendation", review.recommendation)]
        urgency = review.urgency or (report.urgency if report else None)
        if urgency:
            zh, en = interval_words(urgency.days[1])
            entries.insert(0, self._entry("就诊时限", "When to be seen", self._say(f"{urgency.name_zh}，{zh}", f"{urgency.name_en}, {en}")))
        said = "; ".join(f"{one.eye.name_en}: {', '.join(terms)}" for one in review.eyes if (terms := terms_of(one, Language.EN)))
        return Conclusion(heading=heading, text=review.conclusion, reading=self._say("", said), entries=tuple(entries))

    def _addenda(self) -> Section | None:
        said = tuple(f"{self._local(one.added_at)}  {one.doctor_name}\n{one.text}" for one in self._of.addenda)
        return Section(heading=self._heading("补充说明", "Addenda"), paragraphs=said, lang="zh-CN") if said else None

    def _photos(self, column: EyeColumn) -> list[tuple[int, PhotoPrediction]]:
        return list(enumerate(column.reading.photos, 1)) if column.reading else []

    def _figure(self, column: EyeColumn, number: int, photo: PhotoPrediction) -> Figure:
        picture = self._of.pictures.get(photo.photo_id, PictureGap.UNAVAILABLE)
        caption = column.title(self._lang)
        if column.reading and len(column.reading.photos) > 1:
            caption += self._say(f" 第 {number} 张", f", photograph {number}")
        quality = self._say("照片质量：", "Quality: ") + quality_of(photo, self._lang)
        if not isinstance(picture, ReportPicture):
            return Figure(
                caption=caption, photo=None, photo_label="", evidence=None, evidence_label="",
                notes=(self._say(*GAPS[picture]), quality),
            )  # fmt: skip
        unseen = () if picture.evidence else (self._no_evidence(photo),)
        return Figure(
            caption=caption,
            photo=picture.photo,
            photo_label=self._say("眼底照片", "photograph"),
            evidence=picture.evidence,
            evidence_label=self._say("AI 看重的位置", "where the AI looked") if picture.evidence else "",
            notes=(*unseen, quality),
        )

    def _explanation(self) -> str:
        pictures = self._of.pictures.values()
        return self._say(*EXPLANATION) if any(isinstance(one, ReportPicture) and one.evidence for one in pictures) else ""

    def _no_evidence(self, photo: PhotoPrediction) -> str:
        if photo.label is not None and photo.label.is_normal:
            return self._say("AI 未见异常，没有需要标出的位置。", "The AI saw no abnormality, so no place is marked.")
        return self._say("AI 没有能够标出的位置。", "The AI can mark no particular place.")

    def _measurements(self) -> Table:
        return Table(
            heading=self._heading("视力与眼压", "Visual acuity and pressure"),
            columns=tuple(column.title(self._lang) for column in self._columns if column.eye),
            rows=measured_rows(self._of.case.screening.vision, self._of.diagnosis, self._lang),
            lang=self._tag,
        )

    def _agreement(self) -> str:
        diagnosis, review = self._of.diagnosis, self._of.review
        if review is None:
            return self._say("AI 判读未经医生审核，仅供参考。", "No doctor has reviewed the AI's reading; it is for reference only.")
        if diagnosis.label is None:
            said = self._say("AI 没有给出结论，以医生结论为准。", "The AI reached no conclusion; what counts is what the doctor says.")
        elif differs(diagnosis, review.conclusion):
            said = self._say("AI 判读与医生结论不同，以医生结论为准。", "AI and doctor differ; what counts is what the doctor says.")
        else:
            said = self._say("AI 判读与医生结论一致。", "AI and doctor agree.")
        blind = self._say("医生在看到 AI 结果之前已独立判读。", " The doctor read the photographs before seeing the AI's result.")
        return said + blind if review.blind_eyes is not None else said

    def _proposal(self) -> Proposal | None:
        routing = self._of.diagnosis.routing
        if routing is None:
            return None
        urgency = routing.urgency
        said = self._say(f"{urgency.name_zh}，{routing.interval_zh}", f"{urgency.name_en}, {routing.interval_en}")
        source = self._say("依据：", "source: ")
        code = "  ICD-10 {}".format
        return Proposal(
            heading=self._heading("AI 就诊建议", "The AI's proposal"),
            text=said,
            note=routing_note(self._of.diagnosis, self._of.review.conclusion if self._of.review else None, self._lang),
            reasons=tuple(
                f"{self._say(one.zh, one.en)}{code(one.icd10) if one.icd10 else ''}  {source}{one.source}" for one in routing.reasons
            ),
        )

    def _findings(self) -> Table | None:
        if self._narrative is None:
            return None
        return Table(
            heading=self._heading("检查所见", "Findings"),
            columns=tuple(EyeColumn(one.eye, None).title(self._lang) for one in self._narrative.findings),
            rows=tuple(
                Row(label=self._say(zh, en), cells=tuple(Cell(text=getattr(one, field)) for one in self._narrative.findings))
                for zh, en, field in _STRUCTURES
            ),
            lang=self._narrative_tag,
        )

    def _sections(self) -> tuple[Section, ...]:
        if self._narrative is None:
            return ()
        parts = (("诊断意见", "Opinion", self._narrative.opinion), ("健康建议", "Advice", self._narrative.advice))
        return tuple(Section(heading=self._heading(zh, en), paragraphs=(text,), lang=self._narrative_tag) for zh, en, text in parts)

    def _signature(self) -> tuple[Entry, ...]:
        review = self._of.review
        if review is None or self._of.status is ReportStatus.PRELIMINARY:
            return (self._entry("审核医生", "Doctor", self._say("未签署", "unsigned")),)
        second = self._entry("第二审核医生", "Second doctor", review.second_doctor_name)
        return (
            self._entry("审核医生", "Doctor", review.doctor_name),
            *((second,) if review.second_doctor_name else ()),
            self._entry("审核时间", "Reviewed", self._local(review.reviewed_at)),
        )

    def _provenance(self) -> tuple[Entry, ...]:
        diagnosis, report = self._of.diagnosis, self._of.report
        version = f"{diagnosis.model_name} v{diagnosis.model_version}（{diagnosis.checkpoint_sha256[:12]}）"
        told = [
            self._entry("模型", "Model", version),
            self._entry("判读时间", "Read", self._local(diagnosis.diagnosed_at)),
        ]
        if report:
            writer = f"{report.writer}，{report.prompt_version}" if report.prompt_version else report.writer
            told.append(self._entry("文字", "Text", writer))
        return (*told, self._entry("时区", "Time zone", self._tz.key))


def _cleaned(value: _Shown) -> _Shown:
    """Without characters that have no shape: control characters, and marks that turn the direction of writing."""
    return value.model_copy(update={field: _without_shapeless(getattr(value, field)) for field in type(value).model_fields})


def _without_shapeless(value: object) -> object:
    if isinstance(value, str) and type(value) is str:
        return "".join(one for one in value if one == "\n" or unicodedata.category(one) not in _SHAPELESS)
    if isinstance(value, Frozen):
        return _cleaned(value)
    return tuple(_without_shapeless(one) for one in value) if isinstance(value, tuple) else value  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
