"""The day in numbers."""

from datetime import date, timedelta
from io import BytesIO

import pytest
from PIL import Image

from eye_dx_core.records.outgoing import OutboxMessage
from eye_dx_core.records.port import CaseRecord, Rejection
from eye_dx_core.reporting.agreement import decide_agreement
from eye_dx_core.reporting.daily import DailyReport, daily_figure, daily_markdown, summarise_day
from eye_dx_core.schema.condition import LABELS
from tests.builders import NOON, a_case, a_diagnosis, a_report, a_review

DAY = date(2026, 3, 2)


def a_message(case_id: str, *, is_sent: bool) -> OutboxMessage:
    return OutboxMessage(
        message_id=f"m-{case_id}", case_id=case_id, queue="q", type="t", body=b"{}", created_at=NOON, sent_at=NOON if is_sent else None
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


def a_day() -> DailyReport:
    records = [
        a_record(1),
        a_record(2, conclusion="高度近视", seconds=120),
        a_record(3, right="G", conclusion=None, seconds=30),
        a_record(4, right=None),
        CaseRecord(case=a_case("case-5")),
    ]
    rejected = [
        Rejection(source_queue="q", message_id=None, body_sha256="0" * 64, reason=reason, rejected_at=NOON)
        for reason in ("not JSON", "not JSON", "bad fields: a|b")
    ]
    return summarise_day(iter(records), rejected, day=DAY)


def test_a_day_is_counted():
    day = a_day()

    assert (day.cases, day.diagnosed, day.reviewed, day.reported, day.eyes) == (5, 4, 3, 3, 8)
    assert day.conclusions == {"N": 4, "A": 2, "G": 1, "not_assessed": 1}
    assert (day.not_assessed, day.uncertain, day.not_assessed_reasons) == (1, 0, {"truncated": 1})
    assert (day.undelivered, day.dead_letters) == (1, {"not JSON": 2, "bad fields: a|b": 1})
    assert (day.written_by, day.fallbacks) == ({"template/1": 3}, {"number": 3})


def test_times_run_from_the_message():
    day = a_day()

    assert (day.seconds_to_ai.median, day.seconds_to_ai.largest) == (60, 120)
    assert (day.seconds_to_report.median, day.seconds_to_report.largest) == (600, 1200)


def test_confidence_has_mean_quantiles_and_a_histogram_of_all_read_eyes():
    day = a_day()

    assert day.confidence.mean == pytest.approx(0.87)
    assert sum(day.confidence_histogram) == 7
    assert day.confidence_histogram[8] == 7


def test_agreement_counts_only_cases_in_which_both_have_a_conclusion():
    day = a_day()

    assert (day.agreed, day.compared, day.agreement) == (1, 2, 0.5)
    assert summarise_day([a_record(1, conclusion=None)], [], day=DAY).agreement is None


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
        "cases received | 5",
        "年龄相关性黄斑变性 (`A`) | 2",
        "50% (1 of 2)",
        "60 s / 120 s",
        "not JSON | 2",
        "a\\|b",
        "truncated | 1",
    ):
        assert shown in page, shown


def test_nobody_is_named_in_the_day():
    page = daily_markdown(a_day()) + a_day().model_dump_json()

    assert not any(secret in page for secret in ("测试甲", "13800138000", "P2025001", "唐医生", "case-1", "visit/"))


def test_an_empty_day_says_so():
    day = summarise_day([], [], day=DAY)

    assert (day.cases, day.agreement, day.confidence, day.seconds_to_ai) == (0, None, None, None)
    assert "No case was received" in daily_markdown(day)
    assert daily_figure(day).startswith(b"\x89PNG")


def test_a_day_of_dead_letters_only_is_not_called_empty():
    rejection = Rejection(source_queue="q", message_id=None, body_sha256="0" * 64, reason="not JSON", rejected_at=NOON)

    assert "not JSON | 1" in daily_markdown(summarise_day([], [rejection], day=DAY))


def test_the_figure_is_a_small_png_and_the_same_each_time():
    figure = daily_figure(a_day())

    assert len(figure) <= 60_000
    assert Image.open(BytesIO(figure)).size[0] > 600
    assert daily_figure(a_day()) == figure
