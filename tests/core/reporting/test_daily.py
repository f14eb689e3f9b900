"""The day in numbers."""

from datetime import date, timedelta
from io import BytesIO

import pytest
from PIL import Image

from eye_dx_core.records.figures import figures_of
from eye_dx_core.records.outgoing import OutboxMessage
from eye_dx_core.records.port import CaseRecord, Rejection
from eye_dx_core.reporting.agreement import decide_agreement
from eye_dx_core.reporting.daily.charts import daily_figures
from eye_dx_core.reporting.daily.frames import frames_of
from eye_dx_core.reporting.daily.rendering import daily_html, daily_markdown
from eye_dx_core.reporting.daily.report import DailyReport, count_day
from eye_dx_core.reporting.daily.times import Step
from eye_dx_core.schema.case import Laterality
from eye_dx_core.schema.condition import LABELS, DrGrade
from eye_dx_core.schema.diagnosis import Outcome
from eye_dx_core.schema.report import GuardOutcome
from eye_dx_core.schema.review import EyeReview, Ungradable
from eye_dx_core.schema.routing import Urgency
from tests.builders import NOON, a_case, a_diagnosis, a_report, a_review

DAY, HOUR = date(2026, 3, 2), timedelta(hours=1)
OD, OS = Laterality.RIGHT, Laterality.LEFT


def a_message(case_id: str, *, is_sent: bool, kind: str = "ai-result") -> OutboxMessage:
    sent_at = NOON + HOUR if is_sent else None
    return OutboxMessage(
        message_id=f"{kind}-{case_id}", case_id=case_id, queue="q", type=f"eye-dx/{kind}/1", body=b"{}", created_at=NOON, sent_at=sent_at
    )


def a_record(number: int, *, right: str | None = "A", conclusion: str | None = "年龄相关性黄斑变性", seconds: int = 60) -> CaseRecord:
    case_id = f"case-{number}"
    diagnosis = a_diagnosis(case_id, right=right).model_copy(update={"diagnosed_at": NOON + timedelta(seconds=seconds)})
    report = a_report(case_id).model_copy(update={"written_at": NOON + timedelta(seconds=10 * seconds), "fallback_reason": "number"})
    return CaseRecord(
        case=a_case(case_id),
        diagnosis=diagnosis,
        review=a_review(case_id, conclusion=conclusion) if conclusion else None,
        report=report if conclusion else None,
        outbox=(a_message(case_id, is_sent=conclusion is not None),),
    )


def reviewed_by_eye(number: int, right: EyeReview, left: EyeReview, *, blind: tuple[EyeReview, ...] | None = None) -> CaseRecord:
    record = a_record(number)
    review = a_review(record.case.case_id).model_copy(update={"eyes": (right, left), "blind_eyes": blind})
    return record.model_copy(update={"review": review})


def count(records: list[CaseRecord], rejections: tuple[Rejection, ...] = (), *, hours_later: int = 0) -> DailyReport:
    return count_day(frames_of(figures_of(records)), rejections, day=DAY, at=NOON + hours_later * HOUR)


def a_day() -> DailyReport:
    records = [
        a_record(1),
        a_record(2, conclusion="高度近视", seconds=120),
        a_record(3, right="G", conclusion=None, seconds=30),
        a_record(4, right=None),
        CaseRecord(case=a_case("case-5")),
    ]
    rejected = tuple(
        Rejection(source_queue="q", message_id=None, body_sha256="0" * 64, reason=reason, rejected_at=NOON)
        for reason in ("not JSON", "not JSON", "bad fields: a|b")
    )
    return count(records, rejected)


def test_a_day_is_counted():
    day = a_day()

    assert (day.cases, day.diagnosed, day.reviewed, day.reported, day.eyes) == (5, 4, 3, 3, 8)
    assert day.conclusions == {"N": {"OS": 4}, "A": {"OD": 2}, "G": {"OD": 1}, "not_assessed": {"OD": 1}}
    assert (day.eyes_of(Outcome.NOT_ASSESSED), day.eyes_of(Outcome.UNCERTAIN), day.not_assessed_reasons) == (1, 0, {"truncated": 1})
    assert (day.undelivered, day.dead_letters) == (1, {"not JSON": 2, "bad fields: a|b": 1})
    assert (day.written_by, day.fallbacks) == ({"template/1": 3}, {"number": 3})


def test_times_run_from_step_to_step():
    steps = a_day().times.steps

    assert (steps[Step.TO_AI].median, steps[Step.TO_AI].largest) == (60, 120)
    assert (steps[Step.TO_REPORT].median, steps[Step.TO_REPORT].largest) == (600, 1200)


