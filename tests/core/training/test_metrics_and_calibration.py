import numpy as np
import pytest
import torch

from eye_dx_core.training import metrics
from eye_dx_core.training.calibration import choose_set_thresholds, choose_uncertain_below, fit_scaling

TRUTH = np.array([0] * 8 + [1] * 2, dtype=np.int64)


def test_a_constant_answer_has_high_accuracy_and_nothing_else():
    always_zero = np.zeros(10, dtype=np.int64)
    counted = metrics.confusion(TRUTH, always_zero, 3)

    assert (always_zero == TRUTH).mean() == 0.8
    assert metrics.balanced_accuracy(counted) == 0.5
    assert metrics.matthews(TRUTH, always_zero) == 0
    assert metrics.macro_f1(TRUTH, always_zero) < 0.5


def test_a_label_without_photographs_counts_nowhere():
    counted = metrics.confusion(TRUTH, TRUTH, 3)

    assert metrics.recalls(counted) == [1.0, 1.0, None]
    assert metrics.balanced_accuracy(counted) == metrics.macro_f1(TRUTH, TRUTH) == 1.0


def test_auroc_is_one_for_a_perfect_ranking_and_half_for_a_single_label():
    certain = np.eye(3)[TRUTH]

    assert metrics.macro_auroc(TRUTH, certain) == 1.0
    assert metrics.macro_auroc(np.zeros(4, dtype=np.int64), certain[:4]) == 0.5


def test_calibration_error_is_the_gap_between_confidence_and_being_right():
    probabilities = np.tile([0.9, 0.1], (10, 1))

    assert metrics.calibration_error(TRUTH, probabilities) == pytest.approx(0.1)


def overconfident_evidence(temperature: float) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4000, 3, generator=generator) * 2
    labels = torch.multinomial(logits.softmax(dim=1), 1, generator=generator)[:, 0]
    return logits * temperature, labels


def test_the_temperature_undoes_overconfidence():
    evidence, labels = overconfident_evidence(2.5)

    scaling = fit_scaling(evidence, labels, (0.0, 0.0, 0.0))

    assert scaling.temperature == pytest.approx(2.5, rel=0.1)
    assert scaling.bias == pytest.approx((0, 0, 0), abs=0.15)


def test_scaling_is_fitted_under_the_shares_of_the_split():
    generator = torch.Generator().manual_seed(0)
    evidence, prior = torch.randn(4000, 2, generator=generator) * 2, torch.tensor([0.9, 0.1]).log()
    labels = torch.multinomial((evidence + prior).softmax(dim=1), 1, generator=generator)[:, 0]

    assert fit_scaling(evidence, labels, prior.tolist()).temperature == pytest.approx(1.0, rel=0.1)


def test_a_bias_corrects_a_label_that_is_overestimated_and_few_photographs_move_it_little():
    evidence, labels = overconfident_evidence(1.0)
    evidence = evidence + torch.tensor([0.8, 0.0, 0.0])

    many, few = (fit_scaling(evidence[:count], labels[:count], (0.0, 0.0, 0.0)) for count in (4000, 12))

    assert many.bias[0] - many.bias[1] == pytest.approx(-0.8, abs=0.15)
    assert max(map(abs, few.bias)) < 0.5


def test_a_label_that_was_never_learnt_takes_no_part_in_scaling():
    evidence, labels = overconfident_evidence(2.0)
    with_empty = torch.cat([evidence, torch.full((len(evidence), 1), -torch.inf)], dim=1)

    without, scaling = fit_scaling(evidence, labels, (0.0,) * 3), fit_scaling(with_empty, labels, (0.0, 0.0, 0.0, -torch.inf))

    assert scaling.temperature == pytest.approx(without.temperature, rel=1e-3)
    assert scaling.bias[3] == 0


def test_sets_cover_every_label_as_promised():
    """On 200 draws of 60 photographs per label, the mean coverage of each label is what was asked for."""
    generator = np.random.default_rng(0)
    covered = np.zeros((200, 3))
    for draw in range(200):
        truth = np.repeat(np.arange(3), 160)
        logits = generator.normal(size=(480, 3)) + 1.5 * np.eye(3)[truth]
        probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        fit = np.tile(np.arange(160) < 60, 3)
        thresholds = choose_set_thresholds(probabilities[fit], truth[fit], coverage=0.9)
        for label in range(3):
            own = probabilities[~fit & (truth == label), label]
            covered[draw, label] = (own >= (thresholds[label] or 0)).mean()

    assert covered.mean(axis=0) == pytest.approx([0.9] * 3, abs=0.02)


def test_a_label_with_too_few_photographs_is_never_ruled_out():
    probabilities = np.array([[0.9, 0.1, 0.0]] * 3 + [[0.2, 0.8, 0.0]] * 30)

    assert choose_set_thresholds(probabilities, np.array([0] * 3 + [1] * 30), coverage=0.9) == (0.0, 0.8, None)


def threshold(confidences: list[float], is_right: list[bool]) -> float:
    return choose_uncertain_below(np.array(confidences), np.array(is_right), np.ones(len(confidences)))


def test_even_odds_are_enough_when_all_answers_together_are_right_often_enough():
    assert threshold([0.99, 0.9, 0.8, 0.7, 0.2], [True] * 5) == 0.5


def test_the_threshold_leaves_out_the_doubtful_wrong_answers():
    confidences = [0.99, 0.97, 0.95, 0.93, 0.9, 0.88, 0.86, 0.84, 0.6, 0.55]

    assert threshold(confidences, [True] * 8 + [False] * 2) == 0.84


def test_a_hopeless_model_still_answers_most_photographs():
    confidences = np.linspace(0.9, 0.3, 10).tolist()

    below = threshold(confidences, [False] * 10)

    assert sum(confidence >= below for confidence in confidences) == 7


def test_a_model_that_is_never_sure_still_answers_most_photographs():
    confidences = np.linspace(0.4, 0.2, 10).tolist()

    below = threshold(confidences, [True] * 10)

    assert sum(confidence >= below for confidence in confidences) == 7
