"""Reads prepared squares in batches with one checkpoint."""

import logging
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from eye_dx_core.inference.engines.micro_batch import find_batch_size, is_out_of_memory
from eye_dx_core.inference.engines.port import Answer, Engine
from eye_dx_core.inference.engines.torch_engine import TorchEngine
from eye_dx_core.inference.evidence import find_evidence, read_tokens
from eye_dx_core.model.checkpoint import Checkpoint, CheckpointCard
from eye_dx_core.schema.condition import Label
from eye_dx_core.schema.diagnosis import EvidenceMap
from eye_dx_core.schema.engine import EngineName

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SquareReading:
    """What the model says of one square: calibrated probabilities in label order, and where the likeliest label was seen."""

    probabilities: NDArray[np.float32]
    condition_index: int
    evidence: EvidenceMap | None
    """None for a normal photograph, and where nothing was localised."""
    embedding: NDArray[np.float32]
    """Its pooled patch tokens, (dim,), before the norm of the head, which forgets what is odd about a photograph."""


class Predictor:
    """One loaded model version. Batches are split to `batch_size`, and a photo's answer does not depend on its batch."""

    def __init__(
        self, checkpoint: Checkpoint, *, model_name: str, model_version: str, engine: Engine | None = None, batch_size: int | None = None
    ) -> None:
        """Take a checkpoint into service.

        Args:
            checkpoint: its model looks for evidence.
            model_name: stored with each diagnosis.
            model_version: likewise.
            engine: what reads; None lets the checkpoint's model do it as it is.
            batch_size: photographs that are read at once; None takes as many as memory holds.
        """
        self._checkpoint, self._engine = checkpoint, engine or TorchEngine(checkpoint.model)
        self.model_name, self.model_version = model_name, model_version
        self._checkpoint.model.eval()
        self.batch_size = batch_size or find_batch_size(checkpoint.model)

    @property
    def card(self) -> CheckpointCard:
        """The card of the checkpoint."""
        return self._checkpoint.card

    @property
    def checkpoint_sha256(self) -> str:
        """Hash of the weights."""
        return self._checkpoint.sha256

    @property
    def engine_name(self) -> EngineName:
        """What computes the answers."""
        return self._engine.name

    @property
    def labels(self) -> tuple[Label, ...]:
        """Labels in the order of the probabilities."""
        return self.card.label_set.labels

    def read_squares(self, squares: NDArray[np.uint8]) -> tuple[SquareReading, ...]:
        """Read squares (photo, size, size, rgb), cropped to the field of view at the card's size."""
        readings: list[SquareReading] = []
        while len(readings) < len(squares):
            batch = squares[len(readings) : len(readings) + self.batch_size]
            try:
                readings += self._read_batch(batch)
            except Exception as error:
                if not is_out_of_memory(error) or len(batch) == 1:
                    raise
                self.batch_size = len(batch) // 2
                _log.warning("%s photographs at once do not fit into memory: from now on %s are read at once", len(batch), self.batch_size)
        return tuple(readings)

    def answer_set(self, probabilities: NDArray[np.float32]) -> tuple[str, ...]:
        """Codes of the labels that cannot be ruled out by the card's thresholds, likeliest first.

        A label that was learnt, but had no photograph to learn its threshold from, is never ruled out.
        """
        rules = zip(probabilities, self.card.set_thresholds, self.card.training_counts, strict=True)
        kept = [i for i, (p, least, learnt) in enumerate(rules) if (learnt > 0 if least is None else p >= least)]
        return tuple(self.labels[i].code for i in sorted(kept, key=lambda i: -probabilities[i]))

    def distance(self, embedding: NDArray[np.float32]) -> float | None:
        """How unlike the training photographs a square is, by its embedding (`Reference`); None where the checkpoint does not know."""
        reference = self._checkpoint.reference
        return float(reference.distances(torch.from_numpy(embedding)[None])) if reference else None

    def _read_batch(self, squares: NDArray[np.uint8]) -> list[SquareReading]:
        batch = self.card.preprocess.to_batch(squares)
        answer = self._engine.read(batch)
        probabilities = self._checkpoint.probabilities(answer.logits)
        likeliest = probabilities.argmax(dim=1)
        evidence = self._look_for_evidence(batch, answer, likeliest, squares)
        return [
            SquareReading(probabilities=row, condition_index=int(index), evidence=where, embedding=pooled)
            for row, index, where, pooled in zip(probabilities.numpy(), likeliest, evidence, answer.pooled.numpy(), strict=True)
        ]

    def _look_for_evidence(
        self, batch: torch.Tensor, answer: Answer, likeliest: torch.Tensor, squares: NDArray[np.uint8]
    ) -> list[EvidenceMap | None]:
        """Where each conclusion was seen. The checkpoint's own model looks, in its own precision.

        A normal photograph has no abnormal areas, so nothing is spent on looking for them.
        """
        model, weight = self._checkpoint.model, self._checkpoint.model.head.weight
        abnormal = [place for place, index in enumerate(likeliest.tolist()) if not self.labels[index].is_normal]
        evidence: list[EvidenceMap | None] = [None] * len(likeliest)
        if abnormal:
            tokens = answer.tokens.of(abnormal, weight) if answer.tokens else read_tokens(model, batch[abnormal].to(weight))
            found = find_evidence(model, tokens, likeliest[abnormal].to(weight.device), squares=squares[abnormal])
            for place, where in zip(abnormal, found, strict=True):
                evidence[place] = where
        return evidence
