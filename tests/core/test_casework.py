"""Writing the reports of waiting cases when the language model does and does not answer."""

import subprocess
import sys
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from eye_dx_core.casework import ReportOutlet, material_of, report_case, report_page, report_pdf, report_waiting
from eye_dx_core.dataset.phantom import render_phantom
from eye_dx_core.errors import ChatModelUnavailable, NotFound, ServiceUnavailable
from eye_dx_core.inference.intake import PhotoIntake
from eye_dx_core.inference.sources.memory import MemoryPhotos
from eye_dx_core.queue.topology import QueueNames
from eye_dx_core.records.audit import AuditEvent
from eye_dx_core.records.memory import MemoryRecords
from eye_dx_core.records.port import CaseRecord
from eye_dx_core.reporting.language_model.memory import ScriptedChatModel
from eye_dx_core.reporting.language_model.port import ChatModel
from eye_dx_core.reporting.template import TEMPLATE
from eye_dx_core.schema.case import Laterality
from eye_dx_core.schema.picture import PictureGap
from eye_dx_core.schema.report import DiagnosisReport
from tests.builders import NOON, a_case, a_diagnosis, a_review
from tests.pictures import as_jpeg


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
    def down(*_: object, **__: object) -> bool:
        raise ServiceUnavailable("the records did not answer")

    reviewed.add_report = down  # pyright: ignore[reportAttributeAccessIssue]

    with pytest.raises(ServiceUnavailable, match="the records did not answer"):
        write(reviewed, ScriptedChatModel(ChatModelUnavailable("busy")), tmp_path, is_last_try=True)


def test_without_a_configured_model_the_template_is_no_fallback(reviewed: MemoryRecords, tmp_path: Path):
    assert [one.fallback_reason for one in write(reviewed, None, tmp_path, is_last_try=True)] == [None, None]


def test_a_patient_who_is_erased_while_the_report_is_written_leaves_no_page(reviewed: MemoryRecords, tmp_path: Path):
    patient_id, keep = "P2025001", reviewed.add_report

    def erase_first(*given: object, **named: object) -> bool:
        reviewed.erase_patient(patient_id, AuditEvent(at=NOON, actor="a", action="erase", subject="s"))
        return keep(*given, **named)  # pyright: ignore[reportArgumentType]

    reviewed.add_report = erase_first  # pyright: ignore[reportAttributeAccessIssue]

    with pytest.raises(NotFound, match="was erased"):
        write(reviewed, None, tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def a_record(records: MemoryRecords) -> CaseRecord:
    case, diagnosis = a_case(photos=("OD.jpg", "OS.jpg")), a_diagnosis()
    right, left = diagnosis.eyes
    left = left.model_copy(update={"photos": (left.photos[0].model_copy(update={"photo_id": "case-1-2"}),)})
    diagnosis = diagnosis.model_copy(update={"eyes": (right, left)})
    records.add_case(case, b"{}")
    records.add_diagnosis(diagnosis, [])
    records.add_review(a_review())
    return records.get_case_record(case.case_id)


def test_pictures_come_through_the_outlet_and_those_that_cannot_be_had_leave_a_note(tmp_path: Path):
    records = MemoryRecords()
    photo = as_jpeg(render_phantom("A", eye=Laterality.RIGHT, seed=3, size=200).rgb)
    a_record(records)
    for left, said in ((None, "未能取得"), (b"no picture", "无法读取")):
        places = MemoryPhotos({"OD.jpg": photo, "OS.jpg": left})
        outlet = ReportOutlet(tmp_path, ZoneInfo("Asia/Shanghai"), QueueNames(), PhotoIntake(places))

        report_case(records, "case-1", chat_model=None, outlet=outlet, now=lambda: NOON)

        page = report_page(tmp_path, "case-1").read_text(encoding="utf-8")
        assert page.count("data:image/jpeg") == 1
        assert said in page
        assert report_pdf(tmp_path, "case-1").read_bytes().startswith(b"%PDF-1.7")
        assert {path.name for path in tmp_path.iterdir()} == {"case-1.html", "case-1.pdf"}


def test_photographs_that_were_deleted_are_said_to_be(tmp_path: Path):
    records = MemoryRecords()
    record = a_record(records)
    forgotten = record.model_copy(update={"case": record.case.without_traces()})

    pictures = material_of(records, forgotten, photos=PhotoIntake(MemoryPhotos({}))).pictures

    assert set(pictures.values()) == {PictureGap.DELETED}


def test_writing_a_report_with_its_pictures_loads_no_torch(tmp_path: Path):
    code = (
        "import sys; from tests.core import test_casework as t; from pathlib import Path\n"
        "t.test_pictures_come_through_the_outlet_and_those_that_cannot_be_had_leave_a_note(Path(sys.argv[1]))\n"
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, cwd=Path(__file__).parents[2])
