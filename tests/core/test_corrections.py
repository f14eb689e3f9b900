"""Doctors' labels for the next training: only where they are beyond doubt, and never of a patient in the locked test."""

from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from eye_dx_core import wiring
from eye_dx_core.correcting import LOCKED, gather_corrections
from eye_dx_core.dataset.corrections import CorrectedLabels, load_corrections, save_corrections
from eye_dx_core.dataset.manifest import Manifest, Provenance, save_manifest
from eye_dx_core.dataset.phantom_folders import write_phantom_photo
from eye_dx_core.dataset.scanning import scan_photos
from eye_dx_core.dataset.splitting import Split, Splits, save_splits, split_by_patient
from eye_dx_core.errors import BadDataset
from eye_dx_core.files.folders import FolderFiles
from eye_dx_core.records.audit import AuditEvent
from eye_dx_core.records.port import CaseRecord
from eye_dx_core.schema.case import Laterality
from eye_dx_core.schema.condition import LABEL_SETS, DrGrade
from eye_dx_core.schema.review import EyeReview, Ungradable
from eye_dx_core.settings import Settings
from tests.builders import NOON, a_case, a_diagnosis, a_patient, a_review

OD, OS = Laterality.RIGHT, Laterality.LEFT
EIGHT = LABEL_SETS["eight"]


def a_record(number: int, *eyes: EyeReview, patient: str | None = "P1", photos: tuple[str, ...] | None = None) -> CaseRecord:
    """A visit with a photograph of each eye, reviewed as told."""
    case_id = f"case-{number}"
    case = a_case(case_id, photos=photos or (f"visit/{number}_OD.jpg", f"visit/{number}_OS.jpg"))
    screening = case.screening.model_copy(update={"patient": a_patient(patient) if patient else None})
    diagnosis = a_diagnosis(case_id, right="A", left="N")
    read = tuple(
        eye.model_copy(update={"photos": tuple(photo.model_copy(update={"photo_id": f"{case_id}-{n}"}) for photo in eye.photos)})
        for n, eye in enumerate(diagnosis.eyes, start=1)
    )
    return CaseRecord(
        case=case.model_copy(update={"screening": screening}),
        diagnosis=diagnosis.model_copy(update={"eyes": read}),
        review=a_review(case_id, review_id=f"review-{number}").model_copy(update={"eyes": eyes}),
    )


class Clinic:
    """An installation on a disk: its photographs, and what is gathered there."""

    def __init__(self, folder: Path) -> None:
        self.settings = Settings.model_validate({"state_dir": folder, "include_corrections": True})

    def photograph(self, location: str, code: str, *, seed: int) -> Path:
        path = self.settings.data / location
        path.parent.mkdir(parents=True, exist_ok=True)
        eye = OS if "OS" in location else OD
        write_phantom_photo(path, code, eye=eye, seed=seed, size=128)
        return path

    def gather(self, *records: CaseRecord) -> CorrectedLabels:
        with closing(wiring.open_records(self.settings)) as kept:
            for record in records:
                kept.add_case(record.case, b"{}")
        find_photo = wiring.photo_folders(self.settings).find_photo
        return gather_corrections(records, find_photo, known=wiring.trained_on(self.settings), salt=b"salt of this installation")

    def scan(self) -> Manifest:
        corrected, locked = wiring.corrected_photos(self.settings)
        return scan_photos(self.settings.training_photos, label_set=EIGHT, corrected=corrected, locked=locked)

    def train_on(self, photos: dict[str, str]) -> Splits:
        """Put photographs into class folders and divide them, all into the locked test."""
        for seed, (name, code) in enumerate(photos.items(), start=500):
            self.photograph(f"photos/{code}/{name}", code, seed=seed)
        manifest = scan_photos(self.settings.training_photos, label_set=EIGHT)
        save_manifest(manifest, self.settings.prepared / "manifest.json")
        splits = split_by_patient(manifest, seed=0)
        tested = splits.model_copy(
            update={
                "assignment": dict.fromkeys(splits.assignment, Split.TEST),
                "pixels": dict.fromkeys(splits.pixels, Split.TEST),
            }
        )
        save_splits(tested, self.settings.prepared / "splits.json")
        return tested


