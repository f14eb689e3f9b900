import numpy as np
import pytest
import torch

from eye_dx_core.training import metrics
from eye_dx_core.training.calibration import choose_uncertain_below, fit_temperature

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

    assert fit_temperature(evidence, labels, (0.0, 0.0, 0.0)) == pytest.approx(2.5, rel=0.1)


def test_the_temperature_is_fitted_under_the_shares_of_the_split():
    generator = torch.Generator().manual_seed(0)
    evidence, prior = torch.randn(4000, 2, generator=generator) * 2, torch.tensor([0.9, 0.1]).log()
    labels = torch.multinomial((evidence + prior).softmax(dim=1), 1, generator=generator)[:, 0]

    assert fit_temperature(evidence, labels, prior.tolist()) == pytest.approx(1.0, rel=0.1)


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
