import numpy as np
import pytest
import sklearn.metrics as sk
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eye_dx_core.training import metrics
from eye_dx_core.training.calibration import choose_set_thresholds, choose_uncertain_below, fit_scaling
from eye_dx_core.training.resampling import interval, resample_patients

TRUTH = np.array([0] * 8 + [1] * 2, dtype=np.int64)


CODES = ("A", "B", "C")


def test_a_constant_answer_has_high_accuracy_and_nothing_else():
    found = metrics.measure_once(TRUTH, np.tile([1.0, 0.0, 0.0], (10, 1)), CODES)

    assert (found["accuracy"], found["balanced_accuracy"], found["mcc"]) == (0.8, 0.5, 0)
    assert found["macro_f1"] < 0.5


def test_a_label_without_photographs_counts_nowhere():
    found = metrics.measure_once(TRUTH, np.eye(3)[TRUTH], CODES)

    assert [found[f"recall_{code}"] for code in CODES[:2]] == [1.0, 1.0]
    assert np.isnan(found["recall_C"])
    assert np.isnan(found["auroc_C"])
    assert found["balanced_accuracy"] == found["macro_f1"] == found["macro_auroc"] == 1.0


def test_a_single_label_is_ranked_like_a_coin():
    assert metrics.measure_once(TRUTH[:4], np.eye(3)[TRUTH[:4]], CODES)["macro_auroc"] == 0.5


def test_calibration_error_is_the_gap_between_confidence_and_being_right():
    assert metrics.measure_once(TRUTH, np.tile([0.9, 0.1], (10, 1)), CODES[:2], prior=(0.8, 0.2))["ece"] == pytest.approx(0.1)


def test_confidences_are_held_against_labels_as_common_as_they_assume():
    """Under an even prior these photographs look like 50 to 50, and 8 of 10 are of the first label: nothing is wrong with that."""
    found = metrics.measure_once(TRUTH, np.tile([0.5, 0.5], (10, 1)), CODES[:2])

    assert (found["ece"], found["calibration_error_A"], found["calibration_error_B"]) == pytest.approx((0, 0, 0))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 5), st.integers(1, 3))
def test_measures_are_those_of_scikit_learn_for_any_weights(seed: int, classes: int, decimals: int):
    rng = np.random.default_rng(seed)
    truth = np.concatenate([np.arange(classes), rng.integers(0, classes, 40)])
    raw = (rng.random((len(truth), classes)) + np.eye(classes)[truth] * 0.5).round(decimals) + 0.01  # rounding makes ties
    probabilities = raw / raw.sum(axis=1, keepdims=True)
    weights, said = rng.integers(1, 4, len(truth)).astype(float), probabilities.argmax(axis=1)

    found = {
        name: values[0] for name, values in metrics.measure(truth, probabilities, weights[None], [str(n) for n in range(classes)]).items()
    }

    def per_class(score):
        return [score(truth == n, probabilities[:, n], sample_weight=weights) for n in range(classes)]

    assert found["accuracy"] == pytest.approx(sk.accuracy_score(truth, said, sample_weight=weights))
    assert found["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(truth, said, sample_weight=weights))
    assert found["macro_f1"] == pytest.approx(sk.f1_score(truth, said, average="macro", sample_weight=weights, zero_division=0.0))  # pyright: ignore[reportArgumentType]
    assert found["weighted_f1"] == pytest.approx(sk.f1_score(truth, said, average="weighted", sample_weight=weights, zero_division=0.0))  # pyright: ignore[reportArgumentType]
    assert found["mcc"] == pytest.approx(sk.matthews_corrcoef(truth, said, sample_weight=weights))
    assert found["macro_auroc"] == pytest.approx(np.mean(per_class(sk.roc_auc_score)))
    assert found["macro_auprc"] == pytest.approx(np.mean(per_class(sk.average_precision_score)))
    kappa = metrics.quadratic_kappa(truth, said, weights[None])[0]
    assert kappa == pytest.approx(sk.cohen_kappa_score(truth, said, weights="quadratic", sample_weight=weights))


def test_a_resample_draws_patients_and_never_separates_them():
    patients = [f"p{n // 3}" for n in range(30)]

    weights = resample_patients(patients, resamples=50)

    assert (weights.sum(axis=1) == 30).all()
    assert (weights.reshape(50, 10, 3) == weights.reshape(50, 10, 3)[:, :, :1]).all()


def test_intervals_over_patients_are_wider_than_over_photographs():
    """Ten patients whose ten photographs are all right or all wrong are ten observations, not a hundred."""
    truth = np.zeros(100, dtype=np.int64)
    probabilities = np.eye(2)[np.repeat([0, 0, 0, 0, 0, 0, 1, 1, 1, 1], 10)]

    by_patient, by_photo = (
        interval(metrics.measure(truth, probabilities, resample_patients(patients), CODES[:2])["accuracy"])
        for patients in ([str(n // 10) for n in range(100)], [str(n) for n in range(100)])
    )

    assert by_patient[0] < by_photo[0] < 0.6 < by_photo[1] < by_patient[1]


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
