"""The page for the patient: complete, printable, and safe against what comes by queue."""

from html.parser import HTMLParser
from zoneinfo import ZoneInfo

from eye_dx_core.reporting.rendering import render_html
from eye_dx_core.reporting.writing import write_report
from eye_dx_core.schema.case import Case, EyeMeasurement, Laterality, VisionData, WireFormat
from eye_dx_core.schema.diagnosis import AiDiagnosis
from eye_dx_core.schema.review import DoctorReview
from tests.builders import NOON, a_case, a_diagnosis, a_disputed_eye, a_rejected_eye, a_review, an_eye_diagnosis, routed

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


def test_the_page_shows_urgency_interval_codes_and_where_each_rule_comes_from():
    page = a_page(review=a_review(conclusion="右眼年龄相关性黄斑变性"))

    for shown in (
        "紧急，2 周内",
        "urgent, within 2 weeks",
        "H35.3",
        "AI 建议，请以医生建议为准",
        "转诊规则尚未经临床负责人签署",
        "依据：NICE NG82",
    ):
        assert shown in page, shown
    assert "与医生结论不同" not in page


def test_urgency_against_the_doctors_word_stands_in_the_ai_section_only_and_says_so():
    page = a_page()

    assert "AI 判读与医生结论不同，以下仅为 AI 建议，请以医生建议为准" in page
    before, after = page.split("检查所见", maxsplit=1)
    assert "2 周内" in before
    assert "2 周内" not in after
    assert "紧急" not in after


def test_signed_rules_are_not_called_unsigned():
    diagnosis = a_diagnosis()
    assert diagnosis.routing is not None
    signed = diagnosis.routing.model_copy(update={"rules_signed_by": "Dr Owner"})

    assert "尚未经临床负责人签署" not in a_page(diagnosis=diagnosis.model_copy(update={"routing": signed}))


def test_what_was_read_before_there_were_rules_has_a_page_without_urgency():
    page = a_page(diagnosis=a_diagnosis().model_copy(update={"routing": None}))

    assert "依据：" not in page
    assert "年龄相关性黄斑变性" in page


def test_odd_pressures_and_values_that_cannot_be_right_are_marked():
    vision = VisionData(
        right=EyeMeasurement(acuity_decimal=0.79, acuity_five_point=4.9, iop_mmhg=31), left=EyeMeasurement(acuity_decimal=2.5, iop_mmhg=85)
    )
    case = a_case()
    measured = case.model_copy(update={"screening": case.screening.model_copy(update={"vision": vision})})
    page = a_page(measured, routed(a_diagnosis(), vision))

    assert '<td class="open">31 mmHg</td>' in page
    assert '<td class="open">2.5（超出可信范围，未采用）</td>' in page
    assert '<td class="open">85 mmHg（超出可信范围，未采用）</td>' in page
    assert "0.79（五分记录 4.9）" in page


def test_a_bad_photograph_says_what_to_do_and_a_doubtful_side_asks_the_doctor():
    eyes = (a_rejected_eye(Laterality.RIGHT), a_disputed_eye(Laterality.LEFT))
    page = a_page(diagnosis=routed(a_diagnosis().model_copy(update={"eyes": eyes})))

    assert "不合格；照片过暗：请待瞳孔散大或提高闪光强度后重拍" in page
    assert "请核对眼别（申请：左眼，图像：右眼 96%）" in page
    assert "眼别疑问" not in a_page()


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
