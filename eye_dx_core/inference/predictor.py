"""Reads prepared squares in batches with one checkpoint."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from eye_dx_core.inference.evidence import Tokens, find_evidence, read_tokens
from eye_dx_core.model.checkpoint import Checkpoint, CheckpointCard
from eye_dx_core.schema.condition import Label
from eye_dx_core.schema.diagnosis import EvidenceMap


@dataclass(frozen=True)
class SquareReading:
    """What the model says of one square: calibrated probabilities in label order, and where the likeliest label was seen."""

    probabilities: NDArray[np.float32]
    condition_index: int
    evidence: EvidenceMap | None
    """None for a normal photograph, and where nothing was localised."""


class Predictor:
    """One loaded model version. Batches are split to `batch_size`, and a photo's answer does not depend on its batch."""

    def __init__(self, checkpoint: Checkpoint, *, model_name: str, model_version: str, batch_size: int = 8) -> None:
        self._checkpoint, self.batch_size = checkpoint, batch_size
        self.model_name, self.model_version = model_name, model_version
        self._checkpoint.model.eval()

    @property
    def card(self) -> CheckpointCard:
        """The card of the checkpoint."""
        return self._checkpoint.card

    @property
    def checkpoint_sha256(self) -> str:
        """Hash of the weights."""
        return self._checkpoint.sha256

    @property
    def labels(self) -> tuple[Label, ...]:
        """Labels in the order of the probabilities."""
        return self.card.label_set.labels

    def read_squares(self, squares: NDArray[np.uint8]) -> tuple[SquareReading, ...]:
        """Read squares (photo, size, size, rgb), cropped to the field of view at the card's size."""
        readings: list[SquareReading] = []
        for start in range(0, len(squares), self.batch_size):
            readings += self._read_batch(squares[start : start + self.batch_size])
        return tuple(readings)

    def answer_set(self, probabilities: NDArray[np.float32]) -> tuple[str, ...]:
        """Codes of the labels that cannot be ruled out by the card's thresholds, likeliest first.

        A label that was learnt, but had no photograph to learn its threshold from, is never ruled out.
        """
        rules = zip(probabilities, self.card.set_thresholds, self.card.training_counts, strict=True)
        kept = [i for i, (p, least, learnt) in enumerate(rules) if (learnt > 0 if least is None else p >= least)]
        return tuple(self.labels[i].code for i in sorted(kept, key=lambda i: -probabilities[i]))

    def _read_batch(self, squares: NDArray[np.uint8]) -> list[SquareReading]:
        model, batch = self._checkpoint.model, self.card.preprocess.to_batch(squares)
        tokens = read_tokens(model, batch)
        with torch.no_grad():
            probabilities = self._checkpoint.probabilities(model.head(model.pool(tokens.late)))
        likeliest = probabilities.argmax(dim=1)
        return [
            SquareReading(probabilities=row, condition_index=int(index), evidence=where)
            for row, index, where in zip(probabilities.numpy(), likeliest, self._look_for_evidence(tokens, likeliest, squares), strict=True)
        ]

    def _look_for_evidence(self, tokens: Tokens, likeliest: torch.Tensor, squares: NDArray[np.uint8]) -> list[EvidenceMap | None]:
        """Where each conclusion was seen. A normal photo has no abnormal areas, so nothing is spent on looking for them."""
        abnormal = [place for place, index in enumerate(likeliest.tolist()) if not self.labels[index].is_normal]
        evidence: list[EvidenceMap | None] = [None] * len(likeliest)
        if abnormal:
            found = find_evidence(self._checkpoint.model, tokens.of(abnormal), likeliest[abnormal], squares=squares[abnormal])
            for place, where in zip(abnormal, found, strict=True):
                evidence[place] = where
        return evidence
