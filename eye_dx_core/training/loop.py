"""The fine-tuning loop: a generator that hands over one result per epoch."""

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from eye_dx_core.errors import BadSettings
from eye_dx_core.model.checkpoint import mask_unlearnt
from eye_dx_core.model.trainable import select_trainable
from eye_dx_core.model.vit import FundusVit
from eye_dx_core.schema.frozen import Frozen
from eye_dx_core.training import metrics
from eye_dx_core.training.config import TrainingConfig
from eye_dx_core.training.feeds import Feed, read_all
from eye_dx_core.training.losses import Objective
from eye_dx_core.training.precision import autocast
from eye_dx_core.training.schedule import learning_rate_at
from eye_dx_core.training.state import TrainingState
from eye_dx_core.training.team import ALONE, Team

_LARGEST_GRADIENT = 1.0


class EpochResult(Frozen):
    """One pass over the training photographs, and how the validation photographs were read after it."""

    epoch: int
    epochs: int
    """How many there will be at most."""
    train_loss: float
    validation_loss: float
    balanced_accuracy: float
    score: float
    learning_rate: float
    seconds: float
    is_best: bool

    def as_metrics(self) -> dict[str, float]:
        """The numbers by name, for a tracker."""
        return {name: float(value) for name, value in self.model_dump(exclude={"epoch", "epochs"}).items()}

    def __str__(self) -> str:
        best = ", best so far" if self.is_best else ""
        left = timedelta(seconds=round(self.seconds * (self.epochs - self.epoch)))
        return (
            f"epoch {self.epoch} of {self.epochs}: loss {self.train_loss:.3f} in training and {self.validation_loss:.3f} in validation, "
            f"balanced accuracy {self.balanced_accuracy:.3f}, {self.seconds:.1f} s, at most {left} to go{best}"
        )


def fine_tune(
    model: FundusVit,
    *,
    train: Feed,
    validation: Feed,
    objective: Objective,
    config: TrainingConfig,
    state: TrainingState | None = None,
    team: Team = ALONE,
) -> Iterator[EpochResult]:
    """Train what the method lets learn; when the last result has been taken, the model holds the best epoch.

    The best epoch is the one with the highest `metrics.selection_score` in validation.

    Args:
        model: keeps evaluation mode throughout, as nothing in it behaves differently in training.
        train: photographs to learn from.
        validation: photographs to choose the epoch by.
        objective: the loss for the training photographs' counts, and how they are drawn.
        config: the knobs.
        state: where each finished epoch is kept. After a kill, a training that finds its state there repeats the results
            that it has, goes on with the next epoch, and ends with the weights that it would have had anyway.
        team: the processes that train together; every member runs this and gets the same results.

    Raises:
        BadSettings: the loss became infinite, or batches are too small for every member to get a photograph.
    """
    learner = _Learner(model.eval(), objective, config, photos=len(train), team=team)
    results = learner.resume(state) if state else []
    yield from results
    for epoch in range(len(results) + 1, config.epochs + 1):
        if results and epoch - 1 - _best(results).epoch >= config.patience:
            break
        started = time.monotonic()
        train_loss = learner.train_one_epoch(train)
        result = _judge(model, validation, objective, config, results, train_loss, learner.learning_rate, team)
        result = result.model_copy(update={"seconds": time.monotonic() - started})
        if result.is_best:
            learner.keep_best()
        results.append(result)
        if state and team.is_first:
            learner.save(state, results)
        yield result
    learner.restore_best()


def _best(results: Sequence[EpochResult]) -> EpochResult:
    return [one for one in results if one.is_best][-1]


def _judge(
    model: FundusVit,
    validation: Feed,
    objective: Objective,
    config: TrainingConfig,
    earlier: Sequence[EpochResult],
    train_loss: float,
    learning_rate: float,
    team: Team,
) -> EpochResult:
    """How the validation photographs are read now."""
    truth = validation.condition_indices
    logits = mask_unlearnt(read_all(model, validation, precision=config.precision, team=team), objective.counts)
    # What the logits contain of the class shares is no evidence.
    logits = logits - torch.tensor(objective.contained_log_prior)
    probabilities = logits.softmax(dim=1).double().numpy()
    measured = metrics.measure_once(truth, probabilities, [str(place) for place in range(probabilities.shape[1])])
    score = metrics.selection_score(measured)
    return EpochResult(
        epoch=len(earlier) + 1,
        epochs=config.epochs,
        train_loss=train_loss,
        validation_loss=float(functional.cross_entropy(logits, torch.from_numpy(truth))),
        balanced_accuracy=measured["balanced_accuracy"],
        score=score,
        learning_rate=learning_rate,
        seconds=0.0,
        is_best=not earlier or score > _best(earlier).score,
    )


