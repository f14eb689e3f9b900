"""What the photographs of a case say together: a picture sent for both eyes is held, and an eye without a photograph is never normal."""

from pathlib import Path

import pytest

from eye_dx_core.dataset.phantom_folders import write_phantom_photo
from eye_dx_core.inference.diagnosing import diagnose_cases
from eye_dx_core.inference.intake import PhotoIntake
from eye_dx_core.inference.pairing import hold_duplicates, unseen_eye
from eye_dx_core.inference.predictor import Predictor
from eye_dx_core.inference.sources.folders import FolderPhotos
from eye_dx_core.model.checkpoint import load_checkpoint
from eye_dx_core.queue.announcing import announce_diagnosis
from eye_dx_core.queue.topology import QueueNames
from eye_dx_core.reporting.facts import facts_of
from eye_dx_core.reporting.guard.rules import violations
from eye_dx_core.reporting.template import write_by_template
from eye_dx_core.schema.case import Case, FundusPhoto, Laterality, WireFormat
from eye_dx_core.schema.diagnosis import AiDiagnosis, EyeClaimSource, Outcome, PhotoPrediction
from tests.builders import NOON, a_case, a_diagnosis, a_review, an_eye_diagnosis
from tests.checkpoints import a_checkpoint

RIGHT, LEFT = Laterality.RIGHT, Laterality.LEFT


def a_read_photo(photo_id: str, eye: Laterality | None, *, conclusion: str | None = "A") -> PhotoPrediction:
    """A photo with a conclusion, or one that was not assessed."""
    if conclusion is None:
        return PhotoPrediction(photo_id=photo_id, eye=eye, outcome=Outcome.NOT_ASSESSED, reason="too_dark")
    return PhotoPrediction(photo_id=photo_id, eye=eye, outcome=Outcome.ASSESSED, conclusion=conclusion, confidence=0.9)


