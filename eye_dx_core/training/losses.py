"""Losses for uneven classes."""

import math
from collections.abc import Sequence

import torch
from torch.nn import functional


def log_shares(counts: Sequence[int]) -> tuple[float, ...]:
    """The logarithm of each label's share; every count must be above zero."""
    return tuple(math.log(count / sum(counts)) for count in counts)


def balanced_softmax(logits: torch.Tensor, condition_indices: torch.Tensor, log_prior: torch.Tensor) -> torch.Tensor:
    """Cross-entropy in which the class shares explain themselves, so the logits (photo, class) need not learn them.

    Ren et al., NeurIPS 2020; logit adjustment with τ = 1 of Menon et al., ICLR 2021. Nothing is left to tune. With zeros
    as `log_prior` it is plain cross-entropy.
    """
    return functional.cross_entropy(logits + log_prior, condition_indices)
