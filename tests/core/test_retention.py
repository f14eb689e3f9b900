"""What is deleted of a person, when, and what stays."""

from datetime import timedelta
from pathlib import Path

import pytest

from eye_dx_core.casework import report_page, report_pdf
from eye_dx_core.dataset.phantom_folders import write_phantom_photo
from eye_dx_core.errors import EyeDxError, FilesUnavailable, NotFound
from eye_dx_core.files.folders import FolderFiles
from eye_dx_core.inference.sources.folders import FolderPhotos
from eye_dx_core.queue.memory import MemoryQueue
from eye_dx_core.queue.port import Message
from eye_dx_core.queue.topology import QueueNames
from eye_dx_core.records.memory import MemoryRecords
from eye_dx_core.retention import Forgotten, Shelves, Terms, erase_patient, forget_after_terms
from eye_dx_core.schema.case import Laterality
from tests.builders import NOON, a_case, a_diagnosis

DAY = timedelta(days=1)
REPORT_FILES = {f"reports/case-old.{kind}{draft}" for kind in ("html", "pdf") for draft in ("", ".0a1b.draft", ".c2d3.draft")}


class Clinic:
    """Records, pages and photographs of two patients, and a file that is no photograph."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.records = folder, MemoryRecords()
        self.queue = MemoryQueue(names=QueueNames(), now=lambda: NOON - 10 * DAY)
        self.shelves = Shelves(files=FolderFiles(folder), photos=FolderPhotos([folder], base=folder), training_photos=folder / "photos")
        (folder / "reports").mkdir()
        (folder / "photos" / "N").mkdir(parents=True)
        (folder / "records.db").write_bytes(b"SQLite format 3\x00")
        for name in ("old_OD.jpg", "new_OD.jpg", "photos/N/taught.jpg"):
            write_phantom_photo(folder / name, "N", eye=Laterality.RIGHT, seed=1, size=96)
        named = ("old_OD.jpg", "records.db", "photos/N/taught.jpg", "../outside.jpg", "missing.jpg")
        self.add("case-old", "P-old", named, received=-10 * DAY)
        self.add("case-new", "P-new", ("new_OD.jpg",), received=-DAY)

    def add(self, case_id: str, patient_id: str, photos: tuple[str, ...], *, received: timedelta) -> None:
        case = a_case(case_id, photos=photos)
        assert case.screening.patient is not None
        patient = case.screening.patient.model_copy(update={"patient_id": patient_id})
        screening = case.screening.model_copy(update={"patient": patient})
        self.records.add_case(case.model_copy(update={"received_at": NOON + received, "screening": screening}), b"raw")
        self.records.add_diagnosis(a_diagnosis(case_id), [])
        for name in (report_page(case_id), report_pdf(case_id)):
            for draft in ("", ".0a1b.draft", ".c2d3.draft"):
                (self.folder / f"{name}{draft}").write_text("测试甲", encoding="utf-8")

    def forget(self, terms: Terms) -> Forgotten:
        return forget_after_terms(self.queue, self.records, terms, shelves=self.shelves, actor="night", now=lambda: NOON)

    def erase(self, patient_id: str, *, with_photos: bool):
        return erase_patient(self.records, patient_id, shelves=self.shelves, with_photos=with_photos, actor="a", reason="asked", at=NOON)

    def files(self) -> set[str]:
        return {path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*") if path.is_file()}


@pytest.fixture
def clinic(tmp_path: Path) -> Clinic:
    return Clinic(tmp_path)


def test_erasing_takes_pages_and_rows_and_leaves_photographs_unless_asked(clinic: Clinic):
    before = clinic.files()

    erased = clinic.erase("P-old", with_photos=False)

    assert (erased.cases, erased.photos, erased.photos_left) == (1, 0, 5)
    assert before - clinic.files() == {*REPORT_FILES}
    assert clinic.records.find_case_ids(patient_id="P-old") == ()
    with pytest.raises(NotFound):
        clinic.erase("P-old", with_photos=False)


def test_while_pages_cannot_be_deleted_the_patient_stays_for_another_try(clinic: Clinic, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> None:
        raise FilesUnavailable("the object store did not do it")

    with monkeypatch.context() as patched:
        patched.setattr(FolderFiles, "delete", refuse)
        for act in (lambda: clinic.erase("P-old", with_photos=True), lambda: clinic.forget(Terms(identities=5 * DAY))):
            with pytest.raises(FilesUnavailable):
                act()
    assert (clinic.folder / "old_OD.jpg").exists()

    assert clinic.erase("P-old", with_photos=True).cases == 1
    assert list(clinic.folder.rglob("*case-old*")) == []


def test_a_page_that_comes_back_after_its_patient_was_erased_goes_in_the_night(clinic: Clinic):
    before = clinic.files()
    clinic.erase("P-old", with_photos=False)
    for name in (report_page("case-old"), report_pdf("case-old"), report_pdf("case-unknown"), "reports/notes.txt"):
        (clinic.folder / name).write_text("测试甲", encoding="utf-8")

    assert clinic.forget(Terms()) == Forgotten(pages=2)

    assert clinic.files() == before - REPORT_FILES | {"reports/notes.txt", report_pdf("case-unknown")}
    assert [(one.action, one.subject, one.details) for one in clinic.records.audit()][1:] == [
        ("delete_pages", "1 cases", {"pages_deleted": 2})
    ]
    assert clinic.forget(Terms()) == Forgotten()


def test_pages_of_another_installation_in_the_folder_stay(clinic: Clinic):
    before, clinic.records = clinic.files(), MemoryRecords()
    clinic.records.add_case(a_case("case-of-the-trial-cluster"), b"raw")

    assert clinic.forget(Terms()) == Forgotten()
    assert clinic.files() == before


def test_no_file_is_deleted_that_is_not_a_photograph_of_the_screening(clinic: Clinic):
    """A message may name the database, a training photograph or a file elsewhere."""
    before = clinic.files()

    erased = clinic.erase("P-old", with_photos=True)

    assert (erased.photos, erased.photos_left) == (1, 4)
    assert before - clinic.files() == {*REPORT_FILES, "old_OD.jpg"}
    (entry,) = clinic.records.audit()
    assert entry.details == {"cases": 1, "photos_deleted": 1, "photos_left": 4, "reason": "asked"}


def test_photographs_elsewhere_are_their_owners_to_delete(clinic: Clinic):
    """Not even a file here is deleted that lies where a path on the other server would lie."""
    elsewhere = ("https://pacs.example.org/old_OD.jpg", "s3://fundus/old_OD.jpg", "old_OD.jpg", "/old_OD.jpg")
    photos = FolderPhotos([clinic.folder], base=None)  # paths are relative to another server
    clinic.shelves = Shelves(files=clinic.shelves.files, photos=photos, training_photos=clinic.folder / "photos")
    clinic.add("case-elsewhere", "P-elsewhere", elsewhere, received=-10 * DAY)
    before = clinic.files()

    assert clinic.forget(Terms(photos=5 * DAY)) == Forgotten()
    assert clinic.files() == before
    assert {photo.location for photo in clinic.records.get_case("case-elsewhere").screening.photos} == {"deleted"}


def test_without_terms_nothing_is_forgotten(clinic: Clinic):
    before = clinic.files()

    assert clinic.forget(Terms()) == Forgotten()
    assert clinic.files() == before
    assert list(clinic.records.audit()) == []


def test_each_kind_is_forgotten_after_its_own_term(clinic: Clinic):
    before = clinic.files()

    assert clinic.forget(Terms(messages=5 * DAY)) == Forgotten(messages=1)
    assert clinic.files() == before
    assert clinic.forget(Terms(photos=5 * DAY)) == Forgotten(photos=1)
    assert before - clinic.files() == {"old_OD.jpg"}
    assert clinic.forget(Terms(identities=5 * DAY)) == Forgotten(identities=1)
    assert before - clinic.files() == {"old_OD.jpg", *REPORT_FILES}

    assert clinic.forget(Terms(identities=5 * DAY, photos=5 * DAY, messages=5 * DAY)) == Forgotten()
    assert [entry.action for entry in clinic.records.audit()] == ["drop_messages", "delete_photos", "forget_identity"]
    patient = clinic.records.get_case("case-new").screening.patient
    assert patient is not None
    assert patient.name == "测试甲"


def test_dead_letters_go_with_the_messages(clinic: Clinic):
    clinic.queue.publish("q", Message(body=b"x"))
    (delivery,) = clinic.queue.receive("q", limit=1)
    clinic.queue.reject(delivery, reason="x")

    assert clinic.forget(Terms(messages=5 * DAY)) == Forgotten(messages=2)
    assert clinic.queue.dead_letters(limit=1) == ()


def test_photographs_of_a_folder_that_is_not_mounted_are_tried_again(clinic: Clinic, tmp_path_factory: pytest.TempPathFactory):
    unmounted = tmp_path_factory.mktemp("mount")
    clinic.shelves = Shelves(
        files=clinic.shelves.files, photos=FolderPhotos([unmounted], base=unmounted), training_photos=clinic.folder / "photos"
    )
    with pytest.raises(EyeDxError, match="are their folders mounted"):
        clinic.forget(Terms(messages=5 * DAY, photos=5 * DAY, identities=50 * DAY))

    write_phantom_photo(unmounted / "old_OD.jpg", "N", eye=Laterality.RIGHT, seed=1, size=96)
    assert clinic.forget(Terms(photos=5 * DAY)) == Forgotten(photos=1)
    with pytest.raises(NotFound):
        clinic.records.get_raw_message("case-old")  # what could be forgotten was


def test_a_photograph_that_may_not_be_deleted_is_tried_again_and_its_path_is_not_told(clinic: Clinic, monkeypatch: pytest.MonkeyPatch):
    def refuse(path: Path, **_: object) -> None:
        raise PermissionError(13, "not yours", str(path))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", refuse)
        with pytest.raises(EyeDxError, match="1 cases") as caught:
            clinic.forget(Terms(photos=5 * DAY))
    assert "old_OD" not in str(caught.value)

    assert clinic.forget(Terms(photos=5 * DAY)) == Forgotten(photos=1)
