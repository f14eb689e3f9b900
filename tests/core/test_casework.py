"""Writing the reports of waiting cases when the language model does and does not answer."""

from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from eye_dx_core.casework import ReportOutlet, report_waiting
from eye_dx_core.errors import ChatModelUnavailable, NotFound, ServiceUnavailable
from eye_dx_core.queue.topology import QueueNames
from eye_dx_core.records.audit import AuditEvent
from eye_dx_core.records.memory import MemoryRecords
from eye_dx_core.reporting.memory import ScriptedChatModel
from eye_dx_core.reporting.port import ChatModel
from eye_dx_core.reporting.template import TEMPLATE
from eye_dx_core.schema.report import DiagnosisReport
from tests.builders import NOON, a_case, a_diagnosis, a_review


@pytest.fixture
def reviewed() -> MemoryRecords:
    records = MemoryRecords()
    for case_id in ("case-1", "case-2"):
        records.add_case(a_case(case_id), b"{}")
        records.add_diagnosis(a_diagnosis(case_id), [])
        records.add_review(a_review(case_id, review_id=f"review-{case_id}"))
    return records


def write(records: MemoryRecords, chat_model: ChatModel | None, folder: Path, *, is_last_try: bool = False) -> tuple[DiagnosisReport, ...]:
    return report_waiting(
        records,
        chat_model,
        outlet=ReportOutlet(folder, ZoneInfo("Asia/Shanghai"), QueueNames()),
        limit=10,
        lease_seconds=60,
        now=lambda: NOON,
        is_last_try=is_last_try,
    )


def test_a_silent_model_leaves_every_case_for_the_next_try(reviewed: MemoryRecords, tmp_path: Path):
    silent = ScriptedChatModel(ChatModelUnavailable("busy"))

    with pytest.raises(ChatModelUnavailable):
        write(reviewed, silent, tmp_path)

    assert len(silent.asked) == 1
    assert reviewed.find_work().to_report
    assert list(tmp_path.iterdir()) == []


def test_on_the_last_try_the_template_writes_and_the_report_says_why(reviewed: MemoryRecords, tmp_path: Path):
    silent = ScriptedChatModel(ChatModelUnavailable("busy"))

    written = write(reviewed, silent, tmp_path, is_last_try=True)

    assert [(one.writer, one.fallback_reason) for one in written] == [(TEMPLATE, "model_unavailable")] * 2
    assert len(silent.asked) == 1  # the second patient does not wait for a model that is down
    assert not reviewed.find_work().to_report


def test_records_that_are_down_are_not_taken_for_a_silent_model(reviewed: MemoryRecords, tmp_path: Path):
    def down(*_: object) -> bool:
        raise ServiceUnavailable("the records did not answer")

    reviewed.add_report = down  # pyright: ignore[reportAttributeAccessIssue]

    with pytest.raises(ServiceUnavailable, match="the records did not answer"):
        write(reviewed, ScriptedChatModel(ChatModelUnavailable("busy")), tmp_path, is_last_try=True)


def test_without_a_configured_model_the_template_is_no_fallback(reviewed: MemoryRecords, tmp_path: Path):
    assert [one.fallback_reason for one in write(reviewed, None, tmp_path, is_last_try=True)] == [None, None]


def test_a_patient_who_is_erased_while_the_report_is_written_leaves_no_page(reviewed: MemoryRecords, tmp_path: Path):
    patient_id, keep = "P2025001", reviewed.add_report

    def erase_first(*given: object) -> bool:
        reviewed.erase_patient(patient_id, AuditEvent(at=NOON, actor="a", action="erase", subject="s"))
        return keep(*given)  # pyright: ignore[reportArgumentType]

    reviewed.add_report = erase_first  # pyright: ignore[reportAttributeAccessIssue]

    with pytest.raises(NotFound, match="was erased"):
        write(reviewed, None, tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