@pytest.fixture
def clinic(tmp_path: Path) -> Clinic:
    opened = Clinic(tmp_path)
    for number in range(1, 5):
        opened.photograph(f"visit/{number}_OD.jpg", "A", seed=number)
        opened.photograph(f"visit/{number}_OS.jpg", "N", seed=100 + number)
    return opened


def test_agreeing_and_overriding_labels_are_kept_and_say_which(clinic: Clinic):
    graded = EyeReview(eye=OS, labels=("D",), dr_grade=DrGrade.SEVERE)

    rows = clinic.gather(a_record(1, EyeReview(eye=OD, labels=("A",), diseases=("高度近视",)), graded)).rows

    told = [(row.eye, row.label, row.dr_grade, row.against, row.source, row.model_version, row.review_id) for row in rows]
    assert told == [
        (OD, "A", None, "confirms", "doctor", "3", "review-1"),
        (OS, "D3", 3, "overrides", "doctor", "3", "review-1"),
    ]
    assert {row.reviewed_at for row in rows} == {NOON}


@pytest.mark.parametrize(
    ("eye", "reason"),
    [
        (EyeReview(eye=OD, ungradable=Ungradable.RETAKE), "ungradable"),
        (EyeReview(eye=OD, diseases=("高度近视",)), "no_label_chosen"),
        (EyeReview(eye=OD, labels=("A", "C")), "several_labels"),
        (EyeReview(eye=OD, labels=("N",), diseases=("高度近视",)), "normal_with_something_else"),
    ],
)
def test_what_labels_no_photograph_beyond_doubt_is_left_out_and_counted(clinic: Clinic, eye: EyeReview, reason: str):
    gathered = clinic.gather(a_record(1, eye))

    assert (gathered.rows, gathered.left_out) == ((), {reason: 1})


def test_the_label_of_an_eye_is_not_that_of_each_of_its_photographs(clinic: Clinic):
    record = a_record(1, EyeReview(eye=OD, labels=("A",)))
    assert record.diagnosis is not None
    right, left = record.diagnosis.eyes
    twice = record.diagnosis.model_copy(update={"eyes": (right.model_copy(update={"photos": right.photos * 2}), left)})

    assert clinic.gather(record.model_copy(update={"diagnosis": twice})).left_out == {"several_photos": 1}


def test_a_photograph_that_is_gone_or_of_nobody_is_left_out_and_counted(clinic: Clinic):
    amd = EyeReview(eye=OD, labels=("A",))
    gone = a_record(2, amd, photos=("visit/none_OD.jpg", "visit/none_OS.jpg"))
    deleted = a_record(3, amd)
    deleted = deleted.model_copy(update={"case": deleted.case.without_traces()})

    gathered = clinic.gather(a_record(1, amd, patient=None), gone, deleted)

    assert gathered.left_out == {"patient_unknown": 1, "photo_deleted": 1, "photo_missing": 1}


def test_a_patient_is_a_hash_that_only_this_installation_can_repeat(clinic: Clinic):
    record = a_record(1, EyeReview(eye=OD, labels=("A",)))
    (row,) = clinic.gather(record).rows
    find_photo = wiring.photo_folders(clinic.settings).find_photo
    (elsewhere,) = gather_corrections([record], find_photo, known=wiring.trained_on(clinic.settings), salt=b"another").rows

    assert row.patient_key != elsewhere.patient_key
    assert "P1" not in row.model_dump_json()
    assert "visit" not in row.model_dump_json()


def test_a_version_is_its_content(clinic: Clinic):
    amd = EyeReview(eye=OD, labels=("A",))
    one, same = clinic.gather(a_record(1, amd)), clinic.gather(a_record(1, amd))
    other = clinic.gather(a_record(1, EyeReview(eye=OD, labels=("G",))))

    assert one.version == same.version != other.version
    paths = [save_corrections(each, FolderFiles(clinic.settings.data)) for each in (one, other)]
    assert paths[0] != paths[1]
    assert load_corrections(FolderFiles(clinic.settings.data)) == other


