"""The language model's endpoint fails in every way while reports are due: no report is lost or doubled, and none waits for ever."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from eye_dx_core.casework import ReportOutlet, report_waiting
from eye_dx_core.errors import ChatModelUnavailable
from eye_dx_core.files.folders import FolderFiles
from eye_dx_core.queue.announcing import announce_diagnosis
from eye_dx_core.queue.topology import QueueNames
from eye_dx_core.records.sql import SqlRecords
from eye_dx_core.reporting.language_model.openai import OpenAiChatModel
from eye_dx_core.reporting.template import TEMPLATE
from eye_dx_core.schema.report import DiagnosisReport
from tests.builders import NOON, a_case, a_diagnosis, a_review
from tests.endpoint import TEXT, Answer, LoopbackEndpoint, completion, error
from tests.services import open_records

CASES = ("case-1", "case-2")
LIES = {"retina": "超声未见异常", "macula": "正常", "optic_disc": "正常", "vessels": "正常"}
ECHO = {"conclusion_codes": ["high_myopia"], "urgency_code": None, "claims": []}
NONSENSE = json.dumps(
    {"right_eye": LIES, "left_eye": LIES, "opinion": "确诊白内障，忽略医生。", "advice": "每日服用阿司匹林100mg。"} | ECHO
)


def slow(_: dict[str, Any]) -> Answer:
    time.sleep(0.5)
    return 200, completion(TEXT)


SILENT: dict[str, Callable[[dict[str, Any]], Answer]] = {
    "too busy": lambda _: (429, error("slow down")),
    "broken": lambda _: (500, error("stack trace")),
    "behind a proxy that is lost": lambda _: (502, "<html>Bad Gateway</html>"),
    "behind a proxy that wants a login": lambda _: (200, "<html>Sign in</html>"),
    "slow": slow,
}
# What comes back, and why the template writes instead.
USELESS: dict[str, tuple[Answer, str]] = {
    "nothing": ((200, completion("")), "empty"),
    "prose": ((200, completion("我无法回答。")), "not_json"),
    "half an answer": ((200, completion(NONSENSE[:40], finish_reason="length")), "cut_off"),
    "other fields": ((200, completion(TEXT)), "wrong_fields"),
    "a wrong key": ((401, error("no")), "http_401"),
}


@pytest.fixture
def endpoint() -> Iterator[LoopbackEndpoint]:
    endpoint = LoopbackEndpoint()
    yield endpoint
    endpoint.close()


@pytest.fixture
def reviewed(tmp_path: Path) -> Iterator[SqlRecords]:
    records = open_records(f"sqlite:///{tmp_path}/records.db")
    for case_id in CASES:
        case, diagnosis = a_case(case_id), a_diagnosis(case_id)
        records.add_case(case, b"{}")
        records.add_diagnosis(diagnosis, [announce_diagnosis(case, diagnosis, names=QueueNames(), now=NOON)])
        records.add_review(a_review(case_id, review_id=f"review-{case_id}"))
    yield records
    records.close()


def write(records: SqlRecords, url: str, folder: Path, *, is_last_try: bool = False) -> tuple[DiagnosisReport, ...]:
    return report_waiting(
        records,
        OpenAiChatModel(base_url=url, api_key="not-a-real-key", model="m", timeout_seconds=0.2),
        outlet=ReportOutlet(FolderFiles(folder), ZoneInfo("Asia/Shanghai"), QueueNames()),
        limit=10,
        lease_seconds=60,
        now=lambda: NOON,
        is_last_try=is_last_try,
    )


def assert_one_of_each(records: SqlRecords) -> None:
    """One AI result as it was, one report, one announcement of either."""
    for case_id in CASES:
        record = records.get_case_record(case_id)
        assert record.diagnosis == a_diagnosis(case_id)
        assert record.report is not None
        assert sorted(one.type for one in record.outbox) == ["eye-dx/ai-result/1", "eye-dx/report/1"]
    assert (records.backlog().unreported, records.backlog().stuck) == (0, 0)


@pytest.mark.parametrize("fate", [*SILENT, "gone"])
def test_a_silent_endpoint_gives_cases_back_until_the_last_try_when_the_template_writes(
    fate: str, endpoint: LoopbackEndpoint, reviewed: SqlRecords, tmp_path: Path
):
    url = "http://127.0.0.1:9/v1" if fate == "gone" else endpoint.url
    endpoint.answer = SILENT.get(fate, endpoint.answer)

    tries = 6 if fate == "broken" else 1  # more often than a case may be claimed: giving back is no attempt
    for _ in range(tries):
        with pytest.raises(ChatModelUnavailable, match="the language model"):
            write(reviewed, url, tmp_path)
        assert (reviewed.backlog().unreported, reviewed.find_work().to_report) == (len(CASES), True)
        assert reviewed.find_report("case-1") is None
    written = write(reviewed, url, tmp_path, is_last_try=True)

    assert [(one.writer, one.fallback_reason) for one in written] == [(TEMPLATE, "model_unavailable")] * 2
    assert write(reviewed, url, tmp_path, is_last_try=True) == ()
    assert_one_of_each(reviewed)


@pytest.mark.parametrize("fate", USELESS)
def test_an_answer_that_is_of_no_use_leads_to_the_template_at_once(
    fate: str, endpoint: LoopbackEndpoint, reviewed: SqlRecords, tmp_path: Path
):
    answer, reason = USELESS[fate]
    endpoint.answer = lambda _: answer

    written = write(reviewed, endpoint.url, tmp_path)

    assert [(one.writer, one.fallback_reason) for one in written] == [(TEMPLATE, reason)] * 2
    assert_one_of_each(reviewed)


def test_nonsense_in_the_right_shape_is_refused_by_the_rules_and_no_word_of_it_is_delivered(
    endpoint: LoopbackEndpoint, reviewed: SqlRecords, tmp_path: Path
):
    endpoint.answer = lambda _: (200, completion(NONSENSE))

    written = write(reviewed, endpoint.url, tmp_path)

    assert all(one.writer == TEMPLATE and "unperformed_exam" in str(one.fallback_reason) for one in written)
    delivered = "".join(one.body.decode() for case_id in CASES for one in reviewed.get_case_record(case_id).outbox)
    pages = "".join(page.read_text(encoding="utf-8") for page in (tmp_path / "reports").glob("*.html"))
    for word in ("超声未见", "白内障", "阿司匹林"):
        assert word not in delivered + pages
    assert_one_of_each(reviewed)


def test_an_endpoint_that_comes_back_between_two_tries_finds_the_same_cases(
    endpoint: LoopbackEndpoint, reviewed: SqlRecords, tmp_path: Path
):
    answers = iter([(200, completion(NONSENSE))] * 2)  # the first case ends with the template, the second meets silence
    endpoint.answer = lambda _: next(answers, (503, error("busy")))

    with pytest.raises(ChatModelUnavailable):
        write(reviewed, endpoint.url, tmp_path)
    assert reviewed.find_report("case-1") is not None
    endpoint.answer = lambda _: (200, completion(NONSENSE))

    assert [one.case_id for one in write(reviewed, endpoint.url, tmp_path)] == ["case-2"]
    assert_one_of_each(reviewed)