def test_a_report_is_delivered_when_its_message_was_confirmed():
    messages = tuple(a_message("case-1", is_sent=True, kind=kind) for kind in ("ai-result", "report"))
    record = a_record(1).model_copy(update={"outbox": messages})

    assert count([record]).times.steps[Step.WHOLE].largest == 3600
    assert Step.WHOLE not in count([a_record(1)]).times.steps


def test_confidence_has_a_median_and_a_histogram_of_all_read_eyes():
    day = a_day()

    assert day.confidence is not None
    assert (day.confidence.mean, day.confidence.count) == (pytest.approx(0.87), 7)
    assert day.confidence.p90 is None  # seven are too few for a tenth
    assert day.confidence_histogram[17] == 7


@pytest.mark.parametrize(
    ("hours", "expected"), [(23, (1, 1, 2, 0)), (25, (1, 1, 0, 2))], ids=["before the hours are over", "after the hours are over"]
)
def test_reviews_are_held_against_the_hours_of_their_urgency(hours: int, expected: tuple[int, ...]):
    late = a_record(2)
    assert late.review is not None
    late = late.model_copy(update={"review": late.review.model_copy(update={"reviewed_at": NOON + 25 * HOUR})})
    waiting = [a_record(number, conclusion=None) for number in (3, 4)]

    times = count([a_record(1), late, *waiting], hours_later=hours).times

    (urgent,) = [one for one in times.reviews if one.urgency is Urgency.URGENT]
    assert (urgent.in_time, urgent.late, urgent.waiting, urgent.overdue) == expected
    assert times.overdue_urgent == expected[3]


def test_without_named_eyes_a_case_is_compared_by_the_doctors_text():
    agreement = a_day().agreement

    assert (agreement.by_case.agreed, agreement.by_case.compared, agreement.by_eye.compared) == (1, 2, 0)
    assert agreement.by_case.matrix == {"A": {"A": 1, "other": 1}}
    assert (agreement.overridden_cases, agreement.compared_cases, agreement.override_rate) == (1, 2, None)


def test_named_eyes_are_compared_eye_by_eye():
    amd = EyeReview(eye=OD, labels=("A",), diseases=("高度近视",))
    records = [
        reviewed_by_eye(1, amd, EyeReview(eye=OS, labels=("N",))),
        reviewed_by_eye(2, amd, EyeReview(eye=OS, labels=("D",), dr_grade=DrGrade.SEVERE)),
        reviewed_by_eye(3, amd, EyeReview(eye=OS, ungradable=Ungradable.RETAKE)),
        reviewed_by_eye(4, EyeReview(eye=OD), EyeReview(eye=OS, diseases=("高度近视",))),
    ]

    agreement = count(records).agreement

    assert agreement.by_eye.matrix == {"A": {"A": 3}, "N": {"D": 1, "N": 1, "other": 1}}
    assert (agreement.ungradable_for_doctor, agreement.overridden_cases, agreement.compared_cases) == (1, 2, 4)
    assert agreement.by_case.compared == 0


def test_what_the_doctor_read_alone_is_counted_and_not_compared():
    record = a_record(1, right=None)
    review = a_review("case-1").model_copy(update={"eyes": (EyeReview(eye=OD, labels=("G",)),)})

    agreement = count([record.model_copy(update={"review": review})]).agreement

    assert (agreement.concluded_by_doctor_only, agreement.compared_cases) == (1, 0)


def test_a_reading_before_the_ai_was_shown_tells_who_moved_whom():
    amd, normal = EyeReview(eye=OD, labels=("A",)), EyeReview(eye=OS, labels=("N",))
    thought_normal, thought_ill = EyeReview(eye=OD, labels=("N",)), EyeReview(eye=OS, labels=("G",))

    blind = count(
        [
            reviewed_by_eye(1, amd, normal, blind=(thought_normal, normal)),
            reviewed_by_eye(2, amd, thought_ill, blind=(amd, normal)),
            reviewed_by_eye(3, amd, normal),
        ]
    ).agreement.blind

    assert (blind.eyes, blind.agreed_before, blind.agreed_after) == (4, 3, 3)
    assert (blind.changed_towards_ai, blind.changed_away_from_ai, blind.agreement_before) == (1, 1, None)


def test_enough_cases_give_kappa_and_rates_with_intervals():
    amd, normal = EyeReview(eye=OD, labels=("A",)), EyeReview(eye=OS, labels=("N",))
    other = EyeReview(eye=OD, labels=("N",))
    records = [reviewed_by_eye(number, amd if number % 10 else other, normal) for number in range(60)]

    by_eye = count(records).agreement.by_eye

    assert by_eye.kappa is not None
    assert by_eye.kappa.low < by_eye.kappa.value < by_eye.kappa.high
    assert by_eye.kappa.value == pytest.approx(0.9)
    assert [(one.conclusion, one.overridden) for one in by_eye.by_class] == [("A", 6), ("N", 0)]
    assert "too few" not in daily_markdown(count(records)).split("## 医生改判")[1].split("##")[0]


