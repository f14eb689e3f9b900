"""Confidences that mean what they say, and the confidence below which the answer is `uncertain`."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from torch.nn import functional

KEPT_ACCURACY, EVEN_ODDS, LARGEST_ABSTENTION = 0.9, 0.5, 0.3
_SMALLEST_T, _LARGEST_T = 0.2, 5.0


def fit_temperature(evidence: torch.Tensor, condition_indices: torch.Tensor, log_prior: Sequence[float]) -> float:
    """The temperature that makes the calibration split most likely (Guo et al., ICML 2017).

    Args:
        evidence: logits without the training prior, (photo, class).
        condition_indices: what is true, (photo,).
        log_prior: how common the labels are in the calibration split.
    """
    prior = evidence.new_tensor(log_prior)

    def surprise(log_temperature: float) -> float:
        return float(functional.cross_entropy(evidence / float(np.exp(log_temperature)) + prior, condition_indices))

    found = minimize_scalar(surprise, bounds=(np.log(_SMALLEST_T), np.log(_LARGEST_T)), method="bounded")
    return float(np.exp(found.x))


def choose_uncertain_below(confidences: NDArray[np.float64], is_right: NDArray[np.bool_], weights: NDArray[np.float64]) -> float:
    """The lowest confidence from which answers are right often enough.

    The threshold is the lowest confidence at which at least `KEPT_ACCURACY` of the answers at or above it are right, and at
    least even odds: a calibrated answer below them is more likely wrong than right, however well a small split went. But
    it is never so high that more than `LARGEST_ABSTENTION` go unanswered: a screen that always says "uncertain" helps nobody.

    Args:
        confidences: of the top answers on the calibration split.
        is_right: whether each was right.
        weights: how much each photograph stands for; equal weight per label unless the clinic's shares are known.
    """
    order = np.argsort(-confidences)
    kept = np.cumsum(weights[order])
    accuracies = np.cumsum((weights * is_right)[order]) / kept
    good = np.flatnonzero(accuracies >= KEPT_ACCURACY)
    highest = confidences[order][np.argmax(kept / kept[-1] >= 1 - LARGEST_ABSTENTION)]
    wanted = confidences[order][good[-1]] if len(good) else highest
    return float(min(max(wanted, EVEN_ODDS), highest))
