"""Measures of a classifier, on plain arrays; a label without a photograph never counts as right or wrong."""

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, f1_score, matthews_corrcoef, roc_auc_score

Indices = NDArray[np.int64]
Probabilities = NDArray[np.float64]


def confusion(truth: Indices, answers: Indices, class_count: int) -> NDArray[np.int64]:
    """Counts (truth, answer)."""
    return np.asarray(confusion_matrix(truth, answers, labels=list(range(class_count))), dtype=np.int64)


def recalls(counted: NDArray[np.int64]) -> list[float | None]:
    """Share of each label's photographs that were found; None where there is none."""
    return [float(row[index] / row.sum()) if row.sum() else None for index, row in enumerate(counted)]


def balanced_accuracy(counted: NDArray[np.int64]) -> float:
    """Mean recall of the labels that have photographs."""
    return float(np.mean([recall for recall in recalls(counted) if recall is not None]))


def macro_f1(truth: Indices, answers: Indices) -> float:
    """Mean F1 of the labels that have photographs."""
    return float(f1_score(truth, answers, labels=np.unique(truth).tolist(), average="macro", zero_division=0.0))  # pyright: ignore[reportArgumentType]


def macro_auroc(truth: Indices, probabilities: Probabilities) -> float:
    """Mean of one-against-rest AUROC over the labels that have photographs; 0.5 when there is only one."""
    present = np.unique(truth)
    if len(present) < 2:
        return 0.5
    return float(np.mean([roc_auc_score(truth == index, probabilities[:, index]) for index in present]))


def matthews(truth: Indices, answers: Indices) -> float:
    """Matthews correlation: 0 for any constant answer, however common its label."""
    if len(np.union1d(truth, answers)) < 2:
        return 0.0
    return float(matthews_corrcoef(truth, answers))


def calibration_error(truth: Indices, probabilities: Probabilities, *, bins: int = 10) -> float:
    """Expected calibration error of the top answer, over bins of equal width."""
    confidences, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    bin_of = np.minimum((confidences * bins).astype(np.int64), bins - 1)
    gaps = [abs(float(right[bin_of == one].sum()) - float(confidences[bin_of == one].sum())) for one in range(bins)]
    return sum(gaps) / len(truth)


def selection_score(truth: Indices, probabilities: Probabilities) -> float:
    """What the best epoch is chosen by: the mean of macro-AUROC, macro-F1 and Matthews correlation.

    Plain accuracy would choose the epoch that answers with the most common label.
    """
    answers = np.asarray(probabilities.argmax(axis=1), dtype=np.int64)
    return (macro_auroc(truth, probabilities) + macro_f1(truth, answers) + matthews(truth, answers)) / 3
