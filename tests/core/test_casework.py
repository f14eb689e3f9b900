"""Writing the reports of waiting cases when the language model does and does not answer."""

import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn, cast
from zoneinfo import ZoneInfo

import pytest

from eye_dx_core.casework import ReportOutlet, add_addendum, material_of, report_case, report_page, report_pdf, report_waiting
from eye_dx_core.dataset.phantom import render_phantom
from eye_dx_core.errors import ChatModelUnavailable, FilesUnavailable, NotFound, ServiceUnavailable
from eye_dx_core.files.folders import FolderFiles
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
from eye_dx_core.schema.review import Addendum
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
        outlet=ReportOutlet(FolderFiles(folder), ZoneInfo("Asia/Shanghai"), QueueNames()),
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


class Away:
    """A place for files that is away for its first tries, by the method that is asked."""

    def __init__(self, files: FolderFiles, **tries: int) -> None:
        self._files, self._tries = files, tries

    def __getattr__(self, name: str) -> object:
        left = self._tries.get(name, 0)
        self._tries[name] = left - 1
        return self._refuse if left > 0 else getattr(self._files, name)

    def _refuse(self, *_: object) -> NoReturn:
        raise FilesUnavailable("the object store did not do it")


@pytest.mark.parametrize("away", ["check", "write"])
def test_without_a_place_for_its_page_no_report_is_stored_and_none_of_its_tries_counts(
    reviewed: MemoryRecords, tmp_path: Path, away: str, monkeypatch: pytest.MonkeyPatch
):
    files: Any = Away(FolderFiles(tmp_path), **{away: 7 if away == "check" else 14})
    chat_model = ScriptedChatModel(ChatModelUnavailable("busy"))
    outlet = ReportOutlet(files, ZoneInfo("Asia/Shanghai"), QueueNames())
    write = partial(report_waiting, reviewed, outlet=outlet, limit=10, lease_seconds=60, now=lambda: NOON, is_last_try=True)

    for attempt in range(7):  # more often than a case may fail
        monkeypatch.setattr("eye_dx_core.records.memory.time", SimpleNamespace(time=lambda at=61.0 * (attempt + 1): at))
        with pytest.raises(FilesUnavailable):
            write(chat_model if away == "check" else None)
    assert (chat_model.asked, list(tmp_path.iterdir())) == ([], [])

    monkeypatch.undo()
    assert len(write(None)) == 2
    assert len(list((tmp_path / "reports").iterdir())) == 4


def test_one_page_that_has_no_place_holds_up_no_other(reviewed: MemoryRecords, tmp_path: Path):
    (tmp_path / report_pdf("case-1")).mkdir(parents=True)

    with pytest.raises(FilesUnavailable, match=r"1 of 2 reports have no place \(.*\): case-1$"):
        write(reviewed, None, tmp_path)

    assert reviewed.find_report("case-2") is not None
    assert reviewed.get_case_record("case-1").attempts == 0
    assert not reviewed.find_work().to_report  # it waits, or a language model would be asked for it again and again


def test_when_the_place_itself_goes_away_no_more_words_are_paid_for(reviewed: MemoryRecords, tmp_path: Path):
    files: Any = Away(FolderFiles(tmp_path), write=1)
    troubles = iter((None, FilesUnavailable("the object store did not do it")))

    def check() -> None:
        if trouble := next(troubles):
            raise trouble

    files.check = check
    outlet = ReportOutlet(files, ZoneInfo("Asia/Shanghai"), QueueNames())
    with pytest.raises(FilesUnavailable, match="the object store did not do it"):
        report_waiting(reviewed, None, outlet=outlet, limit=10, lease_seconds=60, now=lambda: NOON)

    assert reviewed.get_case_record("case-1").attempts == 0
    assert reviewed.find_work().to_report  # nobody asked for case-2


def test_an_addendum_whose_page_has_no_place_is_not_stored_so_that_it_can_be_given_again(reviewed: MemoryRecords, tmp_path: Path):
    write(reviewed, None, tmp_path)
    outlet = ReportOutlet(cast("Any", Away(FolderFiles(tmp_path), write=1)), ZoneInfo("Asia/Shanghai"), QueueNames())
    addendum = Addendum(addendum_id="a-1", case_id="case-1", text="左眼亦有渗出", doctor_name="唐医生", added_at=NOON)
    add = partial(add_addendum, reviewed, addendum, outlet=outlet, now=lambda: NOON)
    event = AuditEvent(at=NOON, actor="a", action="add addendum", subject="case-1")

    with pytest.raises(FilesUnavailable):
        add(event=event)
    assert reviewed.addenda("case-1") == ()

    add(event=event)
    assert reviewed.addenda("case-1") == (addendum,)
    assert "左眼亦有渗出" in (tmp_path / report_page("case-1")).read_text(encoding="utf-8")


