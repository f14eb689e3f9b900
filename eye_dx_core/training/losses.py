"""Losses for uneven classes, and what their logits still contain of how common each class was."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch.nn import functional

Loss = Literal["balanced_softmax", "cross_entropy", "weighted_cross_entropy", "class_balanced", "focal"]
Sampling = Literal["natural", "square_root", "balanced"]

_FOCUS = 2.0
"""Exponent of the focal loss; Lin et al. found 2 to be best."""
_CLASS_BALANCED_BETA = 0.999
_POWER: dict[Sampling, float] = {"natural": 1.0, "square_root": 0.5, "balanced": 0.0}


@dataclass(frozen=True)
class Objective:
    """A loss for given class counts. All compensation is worked out for what the sampling draws, so two never add up.

    With natural sampling, balanced softmax explains the class shares; with a balanced sampler there is nothing left to
    explain, and the same loss is plain cross-entropy. A label without a photograph is never an answer.
    """

    loss: Loss
    counts: tuple[int, ...]
    sampling: Sampling = "natural"

    @property
    def drawn_shares(self) -> tuple[float, ...]:
        """Share of each label among the drawn photographs: its count to the power 1, 0.5 or 0."""
        drawn = [count ** _POWER[self.sampling] if count else 0.0 for count in self.counts]
        return tuple(share / sum(drawn) for share in drawn)

    @property
    def weights(self) -> tuple[float, ...]:
        """Weight of each label's photographs, with a mean of 1 over what is drawn."""
        shares = self.drawn_shares
        if self.loss in ("balanced_softmax", "cross_entropy"):
            return tuple(float(share > 0) for share in shares)
        if self.loss == "class_balanced" and self.sampling == "natural":
            raw = [(1 - _CLASS_BALANCED_BETA) / (1 - _CLASS_BALANCED_BETA**count) if count else 0.0 for count in self.counts]
        else:
            raw = [1 / share if share else 0.0 for share in shares]
        mean = sum(weight * share for weight, share in zip(raw, shares, strict=True))
        return tuple(weight / mean for weight in raw)

    @property
    def contained_log_prior(self) -> tuple[float, ...]:
        """What the logits contain of how common the labels were, to be taken out of them; 0 for a label without photographs."""
        if self.loss == "balanced_softmax":
            return (0.0,) * len(self.counts)
        felt = [share * weight for share, weight in zip(self.drawn_shares, self.weights, strict=True)]
        return tuple(math.log(one / sum(felt)) if one else 0.0 for one in felt)

    def __call__(self, logits: torch.Tensor, condition_indices: torch.Tensor) -> torch.Tensor:
        """The mean loss of logits (photo, class) for true positions (photo,).

        - `balanced_softmax`: cross-entropy of logits plus log shares (Ren et al., NeurIPS 2020; Menon et al., ICLR 2021, τ = 1).
        - `weighted_cross_entropy`: weights inverse to the shares.
        - `class_balanced`: weights inverse to the effective number of photographs (Cui et al., CVPR 2019).
        - `focal`: -α (1 - p)^γ log p with p of the unweighted softmax (Lin et al., ICCV 2017).
        """
        logits = logits + logits.new_tensor(self._explained)
        weights = logits.new_tensor(self.weights)[condition_indices]  # (photo,)
        surprise = functional.cross_entropy(logits, condition_indices, reduction="none")
        if self.loss == "focal":
            surprise = (1 - (-surprise).exp()) ** _FOCUS * surprise
        return (weights * surprise).mean()

    @property
    def _explained(self) -> tuple[float, ...]:
        """Added to the logits in training; minus infinity takes a label without photographs out."""
        explains = self.loss == "balanced_softmax"
        return tuple((math.log(share) if explains else 0.0) if share else -math.inf for share in self.drawn_shares)


def log_shares(counts: Sequence[int]) -> tuple[float, ...]:
    """The logarithm of each label's share; minus infinity for a label without photographs."""
    return tuple(math.log(count / sum(counts)) if count else -math.inf for count in counts)
