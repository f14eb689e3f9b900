"""Photographs as people are shown them: the square, the evidence over it, nothing of the file."""

import io

import numpy as np
import pytest
from PIL import Image

from eye_dx_core.dataset.phantom import render_phantom
from eye_dx_core.errors import BadPhoto, ServiceUnavailable
from eye_dx_core.inference.intake import PhotoIntake
from eye_dx_core.inference.pictures import evidence_on_grey, picture_of
from eye_dx_core.inference.sources.memory import MemoryPhotos
from eye_dx_core.inference.zones import inside_field
from eye_dx_core.schema.case import DELETED, Laterality
from eye_dx_core.schema.diagnosis import EvidenceMap, Outcome, PhotoPrediction

SIDE = 160


def a_photo_file() -> bytes:
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x010E] = "secret-name"
    Image.fromarray(render_phantom("N", eye=Laterality.RIGHT, seed=3, size=320).rgb).save(file, format="JPEG", quality=95, exif=exif)
    return file.getvalue()


PHOTOS = PhotoIntake(MemoryPhotos({"right.jpg": a_photo_file(), "bad.jpg": b"no picture", "silent.jpg": None}))


def a_prediction() -> PhotoPrediction:
    weights = np.zeros((14, 14), dtype=int)
    weights[3:6, 8:11] = 255
    evidence = EvidenceMap(rows=14, columns=14, weights=tuple(weights.flatten().tolist()), deletion_score=2.0)
    return PhotoPrediction(photo_id="p", outcome=Outcome.ASSESSED, conclusion="A", evidence=evidence)


def pixels(file: bytes | None) -> np.ndarray:
    assert file is not None
    with Image.open(io.BytesIO(file)) as picture:
        assert set(picture.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
        return np.asarray(picture)


def test_a_picture_is_the_square_around_the_field_and_holds_no_metadata():
    picture = picture_of("right.jpg", None, PHOTOS, side=SIDE)

    assert pixels(picture.photo_jpeg).shape == (SIDE, SIDE, 3)
    assert picture.evidence_png is None
    assert evidence_on_grey(picture) is None
    assert b"secret" not in picture.photo_jpeg


def test_the_evidence_covers_where_it_is_strong_and_is_clear_elsewhere():
    layer = pixels(picture_of("right.jpg", a_prediction(), PHOTOS, side=SIDE).evidence_png)

    assert layer.shape == (SIDE, SIDE, 4)
    strongest = int(4.5 / 14 * SIDE), int(9.5 / 14 * SIDE)
    assert layer[strongest][3] > 190
    assert layer[strongest][1] > 200  # the upper end of viridis is yellow
    assert layer[SIDE * 3 // 4, SIDE // 4, 3] == 0
    assert layer[~inside_field(SIDE), 3].max() == 0


def test_on_paper_the_evidence_is_the_brightest_of_a_grey_photograph():
    seen = pixels(evidence_on_grey(picture_of("right.jpg", a_prediction(), PHOTOS, side=SIDE))).astype(int)

    strongest = int(4.5 / 14 * SIDE), int(9.5 / 14 * SIDE)
    light = seen @ [299, 587, 114]
    assert light[strongest] > np.percentile(light, 97)
    away = seen[SIDE * 3 // 4, SIDE // 4]
    assert away.max() - away.min() < 12


def test_the_same_photograph_gives_the_same_files():
    assert picture_of("right.jpg", a_prediction(), PHOTOS, side=SIDE) == picture_of("right.jpg", a_prediction(), PHOTOS, side=SIDE)


@pytest.mark.parametrize(("location", "reason"), [(DELETED, "deleted"), ("bad.jpg", "not_an_image"), ("gone.jpg", "missing")])
def test_a_photograph_that_cannot_be_had_says_why(location: str, reason: str):
    with pytest.raises(BadPhoto) as error:
        picture_of(location, None, PHOTOS, side=SIDE)

    assert error.value.reason == reason


def test_a_place_that_does_not_answer_is_no_fault_of_the_photograph():
    with pytest.raises(ServiceUnavailable):
        picture_of("silent.jpg", None, PHOTOS, side=SIDE)
