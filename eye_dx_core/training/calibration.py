"""Confidences that mean what they say, the confidence below which the answer is `uncertain`, and what cannot be ruled out."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch.nn import functional

from eye_dx_core.schema.frozen import Frozen

KEPT_ACCURACY, EVEN_ODDS, LARGEST_ABSTENTION = 0.9, 0.5, 0.3
SET_COVERAGE = 0.9
_SMALLEST_T, _LARGEST_T = 0.2, 5.0
_BIAS_WIDTH, _LARGEST_BIAS = 0.5, 3.0


class Scaling(Frozen):
    """What turns evidence into confidence: evidence / temperature + bias."""

    temperature: float
    bias: tuple[float, ...]


def fit_scaling(evidence: torch.Tensor, condition_indices: torch.Tensor, log_prior: Sequence[float]) -> Scaling:
    """The temperature and biases that make the calibration split most likely (Guo et al., ICML 2017).

    The biases are held back towards zero: each costs as much as a normal prior of width `_BIAS_WIDTH` says, so that a label
    with a handful of photographs keeps what training gave it.

    Args:
        evidence: logits without the training prior, (photo, class); minus infinity for a label that was never learnt.
        condition_indices: what is true, (photo,).
        log_prior: how common the labels are in the calibration split.
    """
    learnt = torch.isfinite(evidence).all(dim=0)
    scores, prior = evidence[:, learnt].double(), torch.tensor(log_prior, dtype=torch.float64)[learnt]
    position = (learnt.cumsum(0) - 1)[condition_indices]

    def surprise(knobs: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        wanted = torch.tensor(knobs, requires_grad=True)
        scaled = scores / wanted[0].exp() + wanted[1:] + prior
        cost = functional.cross_entropy(scaled, position, reduction="sum") + (wanted[1:] ** 2).sum() / (2 * _BIAS_WIDTH**2)
        (slope,) = torch.autograd.grad(cost, wanted)
        return float(cost.detach()), slope.numpy()

    bounds = [(np.log(_SMALLEST_T), np.log(_LARGEST_T)), *[(-_LARGEST_BIAS, _LARGEST_BIAS)] * int(learnt.sum())]
    found = minimize(surprise, np.zeros(1 + int(learnt.sum())), jac=True, bounds=bounds, method="L-BFGS-B")
    bias = torch.zeros(len(learnt), dtype=torch.float64)
    bias[learnt] = torch.from_numpy(found.x[1:])
    return Scaling(temperature=float(np.exp(found.x[0])), bias=tuple(bias.tolist()))


def choose_set_thresholds(
    probabilities: NDArray[np.float64], condition_indices: NDArray[np.int64], *, coverage: float
) -> tuple[float | None, ...]:
    """Per label, the probability from which it belongs to the answer set: class-conditional split conformal prediction.

    Vovk, Gammerman and Shafer 2005, with one threshold per label (Mondrian), because one for all would cover the common
    labels at the cost of the rare ones. Of new photographs of a label at least `coverage` have it in their set, on average
    over calibration splits. With too few photographs to promise that, the threshold is 0: the label is never ruled out.

    Args:
        probabilities: calibrated, (photo, class).
        condition_indices: what is true, (photo,).
        coverage: share of a label's photographs, between 0 and 1.

    Returns:
        One threshold per label; None for a label without a photograph in the calibration split.
    """
    thresholds: list[float | None] = []
    for index in range(probabilities.shape[1]):
        own = np.sort(probabilities[condition_indices == index, index])
        # The k-th smallest probability leaves out fewer than 1 - coverage of the next ones (finite-sample correction).
        left_out = math.floor((len(own) + 1) * (1 - coverage))
        thresholds.append(None if not len(own) else float(own[left_out - 1]) if left_out else 0.0)
    return tuple(thresholds)


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