def test_photographs_not_read_are_counted_by_camera_and_a_rare_camera_is_not_named():
    def from_camera(number: int, camera: str, *, right: str | None) -> CaseRecord:
        record = a_record(number, right=right)
        assert record.diagnosis is not None
        eyes = tuple(
            eye.model_copy(update={"photos": tuple(photo.model_copy(update={"camera": camera}) for photo in eye.photos)})
            for eye in record.diagnosis.eyes
        )
        return record.model_copy(update={"diagnosis": record.diagnosis.model_copy(update={"eyes": eyes})})

    day = count(
        [from_camera(number, "Topcon NW400", right=None if number % 4 == 0 else "A") for number in range(12)]
        + [from_camera(99, "张三的相机", right="A")]
    )

    (topcon, rest) = day.cameras
    assert (topcon.place, topcon.photos, topcon.ungradable) == ("Topcon NW400", 24, 3)
    assert (rest.photos, rest.rate) == (2, None)
    assert topcon.rate is not None
    assert topcon.rate.low < 3 / 24 < topcon.rate.high
    assert "张三" not in day.model_dump_json()
    assert [one.place for one in day.sites] == ["eye_dx_screenings"]


def test_what_a_guard_did_is_counted():
    report = a_report("case-1").model_copy(update={"guard": GuardOutcome.REFUSED, "guard_rules": ("number", "side")})

    day = count([a_record(1).model_copy(update={"report": report})])

    assert (day.guard, day.guard_rules) == ({"refused": 1}, {"number": 1, "side": 1})


@pytest.mark.parametrize(
    ("code", "conclusion", "agrees"),
    [
        ("A", "老年性黄斑变性", True),
        ("A", "age-related macular degeneration", True),
        ("A", "高度近视", False),
        ("G", "疑似青光眼", True),
        ("G", "排除青光眼", False),
        ("D", "右眼：重度非增殖期糖尿病视网膜病变", True),
        ("D3", "糖网", True),
        ("D3", "双眼DR", True),
        ("BRVO", "右眼视网膜静脉阻塞", True),
        ("RVO", "右眼视网膜分支静脉阻塞", True),
        ("N", "双眼未见明显异常", True),
        ("N", "眼底正常，白内障", False),
        ("D0", "无糖尿病视网膜病变", True),
        ("D0", "轻度非增殖期糖尿病视网膜病变", False),
        ("DISEASE", "视网膜脱离", True),
        ("DISEASE", "未见异常", False),
    ],
)
def test_doctor_and_ai_agree_by_what_the_doctor_states(code: str, conclusion: str, *, agrees: bool):
    assert decide_agreement(LABELS[code], conclusion) is agrees


def test_the_page_names_every_figure_and_survives_odd_reasons():
    page = daily_markdown(a_day())

    for shown in (
        "cases received 收到病例 | 5",
        "年龄相关性黄斑变性 A | 2",
        "1 of 2 cases",
        "2 min",
        "not JSON | 2",
        "a\\|b",
        "truncated | 1",
        "too few 数量不足",
    ):
        assert shown in page, shown


def test_a_reason_from_outside_is_no_markup():
    rejection = Rejection(
        source_queue="q", message_id=None, body_sha256="0" * 64, reason="<script>[x](http://a)</script>", rejected_at=NOON
    )
    day = count([], (rejection,))

    assert "[x](" not in daily_markdown(day)
    assert "<script>" not in daily_html(day, b"")


def test_nobody_is_named_in_the_day():
    page = daily_markdown(a_day()) + a_day().model_dump_json() + daily_html(a_day(), b"")

    assert not any(secret in page for secret in ("测试甲", "13800138000", "P2025001", "唐医生", "case-1", "visit/"))


def test_an_empty_day_says_so():
    day = count([])

    assert (day.cases, day.agreement.compared_cases, day.confidence, day.times.steps) == (0, 0, None, {})
    assert "No case was received" in daily_markdown(day)
    assert "No case was received" in daily_html(day, b"")
    assert all(figure.startswith(b"\x89PNG") for figure in daily_figures(day))


def test_a_day_of_dead_letters_only_is_not_called_empty():
    rejection = Rejection(source_queue="q", message_id=None, body_sha256="0" * 64, reason="not JSON", rejected_at=NOON)

    assert "not JSON | 1" in daily_markdown(count([], (rejection,)))


def test_the_figure_is_a_small_png_and_the_same_each_time():
    figure, sharp = daily_figures(a_day())

    assert len(figure) <= 100_000
    assert Image.open(BytesIO(figure)).size[0] > 900
    assert daily_figures(a_day()) == (figure, sharp)