@pytest.mark.parametrize("failing", ["page", "records"])
def test_an_addendum_that_was_not_stored_does_not_stay_in_the_page(reviewed: MemoryRecords, tmp_path: Path, failing: str):
    write(reviewed, None, tmp_path)
    before = [(tmp_path / name).read_bytes() for name in (report_page("case-1"), report_pdf("case-1"))]

    def down(*_: object, **__: object) -> NoReturn:
        raise ServiceUnavailable("the records did not answer")

    files: Any = FolderFiles(tmp_path)
    if failing == "records":
        reviewed.add_addendum = down
        known = reviewed.addenda
        answers = iter((known, known, down))

        def addenda(case_id: str) -> tuple[Addendum, ...]:
            return next(answers)(case_id)

        reviewed.addenda = addenda
    else:
        keep, refused = files.write, cast("Any", Away(files, write=1))
        files.write = lambda name, content: (keep if name.endswith(".pdf") else refused.write)(name, content)
    outlet = ReportOutlet(files, ZoneInfo("Asia/Shanghai"), QueueNames())
    addendum = Addendum(addendum_id="a-1", case_id="case-1", text="左眼亦有渗出", doctor_name="唐医生", added_at=NOON)
    with pytest.raises(ServiceUnavailable):
        add_addendum(reviewed, addendum, outlet=outlet, event=AuditEvent(at=NOON, actor="a", action="x", subject="s"), now=lambda: NOON)

    assert [(tmp_path / name).read_bytes() for name in (report_page("case-1"), report_pdf("case-1"))] == before


def test_what_another_doctor_adds_meanwhile_stands_in_the_page_too(reviewed: MemoryRecords, tmp_path: Path):
    write(reviewed, None, tmp_path)
    outlet = ReportOutlet(FolderFiles(tmp_path), ZoneInfo("Asia/Shanghai"), QueueNames())
    event = AuditEvent(at=NOON, actor="a", action="add addendum", subject="case-1")
    mine, theirs = (
        Addendum(addendum_id=text, case_id="case-1", text=text, doctor_name="唐医生", added_at=NOON)
        for text in ("右眼稳定", "左眼亦有渗出")
    )
    keep = reviewed.add_addendum

    def after_them(*given: Any, **named: Any) -> bool:
        keep(theirs, [], event=event)
        return keep(*given, **named)

    reviewed.add_addendum = after_them
    add_addendum(reviewed, mine, outlet=outlet, event=event, now=lambda: NOON)

    page = (tmp_path / report_page("case-1")).read_text(encoding="utf-8")
    assert "右眼稳定" in page
    assert "左眼亦有渗出" in page


def test_a_stored_addendum_is_not_said_to_have_failed_when_the_page_cannot_be_made_anew(
    reviewed: MemoryRecords, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    write(reviewed, None, tmp_path)
    files: Any = FolderFiles(tmp_path)
    event = AuditEvent(at=NOON, actor="a", action="x", subject="s")
    keep = reviewed.add_addendum

    def after_them(addendum: Addendum, *given: Any, **named: Any) -> bool:
        keep(addendum.model_copy(update={"addendum_id": "a-0"}), [], event=event)
        files.write = Away(files, write=9).write
        return keep(addendum, *given, **named)

    reviewed.add_addendum = after_them
    addendum = Addendum(addendum_id="a-1", case_id="case-1", text="左眼亦有渗出", doctor_name="唐医生", added_at=NOON)
    outlet = ReportOutlet(files, ZoneInfo("Asia/Shanghai"), QueueNames())
    add_addendum(reviewed, addendum, outlet=outlet, event=event, now=lambda: NOON)

    assert [one.addendum_id for one in reviewed.addenda("case-1")] == ["a-0", "a-1"]
    assert "the page of case-1 shows other addenda than are stored (FilesUnavailable)" in caplog.text


def test_a_patient_who_is_erased_while_an_addendum_is_written_leaves_no_page(reviewed: MemoryRecords, tmp_path: Path):
    write(reviewed, None, tmp_path)
    outlet = ReportOutlet(FolderFiles(tmp_path), ZoneInfo("Asia/Shanghai"), QueueNames())
    event = AuditEvent(at=NOON, actor="a", action="x", subject="s")
    keep = reviewed.add_addendum

    def erase_first(*given: Any, **named: Any) -> bool:
        reviewed.erase_patient("P2025001", event)
        return keep(*given, **named)

    reviewed.add_addendum = erase_first
    addendum = Addendum(addendum_id="a-1", case_id="case-1", text="左眼亦有渗出", doctor_name="唐医生", added_at=NOON)
    with pytest.raises(NotFound):
        add_addendum(reviewed, addendum, outlet=outlet, event=event, now=lambda: NOON)

    assert {path.name for path in (tmp_path / "reports").iterdir()} == {"case-2.html", "case-2.pdf"}


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
        outlet = ReportOutlet(FolderFiles(tmp_path), ZoneInfo("Asia/Shanghai"), QueueNames(), PhotoIntake(places))

        report_case(records, "case-1", chat_model=None, outlet=outlet, now=lambda: NOON)

        page = (tmp_path / report_page("case-1")).read_text(encoding="utf-8")
        assert page.count("data:image/jpeg") == 1
        assert said in page
        assert (tmp_path / report_pdf("case-1")).read_bytes().startswith(b"%PDF-1.7")
        assert {path.name for path in (tmp_path / "reports").iterdir()} == {"case-1.html", "case-1.pdf"}


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
