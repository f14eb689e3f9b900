"""From the pooled patch tokens of training photographs to the reference that another photograph is compared with."""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import t as student
from sklearn.covariance import ledoit_wolf

from eye_dx_core.model.reference import Reference

LARGEST_SAMPLE = 2000
"""Photographs that a reference is made of; more change it little and cost a pass through the trunk each."""
LEAST_HELD_OUT = 3
"""With fewer photographs held out, nobody knows how far is far, and there is no reference."""
_AXES = 64
_SHARE_BEYOND = 0.01


def draw_evenly(condition_indices: NDArray[np.int64], *, most: int = LARGEST_SAMPLE) -> NDArray[np.int64]:
    """Positions of at most so many photographs: all of the rare labels, and equally many of the others."""
    shuffled = np.random.default_rng(0).permutation(len(condition_indices))
    turn = np.zeros(len(condition_indices), dtype=np.int64)  # the how-manieth of its label each photograph is
    for label in np.unique(condition_indices):
        own = shuffled[condition_indices[shuffled] == label]
        turn[own] = np.arange(len(own))
    return np.sort(shuffled[np.argsort(turn[shuffled], kind="stable")][:most])


def fit_reference(pooled: torch.Tensor, condition_indices: NDArray[np.int64], held_out: torch.Tensor) -> Reference | None:
    """A reference from training photographs, in units of photographs that were not learnt from; None when these are too few.

    The covariance of the photographs around the centre of their label is shrunk towards a sphere (Ledoit and Wolf 2004). Beyond
    its first axes it is taken for a sphere, as it nearly is by then: a wide trunk would need megabytes for the whole of it.

    Args:
        pooled: patch tokens of training photographs, (photo, dim).
        condition_indices: position of each one's label in the label set.
        held_out: the same of photographs that nothing was learnt from, (photo, dim).
    """
    if len(held_out) < LEAST_HELD_OUT:
        return None
    seen = pooled.double().numpy()
    labels, places = np.unique(condition_indices, return_inverse=True)
    centres = np.stack([seen[condition_indices == label].mean(axis=0) for label in labels])
    covariance, _ = ledoit_wolf(seen - centres[places], assume_centered=True)
    variances, directions = np.linalg.eigh(covariance)  # ascending
    variances = np.maximum(variances, 1e-9)
    cut = max(len(variances) - _AXES, 1)
    found = (centres, directions[:, cut:], np.sqrt(variances[cut:]), np.sqrt(variances[:cut].mean()), np.ones(()))
    bare = Reference(*(torch.tensor(one, dtype=torch.float32) for one in found))
    return replace(bare, unit=torch.tensor(upper_limit(bare.distances(held_out).numpy())))


def upper_limit(distances: NDArray[np.float64]) -> float:
    """A distance that one further photograph of a hundred exceeds.

    From 99 photographs on an order statistic, exact whatever the distribution (the split conformal quantile: the smallest that
    at least 0.99 (n + 1) of n do not exceed). With fewer, the upper prediction limit of a log-normal distribution: Student's t
    of n - 1 degrees of freedom, on the logarithms, times the root of 1 + 1/n. The fewer there are, the more it allows.
    """
    count = len(distances)
    rank = int(np.ceil((count + 1) * (1 - _SHARE_BEYOND)))
    if rank <= count:
        return float(np.sort(distances)[rank - 1])
    logs = np.log(np.maximum(distances, 1e-6))
    return float(np.exp(logs.mean() + student.ppf(1 - _SHARE_BEYOND, count - 1) * logs.std(ddof=1) * np.sqrt(1 + 1 / count)))
