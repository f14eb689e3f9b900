"""A checkpoint before the locked test: measures with intervals, figures, comparison with the champion, model card."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from eye_dx_core.errors import BadDataset
from eye_dx_core.model.checkpoint import CheckpointCard, load_checkpoint
from eye_dx_core.registry.promotion import PromotionRule, decide_promotion
from eye_dx_core.schema.condition import LABEL_SETS
from eye_dx_core.training.comparison import compare
from eye_dx_core.training.evaluation import Answers, evaluate
from eye_dx_core.training.figures import evaluation_figures
from tests.checkpoints import a_checkpoint

EIGHT = LABEL_SETS["eight"]


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> CheckpointCard:
    return load_checkpoint(a_checkpoint(tmp_path_factory.mktemp("c"))).card


def answers_of(card: CheckpointCard, *, skill: float, labels: tuple[str, ...] = EIGHT.codes, each: int = 12) -> Answers:
    rng = np.random.default_rng(3)
    truth = np.repeat([card.label_set.codes.index(label) for label in labels], each).astype(np.int64)
    logits = rng.normal(size=(len(truth), len(card.label_set.codes))) + skill * np.eye(len(card.label_set.codes))[truth]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    patients = tuple(f"p{place // 2}" for place in range(len(truth)))
    sources = tuple("a" if place % 3 else "b" for place in range(len(truth)))
    return Answers(card, truth, probabilities, patients, sources)


def test_every_measure_lies_in_its_interval_and_is_a_number(card: CheckpointCard):
    evaluation = evaluate(answers_of(card, skill=2.0))

    found = evaluation.as_metrics()
    assert all(np.isfinite(list(found.values())))
    assert evaluation.patients == 48
    for name, (low, high) in evaluation.intervals.items():
        assert low - 1e-9 <= found[name] <= high + 1e-9 or name == "ece", name  # a resample repeats photographs, so its ECE is larger
    assert {source: one["photographs"] for source, one in evaluation.by_source.items()} == {"a": 64, "b": 32}


def test_empty_labels_are_said_and_break_nothing(card: CheckpointCard):
    answers = answers_of(card, skill=2.0, labels=("A", "D", "N"))

    evaluation = evaluate(answers)

    assert [code for code, recall in evaluation.recall.items() if recall is None] == ["C", "CSC", "G", "RP", "RVO"]
    assert evaluation.chance == pytest.approx(1 / 3)
    assert all(np.isfinite(list(evaluation.as_metrics().values())))
    assert set(evaluation_figures(answers, evaluation)) == {"confusion", "curves", "reliability", "risk_coverage"}


def test_figures_are_pictures_small_enough_for_the_event_log(card: CheckpointCard):
    answers = answers_of(card, skill=1.0)

    for name, figure in evaluation_figures(answers, evaluate(answers)).items():
        assert figure.startswith(b"\x89PNG"), name
        assert len(figure) < 60_000, name


def test_grades_are_judged_by_how_far_off_they_are(card: CheckpointCard):
    graded = card.model_copy(update={"label_set": LABEL_SETS["twelve"], "set_thresholds": (0.5,) * 12})

    near = evaluate(answers_of(graded, skill=1.5, labels=("D0", "D1", "D2", "D3", "D4")))

    assert near.dr_kappa is not None
    assert 0 < near.dr_kappa < 1
    assert evaluate(answers_of(card, skill=1.5)).dr_kappa is None


def test_a_worse_candidate_is_told_so_label_by_label_and_not_promoted(card: CheckpointCard):
    good, poor = answers_of(card, skill=3.0), answers_of(card, skill=1.0)

    against = compare(poor, good)

    assert against.balanced_accuracy.high < 0
    assert against.sentences()[0].endswith("worse")
    assert set(against.recall) == set(EIGHT.codes)
    decision = decide_promotion(
        evaluate(poor).as_metrics() | against.as_metrics(), evaluate(good).as_metrics(), PromotionRule(recall_floor=0)
    )
    assert not decision.promote
    assert "clearly worse than the champion on the same photographs" in decision.reason


def test_equal_models_show_no_difference(card: CheckpointCard):
    answers = answers_of(card, skill=2.0)

    against = compare(answers, answers)

    assert (against.balanced_accuracy.value, against.balanced_accuracy.low, against.balanced_accuracy.high) == (0, 0, 0)
    assert against.sentences()[0].endswith("no clear difference")


def test_other_labels_cannot_be_compared(card: CheckpointCard):
    answers = answers_of(card, skill=2.0)
    other = dataclasses.replace(answers, card=card.model_copy(update={"label_set": LABEL_SETS["screen"]}))

    with pytest.raises(BadDataset, match="answer with other labels"):
        compare(answers, other)


def test_sets_and_uncertainty_follow_the_card(card: CheckpointCard):
    answers = answers_of(card.model_copy(update={"set_thresholds": (0.0,) * 7 + (None,), "uncertain_below": 0.99}), skill=1.0)

    evaluation = evaluate(answers)

    assert evaluation.set_size == 7
    assert evaluation.set_coverage == pytest.approx(7 / 8)
    assert evaluation.uncertain_share > 0.9


def test_the_model_card_travels_with_the_checkpoint(tmp_path: Path):
    from eye_dx_core.dataset.phantom_folders import write_phantom_dataset
    from eye_dx_core.dataset.scanning import scan_photos
    from eye_dx_core.dataset.splitting import split_by_patient
    from eye_dx_core.training.config import TrainingConfig
    from eye_dx_core.training.fine_tuning import train_checkpoint
    from eye_dx_core.training.judging import judge_checkpoint

    photos = write_phantom_dataset(tmp_path / "photos", size=128, counts={"N": 8, "C": 6})
    manifest = scan_photos(photos, label_set=EIGHT)
    splits = split_by_patient(manifest, seed=0)
    common = {"photo_folder": photos, "manifest": manifest, "splits": splits, "cache_folder": tmp_path / "cache"}
    for seed in (0, 1):
        list(
            train_checkpoint(folder=tmp_path / str(seed), config=TrainingConfig(method="probe", epochs=2, seed=seed), trunk=None, **common)
        )

    judged = judge_checkpoint(tmp_path / "1", champion=tmp_path / "0", **common)

    card = (tmp_path / "1" / "model_card.md").read_text(encoding="utf-8")
    assert card == judged.card
    for words in (
        "must never read a patient",
        "Not tested at all: A, CSC, D, G, RP, RVO",
        "## Against the champion",
        "licence: Apache-2.0",
        "Could the camera explain the score?",
    ):
        assert words in card
    assert "against_champion_high" in judged.metrics
    assert str(tmp_path) not in card
