"""Claims on the training photographs: what breaks them is named, blocks training, and can be waived with a reason."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eye_dx_core.dataset.checks import check_dataset, require_sound
from eye_dx_core.dataset.field_of_view import find_field_of_view, has_burned_in_text
from eye_dx_core.dataset.manifest import COPY, LOOK_ALIKE, Manifest
from eye_dx_core.dataset.near_duplicates import find_look_alikes, sample_rings, similarity
from eye_dx_core.dataset.phantom import render_phantom
from eye_dx_core.dataset.phantom_folders import write_phantom_photo
from eye_dx_core.dataset.photo import find_camera
from eye_dx_core.dataset.scanning import scan_photos
from eye_dx_core.dataset.splitting import Split, find_splits, split_by_patient
from eye_dx_core.dataset.waivers import Waiver, load_waivers, save_waivers
from eye_dx_core.errors import BadDataset
from eye_dx_core.schema.case import Laterality
from eye_dx_core.schema.condition import LABEL_SETS

EIGHT = LABEL_SETS["eight"]


def a_photo(path: Path, folder: str, *, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_phantom_photo(path, folder, eye=Laterality.RIGHT, seed=seed, size=256)
    return path


@pytest.fixture(scope="module")
def troubled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Healthy and diabetic eyes; a flipped copy under another patient; two photographs of grade 0 under `DR`."""
    folder = tmp_path_factory.mktemp("photos")
    for number in range(6):
        a_photo(folder / "N" / f"P{number}_20250101_OD.png", "N", seed=number)
        a_photo(folder / "DR" / f"P1{number}_20250101_OD.png", "D3" if number > 1 else "N", seed=100 + number)
    copy = Image.open(folder / "N" / "P3_20250101_OD.png").transpose(Image.Transpose.FLIP_LEFT_RIGHT).rotate(90)
    copy.save(folder / "N" / "P77_20250101_OS.jpg", quality=70)
    lines = [f"P1{number}_20250101_OD,{0 if number < 2 else 3}" for number in range(6)]
    (folder / "DR" / "grades.csv").write_text("\n".join(["image,level", *lines]), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def manifest(troubled: Path) -> Manifest:
    return scan_photos(troubled, label_set=EIGHT)


def names(manifest: Manifest, photo_ids: object) -> set[str]:
    return {Path(row.path).stem for row in manifest.rows if row.photo_id in set(photo_ids)}  # pyright: ignore[reportArgumentType]


def test_grade_zero_under_dr_counts_as_normal_and_is_named(manifest: Manifest):
    findings = {one.claim: one for one in check_dataset(manifest, split_by_patient(manifest, seed=0))}

    offenders = findings["no_grade_zero_under_dr"]
    assert names(manifest, offenders.offenders) == {"P10_20250101_OD", "P11_20250101_OD"}
    assert offenders.stops_training
    assert (manifest.counts["N"], manifest.counts["D"], manifest.grade_zero_as_normal) == (9, 4, 2)


def test_a_flipped_copy_is_named_and_shares_a_split(manifest: Manifest):
    splits = split_by_patient(manifest, seed=0)
    findings = {one.claim: one for one in check_dataset(manifest, splits)}

    (pair,) = [one for one in manifest.look_alikes if one.is_copy]
    assert names(manifest, (pair.photo_id, pair.other_id)) == {"P3_20250101_OD", "P77_20250101_OS"}
    assert set(findings["no_copy_poses_as_a_photograph"].offenders) == {pair.photo_id, pair.other_id}
    assert splits.assignment[pair.photo_id] is splits.assignment[pair.other_id]
    assert findings["no_near_duplicate_spans_splits"].holds


def test_training_is_blocked_until_the_offenders_are_waived_with_a_reason(manifest: Manifest, tmp_path: Path):
    splits = split_by_patient(manifest, seed=0)
    findings = check_dataset(manifest, splits)
    with pytest.raises(BadDataset, match=r"no_copy_poses_as_a_photograph \(2\), no_grade_zero_under_dr \(2\)"):
        require_sound(findings)

    waivers = [
        Waiver(
            claim=one.claim, reason="known, and harmless in this trial", by="tester", at=datetime.now(UTC), offenders=tuple(one.offenders)
        )
        for one in findings
        if one.stops_training
    ]
    save_waivers(waivers, tmp_path / "waivers.json")

    require_sound(check_dataset(manifest, splits, load_waivers(tmp_path / "waivers.json")))
    too_few = [one.model_copy(update={"offenders": one.offenders[:-1]}) for one in waivers]
    with pytest.raises(BadDataset, match="training is blocked"):
        require_sound(check_dataset(manifest, splits, too_few))


def test_empty_classes_single_sources_unread_files_and_names_are_warnings(tmp_path: Path):
    for number in range(5):
        a_photo(tmp_path / "N" / f"site_{number % 2}" / f"P{number}_OD.png", "N", seed=number)
        a_photo(tmp_path / "G" / "site_1" / f"P2{number}_OD.png", "G", seed=50 + number)
    a_photo(tmp_path / "N" / "site_1" / "测试甲_20250101_OD.png", "N", seed=9)
    (tmp_path / "N" / "broken.jpg").write_text("no picture")
    manifest = scan_photos(tmp_path, label_set=EIGHT)

    findings = {one.claim: one for one in check_dataset(manifest, split_by_patient(manifest, seed=0))}

    assert set(findings["every_class_has_photographs"].offenders) == {"A", "C", "CSC", "D", "RP", "RVO"}
    assert findings["no_class_comes_from_one_source"].offenders == {"G": "only from site_1"}
    assert list(findings["every_file_was_read"].offenders.values()) == ["not_an_image: neither JPEG, PNG, TIFF nor DICOM by its content"]
    assert len(findings["no_personal_data_in_file_names"].offenders) == 1
    assert "测试甲" not in str(findings)
    assert not any(one.stops_training for one in findings.values())


def test_folder_and_table_that_contradict_each_other_refuse_the_photograph(tmp_path: Path):
    a_photo(tmp_path / "N" / "a_OD.png", "N", seed=1)
    a_photo(tmp_path / "D1" / "b_OD.png", "D1", seed=2)
    a_photo(tmp_path / "D" / "c_OD.png", "D4", seed=3)
    (tmp_path / "grades.csv").write_text("file,grade,patient_id,eye\nN/a_OD.png,2,,\nb_OD,3,,\nc_OD.png,4,Q1,left\n", encoding="utf-8")

    manifest = scan_photos(tmp_path, label_set=LABEL_SETS["twelve"])

    assert sorted(one.text for one in manifest.refused) == [
        "lies under D1, and a table says grade 3",
        "lies under N, and a table says grade 2",
    ]
    (row,) = manifest.rows
    assert (row.label, row.dr_grade, row.eye, row.is_patient_known) == ("D4", 4, Laterality.LEFT, True)


def test_a_table_speaks_of_the_photographs_beside_it_only(tmp_path: Path):
    for number, site in enumerate(("one", "two")):
        a_photo(tmp_path / "D" / site / "001.png", "D3", seed=number)
        (tmp_path / "D" / site / "grades.csv").write_text(f"image,level,patient\n001,{number + 2},Q{number}\n", encoding="utf-8")
    a_photo(tmp_path / "D" / "three" / "001.png", "D3", seed=7)

    rows = {row.source: row for row in scan_photos(tmp_path, label_set=LABEL_SETS["eight"]).rows}

    assert {source: row.dr_grade for source, row in rows.items()} == {"one": 2, "two": 3, "three": None}
    assert [rows[source].is_patient_known for source in ("one", "two", "three")] == [True, True, False]


def test_a_table_that_is_no_text_is_refused_by_its_name(tmp_path: Path):
    a_photo(tmp_path / "N" / "a_OD.png", "N", seed=1)
    (tmp_path / "grades.csv").write_bytes("file,grade\n眼底,0\n".encode("gb18030"))

    with pytest.raises(BadDataset, match=r"grades\.csv is no CSV table in UTF-8"):
        scan_photos(tmp_path, label_set=EIGHT)


def test_damaged_camera_tags_are_no_camera():
    """Tags that point far outside the file: some of Pillow's parsers raise, and a hint is not worth a photograph."""
    header = b"II*\x00\x08\x00\x00\x00"
    assert find_camera(header + b"\xff\xff" + b"\x0f\x01\x02\x00\xff\xff\xff\x7f\xff\xff\xff\x7f" * 3) is None


def test_a_table_with_an_impossible_grade_is_refused_by_its_line(tmp_path: Path):
    a_photo(tmp_path / "N" / "a_OD.png", "N", seed=1)
    (tmp_path / "grades.csv").write_text("image,level\na_OD,7\n", encoding="utf-8")

    with pytest.raises(BadDataset, match=r"grades\.csv, line 2: a grade of retinopathy is 0, 1, 2, 3 or 4"):
        scan_photos(tmp_path, label_set=EIGHT)


@pytest.mark.parametrize("angle", [0, 17, 90, 180, 270])
@pytest.mark.parametrize("is_mirrored", [False, True])
def test_a_turned_and_mirrored_photograph_is_recognised_and_another_eye_is_not(angle: int, is_mirrored: bool):  # noqa: FBT001
    first, other = (render_phantom("D3", eye=Laterality.RIGHT, seed=seed, size=320).rgb for seed in (1, 2))
    turned = Image.fromarray(first).rotate(angle, resample=Image.Resampling.BICUBIC)
    turned = turned.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if is_mirrored else turned
    rings, copy, stranger = (sample_rings(one, find_field_of_view(one)) for one in (first, np.asarray(turned), other))

    assert similarity(rings, copy) >= COPY
    assert similarity(rings, stranger) < LOOK_ALIKE


def test_look_alikes_are_found_among_more_photographs_than_one_block_holds():
    rng = np.random.default_rng(0)
    rings = [one / np.linalg.norm(one) for one in rng.normal(size=(1100, 24, 128)).astype(np.float32)]
    rings[1050] = np.roll(rings[3][:, ::-1], 31, axis=1)

    assert [(one, other) for one, other, _ in find_look_alikes(rings, at_least=0.7)] == [(3, 1050)]


def test_old_photographs_keep_their_split_when_new_ones_come(tmp_path: Path):
    for number in range(12):
        a_photo(tmp_path / "N" / f"P{number}_OD.png", "N", seed=number)
    before = split_by_patient(scan_photos(tmp_path, label_set=EIGHT), seed=0)
    for number in range(12, 24):
        a_photo(tmp_path / "N" / f"P{number}_OD.png", "N", seed=number)
    manifest = scan_photos(tmp_path, label_set=EIGHT)

    after = split_by_patient(manifest, seed=0, previous=before)

    assert before.assignment.items() <= after.assignment.items()
    shares = {split: after.counts[split]["N"] / 24 for split in Split}
    assert shares == pytest.approx({Split.TRAIN: 0.6, Split.VALIDATION: 0.1, Split.CALIBRATION: 0.1, Split.TEST: 0.2}, abs=0.06)


def test_a_photograph_that_was_moved_keeps_its_split(tmp_path: Path):
    for number in range(12):
        a_photo(tmp_path / "clinic-1" / "N" / f"P{number}_OD.png", "N", seed=number)
    before = split_by_patient(scan_photos(tmp_path, label_set=EIGHT), seed=0)
    (tmp_path / "clinic-1").rename(tmp_path / "clinic-2")
    manifest = scan_photos(tmp_path, label_set=EIGHT)

    after = split_by_patient(manifest, seed=9, previous=before)

    assert after.pixels == before.pixels
    assert not before.assignment.keys() & after.assignment.keys()


def test_splits_that_cannot_be_read_are_no_reason_to_divide_anew(tmp_path: Path):
    (tmp_path / "splits.json").write_text('{"assignment": {}}', encoding="utf-8")

    with pytest.raises(BadDataset, match="restore it, or remove it"):
        find_splits(tmp_path / "splits.json")


def test_photographs_of_unknown_patients_are_only_trained_on(tmp_path: Path):
    for number in range(8):
        a_photo(tmp_path / "N" / f"P{number}_OD.png", "N", seed=number)
        a_photo(tmp_path / "N" / f"{number:03}.png", "N", seed=40 + number)
    manifest = scan_photos(tmp_path, label_set=EIGHT)

    splits = split_by_patient(manifest, seed=0)

    assert {splits.assignment[row.photo_id] for row in manifest.rows if not row.is_patient_known} == {Split.TRAIN}
    assert {splits.assignment[row.photo_id] for row in manifest.rows if row.is_patient_known} == set(Split)


def test_writing_beside_the_disc_is_seen():
    from PIL import ImageDraw

    rgb = render_phantom("N", eye=Laterality.RIGHT, seed=5, size=512).rgb
    written = Image.fromarray(rgb)
    ImageDraw.Draw(written).text((4, 4), "20250101 ID 4711", fill=(255, 255, 255), font_size=14)

    assert has_burned_in_text(np.asarray(written), find_field_of_view(np.asarray(written)))
    assert not has_burned_in_text(rgb, find_field_of_view(rgb))
