"""The page for the patient: complete, printable, and safe against what comes by queue."""

from html.parser import HTMLParser
from zoneinfo import ZoneInfo

from eye_dx_core.reporting.rendering import render_html
from eye_dx_core.reporting.writing import write_report
from eye_dx_core.schema.case import Case, VisionData, WireFormat
from eye_dx_core.schema.diagnosis import AiDiagnosis
from eye_dx_core.schema.review import DoctorReview
from tests.builders import NOON, a_case, a_diagnosis, a_review, an_eye_diagnosis

SHANGHAI = ZoneInfo("Asia/Shanghai")


def a_page(case: Case | None = None, diagnosis: AiDiagnosis | None = None, review: DoctorReview | None = None) -> str:
    case, diagnosis, review = case or a_case(), diagnosis or a_diagnosis(), review or a_review()
    report = write_report(case, diagnosis, review, chat_model=None, now=NOON)
    return render_html(report, case, diagnosis, tz=SHANGHAI)


class _Tags(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.targets: list[str | None] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.targets += [value for name, value in attrs if name in ("src", "href")]


def test_the_page_shows_patient_measurements_ai_findings_doctor_and_origin():
    page = a_page()

    for shown in (
        "测试甲", "45 岁", "男", "P2025001", "0.6", "0.8", "19 mmHg", "18 mmHg", "年龄相关性黄斑变性", "未见明显异常", "87%", "黄斑区",
        "高度近视", "唐医生", "3个月后复查，避免剧烈运动", "report-1", "eye-dx-fundus v3", "template/1", "本报告由人工智能辅助生成",
    ):  # fmt: skip
        assert shown in page, shown


def test_times_are_local():
    assert "2026-03-02 20:00" in a_page()


def test_the_phone_is_not_printed():
    assert "13800138000" not in a_page()


def test_markup_from_outside_is_shown_and_not_run():
    page = a_page(review=a_review(conclusion="<script>alert(1)</script><img src=x>"))

    assert "&lt;script&gt;" in page
    assert not {"script", "img"} & set(_Tags(page).names)


def test_the_page_needs_no_other_file():
    assert _Tags(a_page()).targets == []
    assert "@page" in a_page()
    assert "url(" not in a_page()


def test_what_was_not_measured_or_not_assessed_says_so():
    case = a_case()
    unmeasured = case.model_copy(update={"screening": case.screening.model_copy(update={"vision": VisionData()})})

    page = a_page(unmeasured, a_diagnosis(left=None))
    assert page.count("未测量") == 4
    assert '<td class="open">未能评估</td>' in page


def test_an_eye_without_a_photo_and_a_photo_without_an_eye_are_both_shown():
    diagnosis = a_diagnosis()
    page = a_page(diagnosis=diagnosis.model_copy(update={"eyes": (an_eye_diagnosis(None, "G"),)}))

    assert page.count("未评估（没有照片）") == 2
    assert "眼别不明" in page
    assert "青光眼（疑似）" in page


def test_a_case_without_a_patient_shows_the_senders_id():
    case = a_case(wire=WireFormat.FOUR_QUEUE)

    page = a_page(case.model_copy(update={"screening": case.screening.model_copy(update={"patient": None})}))
    assert "external-of-case-1" in page


def test_the_signature_line_is_empty_when_the_doctor_is_not_named():
    assert "None" not in a_page(review=a_review().model_copy(update={"doctor_name": None}))