class _Learner:
    """What changes from step to step: the weights that learn, the optimizer, the random streams, the step."""

    def __init__(self, model: FundusVit, objective: Objective, config: TrainingConfig, *, photos: int, team: Team) -> None:
        names = set(select_trainable(model, config.method))
        self.model, self.objective, self.config = model, objective, config
        self.learning = {name: parameter for name, parameter in model.named_parameters() if name in names}
        self.optimizer = torch.optim.AdamW(_groups(self.learning, model.depth, config), lr=config.learning_rate)
        self.rng, self.generator = np.random.default_rng(config.seed), torch.Generator().manual_seed(config.seed)
        self.step, self.batches_per_epoch = 0, -(-photos // config.batch_size)
        self.best, self.team = self._copy(), team
        if photos // self.batches_per_epoch < team.size:
            raise BadSettings(f"batch_size {config.batch_size} leaves some of {team.size} processes without photographs: take a larger one")

    @property
    def learning_rate(self) -> float:
        """The rate of the next step."""
        return learning_rate_at(
            self.step,
            peak=self.config.learning_rate,
            warmup_steps=round(self.config.warmup_epochs * self.batches_per_epoch),
            total_steps=self.config.epochs * self.batches_per_epoch,
        )

    def keep_best(self) -> None:
        """Remember the weights that learn as they are now; the frozen ones never change."""
        self.best = self._copy()

    def restore_best(self) -> None:
        """Put the remembered weights into the model."""
        self.model.load_state_dict(self.best, strict=False)

    def train_one_epoch(self, train: Feed) -> float:
        """As many photographs as there are, in a new order; the mean loss."""
        order = self._draw(train.condition_indices)
        losses = [self._train_one_batch(train, np.sort(chosen)) for chosen in np.array_split(order, self.batches_per_epoch)]
        return float(np.mean(losses))

    def save(self, state: TrainingState, results: Sequence[EpochResult]) -> None:
        """Keep everything that the next epoch depends on."""
        moments = self.optimizer.state_dict()["state"]
        tensors = {f"learnt/{name}": value.detach() for name, value in self.learning.items()}
        tensors |= {f"best/{name}": value for name, value in self.best.items()}
        tensors |= {f"moment/{index}/{key}": value for index, one in moments.items() for key, value in one.items()}
        tensors["generator"] = self.generator.get_state()
        facts = {"step": self.step, "rng": self.rng.bit_generator.state, "results": [one.model_dump() for one in results]}
        state.save(tensors, facts)

    def resume(self, state: TrainingState) -> list[EpochResult]:
        """Take up where a killed training stopped; the results of its epochs, none when there is no state."""
        found = state.load()
        if found is None:
            return []
        tensors, facts = found
        with torch.no_grad():
            for name, parameter in self.learning.items():
                parameter.copy_(tensors[f"learnt/{name}"])
        self.best = {name: tensors[f"best/{name}"] for name in self.learning}
        moments: dict[int, dict[str, torch.Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith("moment/"):
                _, index, name = key.split("/")
                moments.setdefault(int(index), {})[name] = value
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": moments})
        self.generator.set_state(tensors["generator"])
        self.rng.bit_generator.state = facts["rng"]
        self.step = facts["step"]
        return [EpochResult.model_validate(one) for one in facts["results"]]

    def _copy(self) -> dict[str, torch.Tensor]:
        return {name: parameter.detach().clone() for name, parameter in self.learning.items()}

    def _draw(self, condition_indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Positions of the photographs of an epoch: each once, or rare labels more often."""
        if self.objective.sampling == "natural":
            return self.rng.permutation(len(condition_indices))
        shares, counts = np.array(self.objective.drawn_shares), np.maximum(self.objective.counts, 1)
        chances = (shares / counts)[condition_indices]
        return self.rng.choice(len(condition_indices), size=len(condition_indices), p=chances / chances.sum())

    def _train_one_batch(self, train: Feed, chosen: NDArray[np.int64]) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate * group["scale"]
        part = self.team.part_of(len(chosen))
        own = chosen[part]
        with autocast(self.model, self.config.precision):
            logits = train.vary(self.model, chosen, self.generator, part=part).float()
        # The mean over the batch is the sum of the members' means, each by its share.
        share = len(own) / len(chosen)
        loss = self.objective(logits, torch.from_numpy(train.condition_indices[own]).to(logits.device)) * share
        whole = self.team.sum(loss.detach().clone())
        if not whole.isfinite():
            raise BadSettings(f"training diverged at learning rate {self.config.learning_rate:g}: take a smaller one")
        self.optimizer.zero_grad()
        loss.backward()
        self.team.sum_gradients(self.learning.values())
        nn.utils.clip_grad_norm_(self.learning.values(), _LARGEST_GRADIENT)
        self.optimizer.step()
        self.step += 1
        return float(whole)


def _groups(learning: Mapping[str, nn.Parameter], depth: int, config: TrainingConfig) -> list[dict[str, object]]:
    """Parameters by weight decay and by how deep they lie.

    Norms, biases and scales have one dimension; pulling them to zero would only fight the data. With `full`, each block
    below the head learns slower by `layer_decay` (Clark et al., ICLR 2020; He et al., CVPR 2022), as it has less to unlearn.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in learning.items():
        scale = config.layer_decay ** _blocks_above(name, depth) if config.method == "full" else 1.0
        groups.setdefault((config.weight_decay if parameter.ndim > 1 else 0.0, scale), []).append(parameter)
    return [{"params": members, "weight_decay": decay, "scale": scale} for (decay, scale), members in groups.items()]


def _blocks_above(name: str, depth: int) -> int:
    """How many learning steps lie between a parameter and the logits: 0 for head and last norm."""
    if name.startswith("trunk.blocks."):
        return depth - int(name.split(".")[2])
    return 0 if name.startswith(("head.", "trunk.fc_norm.", "trunk.norm.")) else depth + 1
