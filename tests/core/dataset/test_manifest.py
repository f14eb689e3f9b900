"""Every file is a row or a refusal, and the splits keep patients together."""

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eye_dx_core import progress
from eye_dx_core.dataset.cache import load_squares
from eye_dx_core.dataset.field_of_view import FieldOfView
from eye_dx_core.dataset.imbalance import Severity, analyse_imbalance, imbalance_figure, imbalance_markdown
from eye_dx_core.dataset.manifest import Manifest, ManifestRow, load_manifest, save_manifest
from eye_dx_core.dataset.phantom_folders import write_phantom_dataset, write_phantom_photo
from eye_dx_core.dataset.photo_file import PhotoFormat
from eye_dx_core.dataset.scanning import scan_photos
from eye_dx_core.dataset.splitting import Split, load_splits, patients_spanning_splits, save_splits, split_by_patient
from eye_dx_core.errors import BadDataset
from eye_dx_core.schema.case import Laterality
from eye_dx_core.schema.condition import LABEL_SETS

EIGHT = LABEL_SETS["eight"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    counts = {"D0": 6, "D2": 5, "A": 5, "N": 5, "BRVO": 4, "G": 4}
    return write_phantom_dataset(tmp_path_factory.mktemp("data") / "photos", size=96, counts=counts)


def a_photo(path: Path, *, seed: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_phantom_photo(path, "N", eye=Laterality.RIGHT, seed=seed, size=96)
    return path


def test_folders_become_labels_and_grade_0_is_normal(photos: Path):
    manifest = scan_photos(photos, label_set=EIGHT)

    by_folder = {(row.folder_code, row.label) for row in manifest.rows}
    assert by_folder == {("D0", "N"), ("D2", "D"), ("A", "A"), ("N", "N"), ("BRVO", "RVO"), ("G", "G")}
    assert manifest.grade_zero_as_normal == sum(row.folder_code == "D0" for row in manifest.rows) > 0
    assert manifest.counts["CSC"] == 0
    assert {row.source for row in manifest.rows} == {"unknown", "camera_b", "clinic_2"}


def test_every_refused_file_has_its_reason(photos: Path):
    manifest = scan_photos(photos, label_set=EIGHT)

    assert [(Path(one.path).name, one.reason) for one in manifest.refused] == [("P199999_20250312_OS.jpg", "not_an_image")]


def test_a_file_under_no_class_and_a_label_outside_the_set_are_refused(tmp_path: Path):
    a_photo(tmp_path / "N" / "a.jpg")
    a_photo(tmp_path / "misc" / "b.jpg", seed=2)
    a_photo(tmp_path / "D" / "c.jpg", seed=3)
    (tmp_path / "N" / "notes.txt").write_text("x")

    manifest = scan_photos(tmp_path, label_set=LABEL_SETS["twelve"])

    assert {Path(one.path).name: one.reason for one in manifest.refused} == {"b.jpg": "no_class_folder", "c.jpg": "label_not_in_set"}
    assert manifest.side_files == 1


def test_repeats_are_marked_and_conflicting_labels_refused(tmp_path: Path):
    first = a_photo(tmp_path / "N" / "P1_20250101_OD.png")
    shutil.copy(first, tmp_path / "N" / "P1_again_OD.png")
    second = a_photo(tmp_path / "A" / "P2_OD.png", seed=2)
    (tmp_path / "G").mkdir()
    shutil.copy(second, tmp_path / "G" / "P3_OD.png")

    manifest = scan_photos(tmp_path, label_set=EIGHT)

    assert [row.duplicate_of is not None for row in manifest.rows] == [False, True]
    assert [one.reason for one in manifest.refused] == ["label_conflict"] * 2


def test_names_tell_patient_and_eye_but_never_leave_the_path(tmp_path: Path):
    for name in ("wang_20250101_OD.jpg", "wang_20250102_OS.jpg", "li_OD.jpg", "nothing.jpg"):
        a_photo(tmp_path / "N" / name, seed=len(name))
    rows = {Path(row.path).name: row for row in scan_photos(tmp_path, label_set=EIGHT).rows}

    assert rows["wang_20250101_OD.jpg"].patient_key == rows["wang_20250102_OS.jpg"].patient_key
    assert len({row.patient_key for row in rows.values()}) == 3
    assert (rows["wang_20250102_OS.jpg"].eye, rows["nothing.jpg"].eye) == (Laterality.LEFT, None)
    assert "wang" not in repr(list(rows.values()))


def test_an_empty_or_missing_folder_says_what_to_do(tmp_path: Path):
    with pytest.raises(BadDataset, match="eye-dx phantoms"):
        scan_photos(tmp_path / "none", label_set=EIGHT)
    with pytest.raises(BadDataset, match="class folders"):
        scan_photos(tmp_path, label_set=EIGHT)


def test_the_fingerprint_follows_pixels_and_labels_not_places(photos: Path, tmp_path: Path):
    moved = shutil.copytree(photos, tmp_path / "moved")
    before = scan_photos(photos, label_set=EIGHT)
    shutil.move(moved / "N" / "camera_b", moved / "N" / "camera_c")

    assert scan_photos(moved, label_set=EIGHT).fingerprint == before.fingerprint
    assert scan_photos(photos, label_set=LABEL_SETS["screen"]).fingerprint != before.fingerprint


def test_manifest_and_splits_come_back_from_disk(photos: Path, tmp_path: Path):
    manifest = scan_photos(photos, label_set=EIGHT)
    splits = split_by_patient(manifest, seed=0)

    assert load_manifest(save_manifest(manifest, tmp_path / "m.json")) == manifest
    assert load_splits(save_splits(splits, tmp_path / "s.json")) == splits


def test_every_label_with_four_patients_is_in_every_split(photos: Path):
    manifest = scan_photos(photos, label_set=EIGHT)
    splits = split_by_patient(manifest, seed=0)

    assert patients_spanning_splits(manifest, splits) == ()
    for split in Split:
        assert all(splits.counts[split][label] for label in ("N", "D", "A", "RVO", "G")), split


def a_manifest(patients: list[tuple[str, str]]) -> Manifest:
    rows = tuple(
        ManifestRow(
            photo_id=f"photo-{n}",
            path=f"{label}/{n}.jpg",
            folder_code=label,
            label=label,
            dr_grade=None,
            source="unknown",
            camera="9x9",
            patient_key=patient,
            is_patient_known=patient != "p0",
            eye=None,
            width=9,
            height=9,
            format=PhotoFormat.JPEG,
            field=FieldOfView(center_x=4, center_y=4, radius=4),
            has_burned_in_text=False,
            file_sha256=str(n),
            pixel_sha256=str(n // 2 if label == "G" else f"{n}x"),
        )
        for n, (patient, label) in enumerate(patients)
    )
    counts = {code: sum(row.label == code for row in rows) for code in EIGHT.codes}
    return Manifest(
        label_set=EIGHT, rows=rows, refused=(), look_alikes=(), counts=counts, grade_zero_as_normal=0, side_files=0, fingerprint="f"
    )


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from([f"p{n}" for n in range(12)]), st.sampled_from(EIGHT.codes)), min_size=1, max_size=60))
def test_no_patient_and_no_duplicate_ever_spans_splits(patients: list[tuple[str, str]]):
    manifest = a_manifest(patients)
    splits = split_by_patient(manifest, seed=1)

    assert patients_spanning_splits(manifest, splits) == ()
    assert splits.assignment.keys() == {row.photo_id for row in manifest.rows}
    by_pixels: dict[str, set[Split]] = {}
    for row in manifest.rows:
        by_pixels.setdefault(row.pixel_sha256, set()).add(splits.assignment[row.photo_id])
    assert all(len(where) == 1 for where in by_pixels.values())


