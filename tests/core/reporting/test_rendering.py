"""The report in its forms: the same facts in each, complete, printable, and safe against what comes by queue."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from eye_dx_core.dataset.phantom import render_phantom
from eye_dx_core.reporting.material import Language, ReportMaterial, ReportPicture, ReportStatus
from eye_dx_core.reporting.narrative import ReportNarrative
from eye_dx_core.reporting.pdf import render_pdf
from eye_dx_core.reporting.rendering import render_html, render_json, render_patient_page
from eye_dx_core.reporting.view import Heading, ReportView
from eye_dx_core.reporting.viewing import build_view
from eye_dx_core.reporting.writing import write_report
from eye_dx_core.schema.case import Case, EyeMeasurement, Laterality, VisionData, WireFormat
from eye_dx_core.schema.diagnosis import AiDiagnosis
from eye_dx_core.schema.frozen import Frozen
from eye_dx_core.schema.picture import PictureGap
from eye_dx_core.schema.review import Addendum, DoctorReview, EyeReview
from eye_dx_core.schema.routing import Urgency
from tests.builders import NOON, a_case, a_diagnosis, a_disputed_eye, a_rejected_eye, a_report, a_review, an_eye_diagnosis, routed
from tests.pictures import as_jpeg

SHANGHAI = ZoneInfo("Asia/Shanghai")
RIGHT, LEFT = Laterality.RIGHT, Laterality.LEFT
JPEG = as_jpeg(render_phantom("A", eye=RIGHT, seed=3, size=120).rgb)
HOSTILE = (
    '#read("/etc/passwd")', "$ #{ } [ ] \\ * _ ` @x //y /* */ <b>", "A" * 3000, "一" * 2500, " ", "a\n\n\nb", "\x00\x07\u202eabc",
    "😀👨‍⚕️", "𠮷㛃𰻞", "한국어 عربي", '"]) #panic()',
)  # fmt: skip


def material(case: Case | None = None, diagnosis: AiDiagnosis | None = None, review: DoctorReview | None = None) -> ReportMaterial:
    case, diagnosis, review = case or a_case(), diagnosis or a_diagnosis(), review or a_review()
    return ReportMaterial(case, diagnosis, review, write_report(case, diagnosis, review, chat_model=None, now=NOON))


def a_view(of: ReportMaterial | None = None, lang: Language = Language.ZH) -> ReportView:
    return build_view(of or material(), tz=SHANGHAI, lang=lang)


def a_page(case: Case | None = None, diagnosis: AiDiagnosis | None = None, review: DoctorReview | None = None) -> str:
    return render_html(a_view(material(case, diagnosis, review)))


def a_full_material() -> ReportMaterial:
    eyes = (EyeReview(eye=RIGHT, labels=("A",), diseases=("高度近视",), features=("玻璃膜疣",)), EyeReview(eye=LEFT, labels=("N",)))
    review = a_review().model_copy(update={"eyes": eyes, "urgency": Urgency.URGENT, "second_doctor_name": "宋医生", "blind_eyes": eyes})
    addendum = Addendum(addendum_id="a", case_id="case-1", text="补充：曾行手术。", doctor_name="唐医生", added_at=NOON)
    pictures = {"case-1-1": ReportPicture(JPEG, JPEG)}
    diagnosis = a_diagnosis().model_copy(update={"eyes": (a_disputed_eye(RIGHT), a_rejected_eye(LEFT))})
    return replace(material(review=review, diagnosis=routed(diagnosis)), addenda=(addendum,), pictures=pictures)


class _Page(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.targets: list[str] = []
        self.texts: list[str] = []
        self._is_hidden = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self._is_hidden = tag in ("style", "title")
        self.targets += [value for name, value in attrs if name in ("src", "href") and value]

    def handle_endtag(self, tag: str) -> None:
        self._is_hidden = False

    def handle_data(self, data: str) -> None:
        self.texts += [] if self._is_hidden else [data]


def words_of(value: object) -> list[str]:
    """Every word that a view shows, in the order of its fields."""
    if isinstance(value, Heading):
        return [value.title, value.subtitle]
    if isinstance(value, ReportView):
        machine = {"lang", "status", "report_id", "written_at"}
        shown = [field for field in type(value).model_fields if field not in machine]
        return [word for field in shown for word in words_of(getattr(value, field))]
    if isinstance(value, Frozen):
        return [word for field in type(value).model_fields if field != "lang" for word in words_of(getattr(value, field))]
    if isinstance(value, tuple):
        return [word for one in value for word in words_of(one)]
    return [value] if isinstance(value, str) and value else []


def squeezed(text: str) -> str:
    return re.sub(r"[\s\u200b]", "", text)


def text_of_pdf(pdf: bytes, folder: Path) -> str:
    if shutil.which("pdftotext") is None:
        pytest.skip("pdftotext is not installed")
    (folder / "report.pdf").write_bytes(pdf)
    done = subprocess.run(["pdftotext", "-raw", folder / "report.pdf", "-"], check=True, capture_output=True)
    return done.stdout.decode()


def without(text: str, words: list[str]) -> str:
    for word in sorted(words, key=len, reverse=True):
        assert squeezed(word) in text or not squeezed(word), word
    for word in sorted({squeezed(word) for word in words} - {""}, key=len, reverse=True):
        text = text.replace(word, "")
    return text


@pytest.mark.parametrize("lang", list(Language))
@pytest.mark.parametrize("is_signed", [True, False])
def test_page_pdf_and_json_carry_the_same_facts_and_no_words_of_their_own(lang: Language, is_signed: bool, tmp_path: Path):  # noqa: FBT001
    view = a_view(replace(a_full_material(), is_signed=is_signed), lang)
    words = words_of(view)

    assert without(squeezed("".join(_Page(render_html(view)).texts)), words) == ""
    left = without(squeezed(text_of_pdf(render_pdf(view), tmp_path)), [*words, view.report_id])
    assert re.fullmatch(r"[\d/•·‣]*", left), left  # page numbers and bullets
    assert ReportView.model_validate_json(render_json(view)) == view


def test_the_page_shows_patient_measurements_ai_findings_doctor_and_origin():
    page = a_page()

    for shown in (
        "测试甲", "45 岁", "男", "P2025001", "0.6", "0.8", "19 mmHg", "18 mmHg", "年龄相关性黄斑变性", "未见明显异常", "87%", "黄斑区",
        "高度近视", "唐医生", "3个月后复查，避免剧烈运动", "report-1", "eye-dx-fundus v3", "template/1", "本报告由人工智能辅助生成",
    ):  # fmt: skip
        assert shown in page, shown


def test_times_are_local():
    assert "2026-03-02 20:00" in a_page()


def test_the_phone_is_nowhere():
    view = a_view()

    assert "13800138000" not in render_html(view) + render_json(view)


def test_markup_from_outside_is_shown_and_not_run():
    page = a_page(review=a_review(conclusion="<script>alert(1)</script><img src=x>"))

    assert "&lt;script&gt;" in page
    assert not {"script", "img"} & set(_Page(page).names)


def test_the_page_needs_no_other_file_and_no_script():
    page = render_html(a_view(a_full_material()))

    assert all(target.startswith("data:image/jpeg;base64,") for target in _Page(page).targets)
    assert len(_Page(page).targets) == 4
    assert not {"script", "link", "iframe"} & set(_Page(page).names)
    assert "@page" in page
    assert "url(" not in page


def test_the_page_behind_a_link_has_a_title_that_tells_nothing_and_is_not_indexed():
    page = render_patient_page(a_view())

    assert "<title>眼底照相诊断报告</title>" in page
    assert '<meta name="robots" content="noindex, nofollow">' in page
    assert '<meta name="referrer" content="no-referrer">' in page


def test_what_was_not_measured_or_not_assessed_says_so():
    case = a_case()
    unmeasured = case.model_copy(update={"screening": case.screening.model_copy(update={"vision": VisionData()})})

    page = a_page(unmeasured, a_diagnosis(left=None))

    assert page.count("未测量") == 4
    assert "未能评估，不代表正常" in page


def test_the_page_shows_urgency_interval_codes_and_where_each_rule_comes_from():
    page = a_page(review=a_review(conclusion="右眼年龄相关性黄斑变性"))

    for shown in ("紧急，2 周内", "H35.3", "AI 建议，请以医生建议为准", "转诊规则尚未经临床负责人签署", "依据：NICE NG82", "结论一致"):
        assert shown in page, shown
    assert "结论不同" not in page


def test_urgency_against_the_doctors_word_stands_in_the_ai_section_only_and_says_so():
    view = a_view()

    assert view.proposal is not None
    assert "AI 判读与医生结论不同，以下仅为 AI 建议，请以医生建议为准" in view.proposal.note
    elsewhere = "".join(words_of(view.model_copy(update={"proposal": None})))
    assert "2 周内" not in elsewhere
    assert "紧急" not in elsewhere


def test_the_doctors_urgency_stands_beside_the_conclusion():
    view = a_view(material(review=a_review().model_copy(update={"urgency": Urgency.SOON})))

    assert view.conclusion.entries[0].text == "尽早就诊，4 周内"


def test_signed_rules_are_not_called_unsigned():
    diagnosis = a_diagnosis()
    assert diagnosis.routing is not None
    signed = diagnosis.routing.model_copy(update={"rules_signed_by": "Dr Owner"})

    assert "尚未经临床负责人签署" not in a_page(diagnosis=diagnosis.model_copy(update={"routing": signed}))


def test_what_was_read_before_there_were_rules_has_a_page_without_urgency():
    page = a_page(diagnosis=a_diagnosis().model_copy(update={"routing": None}))

    assert "依据：" not in page
    assert "年龄相关性黄斑变性" in page


def test_odd_pressures_and_values_that_cannot_be_right_say_so_in_words():
    vision = VisionData(
        right=EyeMeasurement(acuity_decimal=0.79, acuity_five_point=4.9, iop_mmhg=31), left=EyeMeasurement(acuity_decimal=2.5, iop_mmhg=85)
    )
    case = a_case()
    measured = case.model_copy(update={"screening": case.screening.model_copy(update={"vision": vision})})
    page = a_page(measured, routed(a_diagnosis(), vision))

    for shown in ("31 mmHg（需关注）", "2.5（超出可信范围，未采用）", "85 mmHg（超出可信范围，未采用）", "0.79（五分记录 4.9）"):
        assert shown in page, shown


def test_a_bad_photograph_says_what_to_do_and_a_doubtful_side_asks_the_doctor():
    eyes = (a_rejected_eye(RIGHT), a_disputed_eye(LEFT))
    page = a_page(diagnosis=routed(a_diagnosis().model_copy(update={"eyes": eyes})))

    assert "不合格；照片过暗：请待瞳孔散大或提高闪光强度后重拍" in page
    assert "请核对眼别（申请：左眼，图像：右眼 96%）" in page
    assert "眼别疑问" not in a_page()


def test_an_eye_without_a_photo_and_a_photo_without_an_eye_are_both_shown():
    page = a_page(diagnosis=a_diagnosis().model_copy(update={"eyes": (an_eye_diagnosis(None, "G"),)}))

    assert page.count("未评估（没有照片），不代表正常") == 2
    assert "眼别不明" in page
    assert "青光眼（疑似）" in page


def test_a_case_without_a_patient_shows_the_senders_id():
    case = a_case(wire=WireFormat.FOUR_QUEUE)

    page = a_page(case.model_copy(update={"screening": case.screening.model_copy(update={"patient": None})}))
    assert "external-of-case-1" in page


def test_the_signature_line_is_empty_when_the_doctor_is_not_named():
    assert "None" not in a_page(review=a_review().model_copy(update={"doctor_name": None}))


@pytest.mark.parametrize("gap", list(PictureGap))
def test_a_photograph_that_is_not_there_leaves_a_note(gap: PictureGap):
    view = a_view(replace(material(), pictures={"case-1-1": gap}))

    assert [figure.photo for figure in view.figures] == [None, None]
    assert {"deleted": "已按保存期限删除", "unreadable": "无法读取", "unavailable": "未能取得"}[gap] in view.figures[0].notes[0]


def test_what_nobody_signed_is_marked_on_every_page_and_never_called_reviewed():
    of = material()
    for unsigned in (replace(of, is_signed=False), replace(of, review=None, report=None)):
        view = a_view(unsigned)

        assert view.status is ReportStatus.PRELIMINARY
        assert view.watermark == "未签署 UNSIGNED"
        assert "并经医生审核" not in "".join(words_of(view))
        assert "唐医生" not in "".join(words_of(view))
        render_pdf(view)


def test_an_addendum_makes_a_report_amended():
    view = a_view(a_full_material())

    assert (view.status, view.watermark) == (ReportStatus.AMENDED, "")
    assert view.addenda is not None
    assert view.addenda.paragraphs == ("2026-03-02 20:00  唐医生\n补充：曾行手术。",)


def test_in_english_the_doctors_words_stay_and_chosen_labels_stand_beside_them():
    narrative = ReportNarrative(findings=a_report().findings, opinion="English opinion", advice="English advice")
    view = build_view(a_full_material(), tz=SHANGHAI, lang=Language.EN, narrative=narrative)

    assert view.conclusion.text == "高度近视"
    assert view.conclusion.reading == "right eye: age-related macular degeneration, 高度近视; left eye: no abnormality seen"
    assert [(one.paragraphs, one.lang) for one in view.narrative] == [(("English opinion",), "en"), (("English advice",), "en")]
    assert a_view(lang=Language.EN).narrative[0].lang == "zh-CN"


def test_the_same_facts_give_the_same_bytes():
    view = a_view(a_full_material())

    assert render_pdf(view) == render_pdf(view.model_copy())


def test_the_pdf_is_tagged_says_its_language_and_holds_its_font():
    pdf = render_pdf(a_view(a_full_material()))

    assert b"/StructTreeRoot" in pdf
    assert b"/Lang(zh-CN)" in pdf
    assert b"NotoSansSC" in pdf
    assert b"pdfuaid:part" in pdf


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_are_set_as_they_are(text: str, tmp_path: Path):
    of = a_full_material()
    assert of.report is not None
    assert of.review is not None
    said = {"conclusion": text, "recommendation": text, "doctor_name": text}
    findings = tuple(one.model_copy(update={"retina": text}) for one in of.report.findings)
    report = of.report.model_copy(update={"findings": findings, "opinion": text})

    view = a_view(replace(of, review=of.review.model_copy(update=said), report=report))

    text_in_pdf = squeezed(text_of_pdf(render_pdf(view), tmp_path))
    plain = "".join(one for one in text if one.isprintable() and ord(one) < 0x3000)
    if plain == text:
        assert squeezed(text) in text_in_pdf
    assert "root:" not in text_in_pdf
    assert json.loads(render_json(view))["conclusion"]["text"].isprintable() or "\n" in text


def test_a_character_that_the_font_lacks_is_named(tmp_path: Path):
    text = text_of_pdf(render_pdf(a_view(material(review=a_review(conclusion="𠮷😀")))), tmp_path)

    assert "[U+20BB7][U+1F600]" in squeezed(text)