def test_the_next_manifest_includes_them_with_their_provenance(clinic: Clinic):
    clinic.photograph("photos/G/somebody_OD.jpg", "G", seed=900)
    save_corrections(clinic.gather(a_record(1, EyeReview(eye=OD, labels=("A",)))), FolderFiles(clinic.settings.data))

    manifest = clinic.scan()

    assert {(row.label, row.provenance, row.source) for row in manifest.rows} == {
        ("G", Provenance.FOLDER, "unknown"),
        ("A", Provenance.DOCTOR, "doctor"),
    }
    assert scan_photos(clinic.settings.training_photos, label_set=EIGHT).counts["A"] == 0


def test_who_was_erased_is_not_trained_on(clinic: Clinic):
    clinic.photograph("photos/G/somebody_OD.jpg", "G", seed=900)
    save_corrections(clinic.gather(a_record(1, EyeReview(eye=OD, labels=("A",)))), FolderFiles(clinic.settings.data))
    with closing(wiring.open_records(clinic.settings)) as records:
        records.erase_patient("P1", AuditEvent(at=NOON, actor="a", action="erase", subject="P1"))

    assert {row.provenance for row in clinic.scan().rows} == {Provenance.FOLDER}


def test_without_a_list_the_manifest_says_what_to_do(clinic: Clinic):
    with pytest.raises(BadDataset, match="materialise corrected_labels"):
        clinic.scan()


def test_a_patient_whose_other_photo_is_in_the_locked_test_is_left_out_and_counted(clinic: Clinic):
    clinic.train_on({"P1_OD.jpg": "G", "P8_OD.jpg": "G"})  # file names of the training photographs tell the patient
    amd = EyeReview(eye=OD, labels=("A",))

    gathered = clinic.gather(a_record(1, amd, patient="P1"), a_record(2, amd, patient="P2"))

    assert [row.review_id for row in gathered.rows] == ["review-2"]
    assert gathered.left_out == {LOCKED: 1}


def test_one_photograph_in_the_locked_test_shuts_out_every_visit_of_its_patient(clinic: Clinic):
    tested = clinic.photograph("photos/A/unnamed.jpg", "A", seed=1)
    tested.write_bytes((clinic.settings.data / "visit/1_OD.jpg").read_bytes())
    clinic.train_on({"other_OD.jpg": "G"})
    amd, later = EyeReview(eye=OD, labels=("A",)), EyeReview(eye=OS, labels=("N",))

    assert clinic.gather(a_record(1, amd), a_record(2, later)).left_out == {LOCKED: 2}


def test_a_list_from_before_the_test_was_locked_is_held_to_it_at_the_next_scan(clinic: Clinic):
    save_corrections(clinic.gather(a_record(1, EyeReview(eye=OD, labels=("A",)))), FolderFiles(clinic.settings.data))
    tested = clinic.photograph("photos/A/unnamed.jpg", "A", seed=1)
    tested.write_bytes((clinic.settings.data / "visit/1_OD.jpg").read_bytes())
    clinic.train_on({"other_OD.jpg": "G"})

    manifest = clinic.scan()

    assert all(row.provenance is Provenance.FOLDER for row in manifest.rows)
    assert [one.reason for one in manifest.refused] == ["locked_test"]


def test_what_doctors_labelled_never_becomes_part_of_a_test(clinic: Clinic):
    amd = EyeReview(eye=OD, labels=("A",))
    save_corrections(
        clinic.gather(*(a_record(number, amd, patient=f"P{number}") for number in range(1, 5))), FolderFiles(clinic.settings.data)
    )
    for number in range(6):
        clinic.photograph(f"photos/G/Q{number}_OD.jpg", "G", seed=700 + number)
    manifest = clinic.scan()

    splits = split_by_patient(manifest, seed=0)

    doctors = {row.photo_id for row in manifest.rows if row.provenance is Provenance.DOCTOR}
    assert len(doctors) == 4
    assert {splits.assignment[photo_id] for photo_id in doctors} == {Split.TRAIN}
    assert Split.TEST in set(splits.assignment.values())


def test_a_file_that_was_changed_since_is_not_the_photograph_the_doctor_saw(clinic: Clinic):
    clinic.photograph("photos/G/somebody_OD.jpg", "G", seed=900)
    save_corrections(clinic.gather(a_record(1, EyeReview(eye=OD, labels=("A",)))), FolderFiles(clinic.settings.data))
    clinic.photograph("visit/1_OD.jpg", "C", seed=int(timedelta(days=1).total_seconds()))

    assert [one.reason for one in clinic.scan().refused] == ["changed"]