def test_squares_are_made_once_and_damaged_ones_again(photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    rows = scan_photos(photos, label_set=EIGHT).rows[:4]
    first = load_squares(photos, rows[:3], size=32, cache_folder=tmp_path)[:]
    grown = load_squares(photos, rows, size=32, cache_folder=tmp_path)
    kept = {path: path.stat().st_mtime_ns for path in sorted(tmp_path.rglob("*.npy"))}
    assert len(kept) == 2, "what was there is not decoded again"
    assert np.array_equal(grown[:3], first)
    assert np.array_equal(grown[np.array([3, 0])], [grown[3:][0], first[0]])
    broken, whole = kept
    broken.unlink()
    broken.write_bytes(whole.read_bytes()[:-1])

    again = load_squares(photos, rows, size=32, cache_folder=tmp_path)

    assert "damaged" in caplog.text
    assert np.array_equal(again[:3], first)
    assert whole.stat().st_mtime_ns == kept[whole]


def test_a_long_step_says_how_far_it_is(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN", 0)
    caplog.set_level("INFO", logger="eye_dx_core")
    counted = progress.LoggedProgress("photographs decoded", 2000)

    counted.advance(1000)
    counted.advance(1000)

    assert caplog.messages == ["photographs decoded: 1,000 of 2,000, about 0:00:00 to go"]


def test_the_reference_counts_are_called_what_they_are():
    report = analyse_imbalance({"D": 39314, "A": 863, "RVO": 491, "G": 430, "C": 424, "N": 245, "CSC": 235, "RP": 158})

    assert report.severity is Severity.EXTREME
    assert report.ratio == pytest.approx(248.8, abs=0.1)
    assert report.accuracy_of_constant_answer == pytest.approx(0.9325, abs=1e-4)
    assert report.recommended_loss == "balanced_softmax"


def test_even_counts_are_even_and_empty_classes_are_said():
    report = analyse_imbalance({"A": 50, "N": 50, "RP": 0})

    assert (report.ratio, report.gini, report.entropy, report.severity) == (1, 0, pytest.approx(1), Severity.NONE)
    assert report.empty_classes == ("RP",)
    assert "RP" in imbalance_markdown(report)
    assert imbalance_figure(report).startswith(b"\x89PNG")
    assert len(imbalance_figure(report)) < 60_000


@given(st.dictionaries(st.text(min_size=1, max_size=3), st.integers(0, 10**6), min_size=1).filter(lambda counts: any(counts.values())))
def test_measures_stay_in_their_ranges(counts: dict[str, int]):
    report = analyse_imbalance(counts)

    assert report.ratio >= 1
    assert 0 <= report.gini < 1
    assert -1e-9 <= report.entropy <= 1 + 1e-9
    assert Counter(report.counts) == Counter(counts)
