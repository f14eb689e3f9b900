"""Phantoms are the same for the same seed, anatomically consistent, and carry their truth."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import laplace

from eye_dx_core.dataset.phantom import PHANTOM_CODES, Defect, render_phantom
from eye_dx_core.dataset.phantom_folders import write_phantom_dataset
from eye_dx_core.dataset.photo_file import PhotoFormat, sniff_format
from eye_dx_core.schema.case import Laterality

RIGHT, LEFT = Laterality.RIGHT, Laterality.LEFT


def test_the_same_seed_gives_the_same_pixels():
    first, second, other = (render_phantom("D2", eye=RIGHT, seed=seed, size=128) for seed in (5, 5, 6))

    assert np.array_equal(first.rgb, second.rgb)
    assert not np.array_equal(first.rgb, other.rgb)


@pytest.mark.parametrize("eye", Laterality)
def test_the_disc_is_nasal_of_the_fovea(eye: Laterality):
    for seed in range(8):
        phantom = render_phantom("N", eye=eye, seed=seed, size=96)
        assert (phantom.disc_xy[0] > phantom.fovea_xy[0]) == (eye is RIGHT)


@pytest.mark.parametrize("code", PHANTOM_CODES)
def test_only_a_diseased_eye_has_lesions(code: str):
    phantom = render_phantom(code, eye=LEFT, seed=3, size=160)

    assert phantom.rgb.shape == (160, 160, 3)
    assert phantom.lesion_mask.any() == (code not in ("N", "D0", "G"))
    assert phantom.rgb[0, 0].max() < 30  # the camera's border is black


def test_glaucoma_has_a_large_cup():
    healthy = [render_phantom("N", eye=RIGHT, seed=seed, size=64).cup_ratio for seed in range(10)]
    glaucoma = [render_phantom("G", eye=RIGHT, seed=seed, size=64).cup_ratio for seed in range(10)]

    assert max(healthy) < 0.55 < min(glaucoma)


def test_retinopathy_shows_more_with_its_grade():
    red = [render_phantom(f"D{grade}", eye=RIGHT, seed=4, size=160).structure_masks["red_lesions"].sum() for grade in (1, 2, 3)]

    assert red == sorted(red)
    assert "new_vessels" in render_phantom("D4", eye=RIGHT, seed=4, size=160).structure_masks


def test_the_two_eyes_of_a_person_are_alike():
    def tint(eye: Laterality, seed: int, person: int) -> np.ndarray:
        return render_phantom("N", eye=eye, seed=seed, person_seed=person, size=96).rgb[20:76, 20:76].mean(axis=(0, 1))

    same = np.abs(tint(RIGHT, 1, 7) - tint(LEFT, 2, 7)).sum()
    others = [np.abs(tint(RIGHT, 1, 7) - tint(LEFT, 2, person)).sum() for person in range(20, 26)]
    assert same < np.median(others)


def test_defects_spoil_the_picture_in_their_own_way():
    def picture(defect: Defect | None) -> np.ndarray:
        return render_phantom("N", eye=RIGHT, seed=2, size=160, defect=defect).rgb.astype(float)

    good = picture(None)
    assert laplace(picture(Defect.BLUR)[..., 1]).std() < laplace(good[..., 1]).std()
    assert picture(Defect.UNDER_EXPOSED).mean() < 0.4 * good.mean()
    assert picture(Defect.OVER_EXPOSED).mean() > 1.3 * good.mean()
    assert (picture(Defect.CUT_FIELD).max(axis=2) > 20).sum() < 0.8 * (good.max(axis=2) > 20).sum()
    assert picture(Defect.EYELASH)[110:150].mean() < good[110:150].mean()


def test_an_unknown_code_is_refused():
    with pytest.raises(ValueError, match="unknown phantom code X"):
        render_phantom("X", eye=RIGHT, seed=1)


def test_a_written_dataset_looks_like_one_from_the_field(tmp_path: Path):
    counts = {"D0": 6, "A": 3, "CRVO": 2, "N": 2}

    folder = write_phantom_dataset(tmp_path / "photos", size=96, counts=counts)

    assert {path.name for path in folder.iterdir() if path.is_dir()} == {"D0", "AMD-CFP", "RVO", "N"}
    formats = {sniff_format(path.read_bytes()[:8]) for path in folder.rglob("P1[0-8]*.*")}
    assert formats == set(PhotoFormat) - {PhotoFormat.DICOM}
    assert (folder / "N" / "P199999_20250312_OS.jpg").read_text() == "exported with errors"
    assert len(list(folder.rglob("copy_of_*"))) == 1
    assert json.loads((folder / "phantoms.json").read_text())["counts"] == counts


def test_writing_a_finished_dataset_again_changes_nothing(tmp_path: Path):
    folder = write_phantom_dataset(tmp_path / "photos", size=96, counts={"N": 1})
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.jpg")}

    write_phantom_dataset(folder, size=96, counts={"N": 1})

    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.jpg")} == before


def test_phantoms_are_never_mixed_with_photographs(tmp_path: Path):
    (tmp_path / "N").mkdir()

    with pytest.raises(FileExistsError, match="no phantoms"):
        write_phantom_dataset(tmp_path, counts={"N": 1})


@pytest.mark.parametrize("code", ["A", "D2", "RP", "BRVO", "CRVO"])
def test_a_disease_that_has_just_begun_shows_less(code: str):
    begun, full = (render_phantom(code, eye=RIGHT, seed=4, size=160, severity=severity).lesion_mask.sum() for severity in (0.1, 1.0))

    assert 0 < begun < full / 2


@pytest.mark.parametrize("code", ["C", "CSC", "G"])
def test_a_disease_that_has_just_begun_changes_the_picture_less(code: str):
    begun, full = (render_phantom(code, eye=RIGHT, seed=4, size=160, severity=severity).rgb.astype(int) for severity in (0.1, 1.0))
    none = render_phantom(code, eye=RIGHT, seed=4, size=160, severity=0.0).rgb.astype(int)

    assert np.abs(begun - none).mean() < np.abs(full - none).mean()


def test_a_set_can_hold_diseases_at_every_stage(tmp_path: Path):
    full, mild = (write_phantom_dataset(tmp_path / str(least), size=96, counts={"RP": 4}, mildest=least) for least in (1.0, 0.05))

    def pigment(folder: Path) -> list[int]:
        return [int((np.asarray(Image.open(path)).max(axis=2) < 90).sum()) for path in sorted((folder / "RP").iterdir())]

    assert len(pigment(full)) == len(pigment(mild))
    assert sum(pigment(mild)) < sum(pigment(full))