def a_case_of(*photos: tuple[str, Laterality | None], wire: WireFormat = WireFormat.NESTED) -> Case:
    case = a_case(wire=wire)
    named = tuple(FundusPhoto(photo_id=str(number), location=name, eye=eye) for number, (name, eye) in enumerate(photos))
    return case.model_copy(update={"screening": case.screening.model_copy(update={"photos": named})})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A right and a left eye, under names that tell and under names that do not."""
    folder = tmp_path_factory.mktemp("photos")
    for names, eye, seed in ((("one_OD.png", "1.png", "again.png"), RIGHT, 1), (("two_OS.png", "2.png"), LEFT, 2)):
        for name in names:
            write_phantom_photo(folder / name, "N", eye=eye, seed=seed, size=224)
    write_phantom_photo(folder / "3.png", "C", eye=RIGHT, seed=3, size=224)
    a_checkpoint(folder / "checkpoint")
    return folder


def diagnose(folder: Path, case: Case) -> AiDiagnosis:
    predictor = Predictor(load_checkpoint(folder / "checkpoint"), model_name="eye-dx-fundus", model_version="7")
    return diagnose_cases([case], predictor, photos=PhotoIntake(FolderPhotos([], base=folder)), now=NOON)[0]


def test_one_picture_under_both_eyes_gives_neither_a_finding():
    right, left, other = a_read_photo("1", RIGHT), a_read_photo("2", LEFT), a_read_photo("3", LEFT, conclusion="G")

    first, second, third = hold_duplicates([right, left, other], ["same", "same", "another"])

    for held in (first, second):
        assert (held.outcome, held.conclusion, held.reason, held.confidence) == (Outcome.UNCERTAIN, None, "duplicate", 0.9)
    assert third == other


def test_one_picture_twice_under_one_eye_is_only_noted():
    first, again = hold_duplicates([a_read_photo("1", RIGHT), a_read_photo("2", RIGHT)], ["same", "same"])

    assert (first.notes, again.notes) == ((), ("duplicate",))
    assert first.conclusion == again.conclusion == "A"


def test_a_picture_that_cannot_be_judged_stays_unassessed_and_unopened_files_are_no_duplicates():
    dark = [a_read_photo("1", RIGHT, conclusion=None), a_read_photo("2", LEFT, conclusion=None)]

    assert [one.reason for one in hold_duplicates(dark, ["same", "same"])] == ["too_dark", "too_dark"]
    assert hold_duplicates(dark, [None, None]) == tuple(dark)


def test_a_picture_against_the_message_is_held_for_the_doctor(folder: Path):
    swapped = diagnose(folder, a_case_of(("1.png", LEFT), ("2.png", RIGHT)))

    assert swapped.outcome is Outcome.UNCERTAIN
    for eye in swapped.eyes:
        assert (eye.outcome, eye.conclusion, eye.abnormal_areas, eye.reason) == (Outcome.UNCERTAIN, None, (), "laterality_conflict")
        (photo,) = eye.photos
        assert photo.probabilities
        assert [claim.source for claim in photo.eye_claims] == [EyeClaimSource.MESSAGE, EyeClaimSource.PICTURE]


def test_two_eyes_sent_as_one_eye_hold_the_one_that_shows_the_other(folder: Path):
    both_right = diagnose(folder, a_case_of(("1.png", RIGHT), ("2.png", RIGHT)))

    right, left = both_right.eyes
    assert [photo.reason for photo in right.photos] == [None, "laterality_conflict"]
    assert left.reason == "no_photo"


def test_a_picture_names_the_eye_where_nobody_else_does(folder: Path):
    unnamed = diagnose(folder, a_case_of(("1.png", None), ("2.png", None)))

    assert [(eye.eye, len(eye.photos)) for eye in unnamed.eyes] == [(RIGHT, 1), (LEFT, 1)]


def test_the_same_picture_for_both_eyes_is_found_in_a_case(folder: Path):
    diagnosis = diagnose(folder, a_case_of(("1.png", RIGHT), ("again.png", LEFT)))

    assert [(eye.eye, eye.outcome, eye.reason) for eye in diagnosis.eyes] == [
        (RIGHT, Outcome.UNCERTAIN, "duplicate"),
        (LEFT, Outcome.UNCERTAIN, "duplicate"),
    ]


def test_the_eye_that_is_missing_is_said_and_keeps_the_patient_from_being_normal():
    missing = unseen_eye(LEFT, [a_read_photo("1", RIGHT, conclusion="N")])

    assert (missing.eye, missing.outcome, missing.reason, missing.photos) == (LEFT, Outcome.NOT_ASSESSED, "no_photo", ())


def test_an_eye_that_nobody_names_is_not_guessed_to_be_the_other_one(folder: Path):
    (folder / "plain.png").write_bytes(b"no picture")
    diagnosis = diagnose(folder, a_case_of(("one_OD.png", None), ("plain.png", None)))

    assert [(eye.eye, eye.reason) for eye in diagnosis.eyes] == [(RIGHT, None), (LEFT, "eye_unknown"), (None, "not_an_image")]


def test_reports_and_partners_are_told_of_the_missing_eye():
    case = a_case(wire=WireFormat.FOUR_QUEUE)
    right = an_eye_diagnosis(RIGHT, "N")
    eyes = (right, unseen_eye(LEFT, right.photos))
    diagnosis = a_diagnosis().model_copy(update={"eyes": eyes, "outcome": Outcome.NOT_ASSESSED, "conclusion": None})

    facts = facts_of(case, diagnosis, a_review())
    narrative = write_by_template(facts)
    answer = announce_diagnosis(case, diagnosis, names=QueueNames(), now=NOON).body.decode()

    assert (facts.right.ai.has_photo, facts.left.ai.has_photo) == (True, False)
    assert "左眼没有照片，未评估" in narrative.opinion
    assert violations(narrative, facts) == ()
    assert '"osFundusResult":{"AMD":null' in answer
    assert '"odFundusResult":{"AMD":0' in answer
