"""The fine-tuning loop: a generator that hands over one result per epoch."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from eye_dx_core.dataset.augment import augment_batch
from eye_dx_core.errors import BadSettings
from eye_dx_core.model.preprocess import Preprocess, to_unit
from eye_dx_core.model.trainable import select_trainable
from eye_dx_core.model.vit import FundusVit
from eye_dx_core.schema.frozen import Frozen
from eye_dx_core.training import metrics
from eye_dx_core.training.config import TrainingConfig
from eye_dx_core.training.losses import balanced_softmax
from eye_dx_core.training.schedule import learning_rate_at

_LARGEST_GRADIENT = 1.0
_READING_BATCH = 32


@dataclass(frozen=True)
class LabelledPhotos:
    """Squares (photo, size, size, rgb) with the position of each photograph's label in the label set."""

    squares: NDArray[np.uint8]
    condition_indices: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.condition_indices)


class EpochResult(Frozen):
    """One pass over the training photographs, and how the validation photographs were read after it."""

    epoch: int
    train_loss: float
    validation_loss: float
    balanced_accuracy: float
    score: float
    learning_rate: float
    seconds: float
    is_best: bool

    def as_metrics(self) -> dict[str, float]:
        """The numbers by name, for a tracker."""
        return {name: float(value) for name, value in self.model_dump().items() if name != "epoch"}

    def __str__(self) -> str:
        best = ", best so far" if self.is_best else ""
        return (
            f"epoch {self.epoch}: loss {self.train_loss:.3f} in training and {self.validation_loss:.3f} in validation, "
            f"balanced accuracy {self.balanced_accuracy:.3f}, {self.seconds:.1f} s{best}"
        )


def fine_tune(
    model: FundusVit,
    *,
    train: LabelledPhotos,
    validation: LabelledPhotos,
    preprocess: Preprocess,
    log_prior: tuple[float, ...],
    config: TrainingConfig,
) -> Iterator[EpochResult]:
    """Train what the method lets learn; when the last result has been taken, the model holds the best epoch.

    The best epoch is the one with the highest `metrics.selection_score` in validation.

    Args:
        model: keeps evaluation mode throughout, as nothing in it behaves differently in training.
        train: photographs to learn from.
        validation: photographs to choose the epoch by.
        preprocess: what the trunk expects.
        log_prior: what the loss explains by itself (`losses.balanced_softmax`).
        config: the knobs.

    Raises:
        BadSettings: the loss became infinite.
    """
    learner = _Learner(model.eval(), preprocess, log_prior, config, batches_per_epoch=-(-len(train) // config.batch_size))
    best_score, best_epoch, best = float("-inf"), 0, learner.copy_learnt()
    for epoch in range(1, config.epochs + 1):
        started = time.monotonic()
        train_loss = learner.train_one_epoch(train)
        logits = predict_logits(model, validation.squares, preprocess)
        probabilities = logits.softmax(dim=1).double().numpy()
        score = metrics.selection_score(validation.condition_indices, probabilities)
        is_best = score > best_score
        if is_best:
            best_score, best_epoch, best = score, epoch, learner.copy_learnt()
        yield EpochResult(
            epoch=epoch,
            train_loss=train_loss,
            validation_loss=float(functional.cross_entropy(logits, torch.from_numpy(validation.condition_indices))),
            balanced_accuracy=metrics.balanced_accuracy(
                metrics.confusion(validation.condition_indices, probabilities.argmax(axis=1), probabilities.shape[1])
            ),
            score=score,
            learning_rate=learner.learning_rate,
            seconds=time.monotonic() - started,
            is_best=is_best,
        )
        if epoch - best_epoch >= config.patience:
            break
    model.load_state_dict(best, strict=False)


def predict_logits(model: FundusVit, squares: NDArray[np.uint8], preprocess: Preprocess) -> torch.Tensor:
    """Logits (photo, class) on the CPU, batch by batch."""
    device = next(model.parameters()).device
    with torch.inference_mode():
        starts = range(0, len(squares), _READING_BATCH)
        batches = (preprocess.to_batch(squares[start : start + _READING_BATCH]).to(device) for start in starts)
        return torch.cat([model(batch).cpu() for batch in batches])


class _Learner:
    """What changes from step to step: the weights that learn, the optimizer, the random streams, the step."""

    def __init__(
        self, model: FundusVit, preprocess: Preprocess, log_prior: tuple[float, ...], config: TrainingConfig, *, batches_per_epoch: int
    ) -> None:
        names = set(select_trainable(model, config.method))
        self.model, self.preprocess, self.config = model, preprocess, config
        self.learning = {name: parameter for name, parameter in model.named_parameters() if name in names}
        self.device = next(model.parameters()).device
        self.log_prior = torch.tensor(log_prior, device=self.device)
        # Norms, biases and scales have one dimension; pulling them to zero would only fight the data.
        decayed = [one for one in self.learning.values() if one.ndim > 1]
        others = [one for one in self.learning.values() if one.ndim <= 1]
        self.optimizer = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}], lr=config.learning_rate
        )
        self.rng, self.generator = np.random.default_rng(config.seed), torch.Generator().manual_seed(config.seed)
        self.step, self.batches_per_epoch = 0, batches_per_epoch

    @property
    def learning_rate(self) -> float:
        """The rate of the next step."""
        return learning_rate_at(
            self.step,
            peak=self.config.learning_rate,
            warmup_steps=round(self.config.warmup_epochs * self.batches_per_epoch),
            total_steps=self.config.epochs * self.batches_per_epoch,
        )

    def copy_learnt(self) -> dict[str, torch.Tensor]:
        """The weights that learn, as they are now; the frozen ones never change."""
        return {name: parameter.detach().clone() for name, parameter in self.learning.items()}

    def train_one_epoch(self, train: LabelledPhotos) -> float:
        """Every photograph once, in a new order; the mean loss."""
        order = self.rng.permutation(len(train))
        losses = [self._train_one_batch(train, np.sort(chosen)) for chosen in np.array_split(order, self.batches_per_epoch)]
        return float(np.mean(losses))

    def _train_one_batch(self, train: LabelledPhotos, chosen: NDArray[np.int64]) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate
        photos = augment_batch(to_unit(train.squares[chosen]).to(self.device), self.config.augmentation, self.generator)
        logits = self.model(self.preprocess.normalise(photos))
        loss = balanced_softmax(logits, torch.from_numpy(train.condition_indices[chosen]).to(self.device), self.log_prior)
        if not loss.isfinite():
            raise BadSettings(f"training diverged at learning rate {self.config.learning_rate:g}: take a smaller one")
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.learning.values(), _LARGEST_GRADIENT)
        self.optimizer.step()
        self.step += 1
        return float(loss.detach())
