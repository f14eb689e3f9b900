"""Which eye a picture shows: found from disc and fovea, held where sources contradict, and never guessed."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eye_dx_core.dataset.field_of_view import crop_to_field, read_square
from eye_dx_core.dataset.phantom import PHANTOM_CODES, render_phantom
from eye_dx_core.errors import BadPhoto
from eye_dx_core.inference.landmarks import Disc, Landmarks, find_landmarks
from eye_dx_core.inference.laterality import STRONG, claim_of_picture, claims_of, decide_eye, has_conflict
from eye_dx_core.schema.case import FundusPhoto, Laterality, find_eye
from eye_dx_core.schema.diagnosis import EyeClaim, EyeClaimSource

RIGHT, LEFT = Laterality.RIGHT, Laterality.LEFT
FUNDUS5 = Path(__file__).parents[4] / "shared" / "fundus5"


def a_claim(source: EyeClaimSource, eye: Laterality, strength: float = 1.0) -> EyeClaim:
    return EyeClaim(source=source, eye=eye, strength=strength)


def test_disc_and_fovea_are_found_on_phantoms_and_tell_the_eye():
    discs, foveas, right, wrong, strong = [], [], 0, 0, 0
    phantoms = [(code, seed, (RIGHT, LEFT)[seed % 2]) for code in PHANTOM_CODES for seed in range(300, 303)]
    for code, seed, eye in phantoms:
        phantom = render_phantom(code, eye=eye, seed=seed, size=224)
        found = find_landmarks(crop_to_field(phantom.rgb, size=224))
        assert found.disc is not None
        assert found.fovea is not None
        for place, truth, errors in ((found.disc, phantom.disc_xy, discs), (found.fovea, phantom.fovea_xy, foveas)):
            errors.append(np.hypot(place.x - (truth[0] / 112 - 1) / 0.94, place.y - (truth[1] / 112 - 1) / 0.94))
        claim = claim_of_picture(found)
        strong += claim is not None and claim.strength >= STRONG
        right += claim is not None and claim.strength >= STRONG and claim.eye is eye
        wrong += claim is not None and claim.strength >= STRONG and claim.eye is not eye

    assert np.median(discs) < 0.03
    assert np.percentile(foveas, 90) < 0.12
    assert strong >= 0.95 * len(phantoms)
    assert (right, wrong) == (strong, 0)


def test_a_picture_turned_round_claims_no_eye_strongly():
    for seed in range(5):
        drawn = crop_to_field(render_phantom("N", eye=RIGHT, seed=seed, size=224).rgb, size=224)
        # A drawn fovea lies hardly below its disc; tilted, as far below as in most eyes.
        picture = np.asarray(Image.fromarray(drawn).rotate(8, Image.Resampling.BICUBIC))
        upright, turned = find_landmarks(picture), find_landmarks(np.ascontiguousarray(picture[::-1, ::-1]))

        assert upright.upright > 0.95
        assert turned.upright < STRONG
        claim = claim_of_picture(turned)
        assert claim is None or claim.strength < STRONG


def test_a_picture_without_a_disc_claims_nothing():
    smooth = np.full((224, 224, 3), 120, np.uint8)

    for square in (np.zeros_like(smooth), smooth, smooth + np.random.default_rng(0).integers(0, 9, smooth.shape, dtype=np.uint8)):
        claim = claim_of_picture(find_landmarks(square))
        assert claim is None or claim.strength < STRONG
    assert claim_of_picture(Landmarks()) is None


def test_a_disc_in_the_middle_is_of_no_side():
    central = Landmarks(disc=Disc(x=0.02, y=0.0, strength=1.0), upright=1.0)

    claim = claim_of_picture(central)

    assert claim is not None
    assert claim.strength < 0.6


def test_the_eye_is_by_the_most_trusted_source_that_is_sure():
    message, dicom, name = (a_claim(source, RIGHT) for source in (EyeClaimSource.MESSAGE, EyeClaimSource.DICOM, EyeClaimSource.FILE_NAME))
    sure, unsure = a_claim(EyeClaimSource.PICTURE, LEFT, STRONG), a_claim(EyeClaimSource.PICTURE, LEFT, STRONG - 0.01)

    assert decide_eye([sure, name.model_copy(update={"eye": LEFT}), dicom, message]) is RIGHT
    assert decide_eye([sure]) is LEFT
    assert decide_eye([unsure]) is None
    assert decide_eye([]) is None
    assert has_conflict([message, sure])
    assert has_conflict([message, name.model_copy(update={"eye": LEFT})])
    assert not has_conflict([message, dicom, name, unsure])


def test_message_and_file_name_are_both_heard():
    photo = FundusPhoto(photo_id="p", location="visit/P1_OD.jpg", eye=LEFT)

    assert claims_of(photo) == (a_claim(EyeClaimSource.MESSAGE, LEFT), a_claim(EyeClaimSource.FILE_NAME, RIGHT))


@pytest.mark.slow
@pytest.mark.skipif(not FUNDUS5.exists(), reason="the real photographs are not here")
def test_strong_claims_on_real_photographs_are_right_but_for_a_few():
    rows = list(csv.DictReader((FUNDUS5 / "manifest.csv").open(encoding="utf-8")))
    said = [(claim, find_eye(row["eye"])) for row in rows[::9] if row["eye"] and (claim := _claim_on(FUNDUS5 / row["file"]))]
    strong = [(claim, eye) for claim, eye in said if claim.strength >= STRONG]

    assert len(strong) > 60
    assert sum(claim.eye is eye for claim, eye in strong) / len(strong) > 0.94


def _claim_on(file: Path) -> EyeClaim | None:
    try:
        return claim_of_picture(find_landmarks(read_square(file, size=224)))
    except BadPhoto:
        return None
