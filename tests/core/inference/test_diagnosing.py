"""What cannot be read is not assessed and never normal; a bad photo never takes its batch along."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from eye_dx_core.dataset.field_of_view import crop_to_field
from eye_dx_core.dataset.phantom import Defect, render_phantom
from eye_dx_core.dataset.phantom_folders import write_phantom_photo
from eye_dx_core.inference import diagnosing
from eye_dx_core.inference.diagnosing import diagnose_cases, worst_of
from eye_dx_core.inference.intake import PhotoIntake
from eye_dx_core.inference.landmarks import find_disc
from eye_dx_core.inference.predictor import Predictor
from eye_dx_core.inference.sources.folders import FolderPhotos
from eye_dx_core.model.checkpoint import load_checkpoint
from eye_dx_core.model.reference import Reference
from eye_dx_core.schema.case import Laterality
from eye_dx_core.schema.diagnosis import Outcome, PhotoPrediction
from eye_dx_core.training.feeds import pool_squares
from tests.builders import NOON, a_case, an_eye_diagnosis
from tests.checkpoints import a_checkpoint, a_reference

RIGHT, LEFT = Laterality.RIGHT, Laterality.LEFT


def a_predictor(folder: Path, *, batch_size: int = 3, uncertain_below: float = 0.0, reference: Reference | None = None) -> Predictor:
    checkpoint = load_checkpoint(a_checkpoint(folder / "checkpoint", uncertain_below=uncertain_below, reference=reference))
    return Predictor(checkpoint, model_name="eye-dx-fundus", model_version="7", batch_size=batch_size)


def predict_photos(paths: list[Path], predictor: Predictor) -> list[PhotoPrediction]:
    intake = PhotoIntake(FolderPhotos([], base=Path(__file__).parent))
    return [one.prediction for one in diagnosing.predict_photos([(path, None) for path in paths], predictor, photos=intake)]


@pytest.fixture
def visit(tmp_path: Path) -> Path:
    """A folder with two good photographs and everything that goes wrong in the field."""
    folder = tmp_path / "visit"
    folder.mkdir()
    for name, eye, seed in (("OD.jpg", RIGHT, 1), ("OS.png", LEFT, 2)):
        write_phantom_photo(folder / name, "D3", eye=eye, seed=seed, size=160)
    (folder / "text_OD.jpg").write_text("no picture")
    (folder / "cut_OD.jpg").write_bytes((folder / "OD.jpg").read_bytes()[:700])
    Image.new("RGB", (1, 1)).save(folder / "pixel_OD.png")
    Image.new("RGB", (200, 200)).save(folder / "black_OD.png")
    Image.fromarray(render_phantom("A", eye=RIGHT, seed=3, size=160).rgb).convert("CMYK").save(folder / "cmyk_OD.tiff")
    under_exposed = render_phantom("N", eye=RIGHT, seed=4, size=160, defect=Defect.UNDER_EXPOSED).rgb
    Image.fromarray(under_exposed // 3 * 2).save(folder / "dark_OD.jpg")
    return folder


def test_bad_photos_are_named_and_the_others_are_read(visit: Path, tmp_path: Path):
    names = ("text_OD.jpg", "OD.jpg", "cut_OD.jpg", "pixel_OD.png", "black_OD.png", "cmyk_OD.tiff", "dark_OD.jpg", "none_OD.jpg")

    predictions = predict_photos([visit / name for name in names], a_predictor(tmp_path))

    reasons = ["not_an_image", None, "truncated", "too_small", "no_field_of_view", None, "too_dark", "missing"]
    assert [one.reason for one in predictions] == reasons
    assert all(
        (one.outcome is Outcome.NOT_ASSESSED) == (one.conclusion is None) == (reason is not None)
        for one, reason in zip(predictions, reasons, strict=True)
    )
    assert sum(predictions[1].probabilities.values()) == pytest.approx(1, abs=1e-5)


def test_the_answer_does_not_depend_on_the_batch(visit: Path, tmp_path: Path):
    paths = [visit / "OD.jpg", visit / "OS.png", visit / "cmyk_OD.tiff", visit / "OD.jpg"]
    alone = [predict_photos([path], a_predictor(tmp_path, batch_size=1, reference=a_reference()))[0] for path in paths]
    together = predict_photos(paths, a_predictor(tmp_path, batch_size=4, reference=a_reference()))

    for one, other in zip(alone, together, strict=True):
        assert one.conclusion == other.conclusion
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-5)
        assert one.distance == pytest.approx(other.distance, rel=1e-5)
        assert one.abnormal_areas == other.abnormal_areas


def test_a_case_is_read_per_eye_with_the_model_version(visit: Path, tmp_path: Path):
    intake = PhotoIntake(FolderPhotos([visit], base=visit))
    cases = [a_case("case-1", photos=("OD.jpg", "OS.png")), a_case("case-2", photos=("text_OD.jpg", "OS.png")), a_case("case-3", photos=())]

    first, second, third = diagnose_cases(cases, a_predictor(tmp_path), photos=intake, now=NOON)

    assert [eye.eye for eye in first.eyes] == [RIGHT, LEFT]
    assert (first.case_id, first.model_version, first.diagnosed_at) == ("case-1", "7", NOON)
    right = second.find_eye(RIGHT)
    assert right is not None
    assert (right.outcome, right.conclusion, right.reason) == (Outcome.NOT_ASSESSED, None, "not_an_image")
    left = second.find_eye(LEFT)
    assert left is not None
    assert left.outcome is Outcome.ASSESSED
    assert (third.outcome, third.conclusion, third.eyes) == (Outcome.NOT_ASSESSED, None, ())
    assert all(one.routing is not None for case in (first, second, third) for one in (case, *case.eyes))


def test_a_low_confidence_is_uncertain_and_gives_no_conclusion(visit: Path, tmp_path: Path):
    (prediction,) = predict_photos([visit / "OD.jpg"], a_predictor(tmp_path, uncertain_below=1.0))

    assert (prediction.outcome, prediction.conclusion, prediction.abnormal_areas) == (Outcome.UNCERTAIN, None, ())
    assert prediction.reason == "low_confidence"


@pytest.mark.parametrize(("always", "behind"), [("N", (None, "blurred")), ("A", ("A", None))])
def test_behind_a_fault_that_hides_findings_nothing_is_normal_but_a_finding_stays(
    always: str, behind: tuple[str | None, str | None], tmp_path: Path
):
    checkpoint = load_checkpoint(a_checkpoint(tmp_path / "checkpoint"))
    with torch.no_grad():
        checkpoint.model.head.bias[checkpoint.card.label_set.codes.index(always)] += 1e4
    predictor = Predictor(checkpoint, model_name="m", model_version="1")
    for name, defect in (("soft_OD.jpg", Defect.BLUR), ("sharp_OD.jpg", None)):
        write_phantom_photo(tmp_path / name, "N", eye=RIGHT, seed=8, size=512, defect=defect)

    soft, sharp = predict_photos([tmp_path / "soft_OD.jpg", tmp_path / "sharp_OD.jpg"], predictor)

    assert (sharp.outcome, sharp.conclusion) == (Outcome.ASSESSED, always)
    assert (soft.conclusion, soft.reason) == behind


def test_a_photo_unlike_those_of_training_is_uncertain_whatever_the_model_says(visit: Path, tmp_path: Path):
    far = predict_photos([visit / "OD.jpg", visit / "text_OD.jpg"], a_predictor(tmp_path, reference=a_reference(unit=1e-3)))
    near = predict_photos([visit / "OD.jpg"], a_predictor(tmp_path, reference=a_reference(unit=1e3)))

    assert (far[0].outcome, far[0].conclusion, far[0].abnormal_areas) == (Outcome.UNCERTAIN, None, ())
    assert far[0].reason == "unlike_training_photos"
    assert far[0].probabilities == near[0].probabilities
    assert far[0].distance is not None
    assert near[0].distance == pytest.approx(far[0].distance * 1e-6)
    assert near[0].outcome is Outcome.ASSESSED
    assert far[1].distance is None  # nothing was seen of it


def test_what_is_compared_with_the_training_photos_is_what_training_kept_of_them(tmp_path: Path):
    square = crop_to_field(render_phantom("A", eye=RIGHT, seed=6, size=96).rgb, size=64)[None]
    predictor, checkpoint = a_predictor(tmp_path), load_checkpoint(tmp_path / "checkpoint")

    (reading,) = predictor.read_squares(square)

    kept = pool_squares(checkpoint.model, square, checkpoint.card.preprocess)[0].numpy()
    assert reading.embedding == pytest.approx(kept, abs=1e-5)


def test_a_checkpoint_that_does_not_know_its_training_photos_reads_without_a_distance(visit: Path, tmp_path: Path):
    (prediction,) = predict_photos([visit / "OD.jpg"], a_predictor(tmp_path))

    assert (prediction.distance, prediction.outcome) == (None, Outcome.ASSESSED)


def test_a_case_is_as_its_worst_eye():
    normal, ill, unread = an_eye_diagnosis(RIGHT, "N"), an_eye_diagnosis(LEFT, "A"), an_eye_diagnosis(LEFT, None)
    unsure = PhotoPrediction(photo_id="p", outcome=Outcome.UNCERTAIN, confidence=0.3)

    assert worst_of([normal, ill]) is ill
    assert worst_of([ill, unread]) is ill
    assert worst_of([normal, unread]) is unread  # not normal: one eye was not seen
    assert worst_of([unsure, PhotoPrediction(photo_id="q", outcome=Outcome.NOT_ASSESSED)]) is unsure
    assert worst_of([an_eye_diagnosis(LEFT, "G", confidence=0.6), ill]) is ill


def test_the_disc_is_found_on_its_side():
    found = 0
    for seed in range(20):
        eye = (RIGHT, LEFT)[seed % 2]
        disc = find_disc(crop_to_field(render_phantom("N", eye=eye, seed=seed, size=224).rgb, size=224))
        found += disc is not None and (disc.x > 0) == (eye is RIGHT)
    assert found >= 18
