"""Measures of a classifier, for one or for many weightings of the photographs at once; with resampled patients they become intervals."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]
Probabilities = NDArray[np.float64]
Weights = NDArray[np.float64]
Measures = dict[str, NDArray[np.float64]]


def selection_score(measured: dict[str, float]) -> float:
    """What the best epoch is chosen by: the mean of macro-AUROC, macro-F1 and Matthews correlation.

    Plain accuracy would choose the epoch that answers with the most common label.
    """
    return (measured["macro_auroc"] + measured["macro_f1"] + measured["mcc"]) / 3


def measure_once(
    truth: Indices, probabilities: Probabilities, codes: Sequence[str], *, prior: Sequence[float] | None = None
) -> dict[str, float]:
    """All measures with every photograph counted once; a ranking of a single label is worth what a coin gets, one half."""
    found = measure(truth, probabilities, np.ones((1, len(truth))), codes, prior=prior)
    return {name: float(values[0]) for name, values in found.items()} | {
        name: 0.5 for name in ("macro_auroc", "macro_auprc") if not np.isfinite(found[name][0])
    }


def confusion(truth: Indices, answers: Indices, class_count: int) -> NDArray[np.int64]:
    """Counts (truth, answer)."""
    counted = np.zeros((class_count, class_count), dtype=np.int64)
    np.add.at(counted, (truth, answers), 1)
    return counted


def at_own_shares(truth: Indices, probabilities: Probabilities, prior: Sequence[float] | None) -> Probabilities:
    """Probabilities (photo, class) under a prior as they would be if the labels were as common as in `truth`; no prior is an even one.

    A confidence can only be held against how often it is right where the labels are as common as it assumes.
    """
    classes = probabilities.shape[1]
    assumed = np.full(classes, 1 / classes) if prior is None else np.array(prior)
    shares = np.bincount(truth, minlength=classes) / len(truth)
    shifted = probabilities * np.divide(shares, assumed, out=np.zeros(classes), where=assumed > 0)
    total = shifted.sum(axis=1, keepdims=True)
    return np.divide(shifted, total, out=np.zeros_like(shifted), where=total > 0)


def measure(
    truth: NDArray[np.int64],
    probabilities: NDArray[np.float64],
    weights: Weights,
    codes: Sequence[str],
    *,
    prior: Sequence[float] | None = None,
) -> Measures:
    """All measures, each (resample,). With weights of one row of ones they are the ordinary ones.

    A label without photographs in a resample counts nowhere in it. `recall_X` is the sensitivity of label X against all
    others, `specificity_X` the share of the others that were not taken for it. `ece` and `calibration_error_X` hold the
    confidences against the shares of the photographs themselves (`at_own_shares`).

    Args:
        truth: position of each photograph's label, (photo,).
        probabilities: (photo, class).
        weights: how much each photograph counts, (resample, photo).
        codes: labels in the order of the classes.
        prior: how common the probabilities take each label to be; None for equally common.
    """
    answers, classes = probabilities.argmax(axis=1), np.arange(probabilities.shape[1])
    is_true, is_answer = (one[:, None] == classes for one in (truth, answers))
    support, answered = weights @ is_true, weights @ is_answer  # (resample, class)
    found, total = weights @ (is_true & is_answer), weights.sum(axis=1)  # (resample, class), (resample,)
    with np.errstate(divide="ignore", invalid="ignore"):
        recall = found / np.where(support > 0, support, np.nan)
        specificity = 1 - (answered - found) / np.where(total[:, None] > support, total[:, None] - support, np.nan)
        f1 = 2 * found / np.where(support > 0, support + answered, np.nan)
    shifted = at_own_shares(truth, probabilities, prior)
    auroc, auprc = (_per_class(rule, is_true, probabilities, weights, support) for rule in (_auroc, _average_precision))
    return {
        "accuracy": found.sum(axis=1) / total,
        "balanced_accuracy": np.nanmean(recall, axis=1),
        "macro_f1": np.nanmean(f1, axis=1),
        "weighted_f1": np.nansum(f1 * support, axis=1) / total,
        "macro_auroc": _mean_of_known(auroc),
        "macro_auprc": _mean_of_known(auprc),
        "mcc": _matthews(found.sum(axis=1), total, support, answered),
        "ece": _calibration_error(shifted.max(axis=1), truth == shifted.argmax(axis=1), weights),
        **{f"calibration_error_{code}": _calibration_error(shifted[:, n], truth == n, weights) for n, code in enumerate(codes)},
        **{f"recall_{code}": recall[:, index] for index, code in enumerate(codes)},
        **{f"specificity_{code}": specificity[:, index] for index, code in enumerate(codes)},
        **{f"auroc_{code}": auroc[:, index] for index, code in enumerate(codes)},
        **{f"auprc_{code}": auprc[:, index] for index, code in enumerate(codes)},
    }


def quadratic_kappa(truth: NDArray[np.int64], answers: NDArray[np.int64], weights: Weights) -> NDArray[np.float64]:
    """Agreement of ordered grades beyond chance, (resample,); a miss by two grades costs four times one by one (Cohen 1968)."""
    grades = np.arange(int(max(truth.max(), answers.max())) + 1)
    is_true, is_answer = (one[:, None] == grades for one in (truth, answers))
    seen = np.einsum("rn,ni,nj->rij", weights, is_true.astype(float), is_answer.astype(float))
    expected = seen.sum(axis=2)[:, :, None] * seen.sum(axis=1)[:, None, :] / seen.sum(axis=(1, 2))[:, None, None]
    cost = (grades[:, None] - grades[None, :]) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        return 1 - (seen * cost).sum(axis=(1, 2)) / (expected * cost).sum(axis=(1, 2))


def _per_class(
    rule: Callable[[NDArray[np.bool_], NDArray[np.float64], Weights], NDArray[np.float64]],
    is_true: NDArray[np.bool_],
    probabilities: NDArray[np.float64],
    weights: Weights,
    support: NDArray[np.float64],
) -> NDArray[np.float64]:
    """A measure of one label against the others, for every label: (resample, class); not a number where it does not exist."""
    columns = [rule(is_true[:, index], probabilities[:, index], weights) for index in range(is_true.shape[1])]
    has_both = (support > 0) & (support < weights.sum(axis=1, keepdims=True))
    return np.where(has_both, np.stack(columns, axis=1), np.nan)


def _auroc(is_true: NDArray[np.bool_], scores: NDArray[np.float64], weights: Weights) -> NDArray[np.float64]:
    """Chance that a photograph of the label scores above one of the others, ties counting half (Mann and Whitney 1947)."""
    positives, negatives = _in_steps(is_true, scores, weights)
    below = np.cumsum(negatives, axis=1) - negatives
    with np.errstate(divide="ignore", invalid="ignore"):
        return (positives * (below + negatives / 2)).sum(axis=1) / (positives.sum(axis=1) * negatives.sum(axis=1))


def _average_precision(is_true: NDArray[np.bool_], scores: NDArray[np.float64], weights: Weights) -> NDArray[np.float64]:
    """Precision at each step of recall, weighted by the step (area under the precision–recall curve without interpolation)."""
    positives, negatives = _in_steps(is_true, scores, weights)
    found, wrong = (np.cumsum(one[:, ::-1], axis=1) for one in (positives, negatives))
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.where(found + wrong > 0, found / (found + wrong), 0.0)
        return (positives[:, ::-1] * precision).sum(axis=1) / positives.sum(axis=1)


def _in_steps(is_true: NDArray[np.bool_], scores: NDArray[np.float64], weights: Weights) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weight of the label's photographs and of the others at each distinct score, lowest first: (resample, step)."""
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))
    ordered = weights[:, order]
    positives = np.add.reduceat(ordered * is_true[order], starts, axis=1)
    return positives, np.add.reduceat(ordered, starts, axis=1) - positives


def _mean_of_known(values: NDArray[np.float64]) -> NDArray[np.float64]:
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.where(known, values, 0).sum(axis=1) / np.where(known.any(axis=1), known.sum(axis=1), np.nan)


def _matthews(
    right: NDArray[np.float64], total: NDArray[np.float64], support: NDArray[np.float64], answered: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Matthews correlation for many classes (Gorodkin 2004); 0 for a constant answer."""
    together = right * total - (support * answered).sum(axis=1)
    apart = np.sqrt((total**2 - (support**2).sum(axis=1)) * (total**2 - (answered**2).sum(axis=1)))
    return np.divide(together, apart, out=np.zeros_like(together), where=apart > 0)


def _calibration_error(
    confidences: NDArray[np.float64], is_right: NDArray[np.bool_], weights: Weights, *, bins: int = 10
) -> NDArray[np.float64]:
    """Expected calibration error over bins of equal width (Guo et al., ICML 2017; one label against the others: Kull et al., 2019)."""
    bin_of = np.minimum((confidences * bins).astype(np.int64), bins - 1)
    gaps = weights @ ((is_right - confidences)[:, None] * (bin_of[:, None] == np.arange(bins)))
    return np.abs(gaps).sum(axis=1) / weights.sum(axis=1)
