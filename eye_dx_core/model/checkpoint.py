"""A checkpoint folder: weights as safetensors and a card that says all that is needed to read photographs with them.

`model.safetensors` holds what the method changed, some megabytes, and what the training photographs look like; beside it lies the
trunk that it was learnt for, as a link to a file that all checkpoints share. After `full`, the one file holds everything.
"""

import json
import math
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from pydantic import AwareDatetime, Field, JsonValue, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from eye_dx_core.errors import BadCheckpoint, BadSettings
from eye_dx_core.model.adapter import AdapterConfig
from eye_dx_core.model.preprocess import Preprocess
from eye_dx_core.model.pretrained import file_sha256, load_trunk
from eye_dx_core.model.reference import Reference, take_reference
from eye_dx_core.model.trainable import Method, names_that_learn
from eye_dx_core.model.vit import FundusVit, TrunkConfig, build_model
from eye_dx_core.schema.condition import LabelSet
from eye_dx_core.schema.frozen import Frozen

WEIGHTS_FILE, CARD_FILE, TRUNK_FILE = "model.safetensors", "card.json", "trunk.safetensors"


class CheckpointCard(Frozen):
    """What travels with the weights.

    The answer to a photograph is `softmax((logits - log_prior) / temperature + bias + log p)`, p being the deployment prior.
    """

    format: Literal["eye-dx-checkpoint/1"] = "eye-dx-checkpoint/1"
    model_name: str
    trunk: TrunkConfig
    adapters: AdapterConfig | None
    label_set: LabelSet
    preprocess: Preprocess
    method: Method
    trunk_sha256: str
    """Of the trunk's file, which the checkpoint needs unless the method was `full`."""
    data_fingerprint: str
    splits_fingerprint: str
    training: dict[str, JsonValue]
    training_counts: tuple[int, ...]
    """Training photographs per label, in label-set order."""
    temperature: float = Field(gt=0)
    bias: tuple[float, ...]
    """Added to the evidence of each label, by what the calibration split showed."""
    log_prior: tuple[float, ...]
    """What the logits still contain of the training counts: zeros after balanced softmax, log shares after cross-entropy."""
    deployment_prior: tuple[float, ...] | None = None
    """How common each label is where the model is used; None counts all as equally common."""
    uncertain_below: float = Field(ge=0, le=1)
    """A confidence under this is answered with `uncertain`."""
    set_thresholds: tuple[float | None, ...]
    """Probability from which each label belongs to the set of answers that cannot be ruled out; None where there was nothing
    to learn it from. Of a label's photographs, at least `set_coverage` have it in their set."""
    set_coverage: float = Field(gt=0, lt=1)
    metrics: dict[str, float]
    created_at: AwareDatetime
    library_versions: dict[str, str]
    weights_sha256: str = ""
    """Filled by `save_checkpoint`."""


@dataclass(frozen=True)
class Checkpoint:
    """A model in evaluation mode, its card, the hash of its weights, and what it was trained on, as it sees it."""

    model: FundusVit
    card: CheckpointCard
    sha256: str
    reference: Reference | None = None
    """None in a checkpoint from before there was one, or where too few photographs were held out."""

    def probabilities(self, logits: torch.Tensor, *, deployment_prior: tuple[float, ...] | None = None) -> torch.Tensor:
        """Logits (photo, class) to calibrated probabilities, under the card's prior unless another one is given."""
        card = self.card
        return calibrated(
            mask_unlearnt(logits, card.training_counts),
            temperature=card.temperature,
            bias=card.bias,
            log_prior=card.log_prior,
            deployment_prior=deployment_prior or card.deployment_prior,
        )


def mask_unlearnt(logits: torch.Tensor, training_counts: tuple[int, ...]) -> torch.Tensor:
    """Logits (photo, class) in which a label that had no photograph to learn from can never be the answer."""
    return logits.masked_fill(torch.tensor([count == 0 for count in training_counts], device=logits.device), -math.inf)


def calibrated(
    logits: torch.Tensor,
    *,
    temperature: float,
    bias: tuple[float, ...],
    log_prior: tuple[float, ...],
    deployment_prior: tuple[float, ...] | None = None,
) -> torch.Tensor:
    """The rule of `CheckpointCard`, on plain numbers."""
    evidence = (logits - logits.new_tensor(log_prior)) / temperature + logits.new_tensor(bias)
    if deployment_prior is not None:
        evidence = evidence + logits.new_tensor([math.log(share) if share else -math.inf for share in deployment_prior])
    return evidence.softmax(dim=-1)


def save_checkpoint(folder: Path, model: FundusVit, card: CheckpointCard, *, trunk: Path | None, reference: Reference | None = None) -> str:
    """Write weights and card, each complete or not at all; return the hash of the weights.

    Args:
        folder: made if need be.
        model: what was learnt.
        card: what is known of it; its method says which weights were learnt.
        trunk: the file that the frozen weights came from; None writes all weights.
        reference: what the training photographs look like; it lies among the weights, so that their hash speaks for it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kept = set(model.state_dict() if trunk is None else names_that_learn(model, card.method))
    weights = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items() if name in kept}
    weights |= reference.tensors() if reference else {}
    if trunk is not None:
        _link(trunk, folder / TRUNK_FILE)
    sha256 = _write(folder / WEIGHTS_FILE, save(weights))
    _write(folder / CARD_FILE, card.model_copy(update={"weights_sha256": sha256}).model_dump_json(indent=2).encode())
    return sha256


def load_checkpoint(folder: Path, *, trunk: Path | None = None) -> Checkpoint:
    """Read a checkpoint folder into a model in evaluation mode.

    Args:
        folder: holds weights and card.
        trunk: the file of the frozen weights; None takes the one in the folder.

    Raises:
        BadCheckpoint: a file is missing or damaged, files do not belong together, or a key is missing or unknown.
    """
    card = _load_card(folder / CARD_FILE)
    try:
        weights = load_file(folder / WEIGHTS_FILE)
        sha256 = file_sha256(folder / WEIGHTS_FILE)
    except (OSError, SafetensorError) as error:
        raise BadCheckpoint(f"{WEIGHTS_FILE} is missing or damaged ({type(error).__name__})") from None
    if sha256 != card.weights_sha256:
        raise BadCheckpoint(f"{WEIGHTS_FILE} is not the file that {CARD_FILE} was written for")
    reference = take_reference(weights, dim=card.trunk.dim)
    model = build_model(card.trunk, class_count=len(card.label_set.codes), adapters=card.adapters, image_size=card.preprocess.size)
    if weights.keys() == set(names_that_learn(model, card.method)) and card.method != "full":
        _fill_trunk(model, trunk or folder / TRUNK_FILE, card)
        weights = model.state_dict() | weights
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise BadCheckpoint(f"weights do not fit the card: {error}") from None
    return Checkpoint(model.eval(), card, sha256, reference)


def _fill_trunk(model: FundusVit, trunk: Path, card: CheckpointCard) -> None:
    """The frozen weights, from the very file that the others were learnt for."""
    needed = f"the trunk {card.trunk.name}, {card.trunk_sha256[:12]}…"
    if not trunk.is_file():
        raise BadCheckpoint(f"{TRUNK_FILE} is missing: the checkpoint needs {needed}; copy it beside {WEIGHTS_FILE}")
    if file_sha256(trunk) != card.trunk_sha256:
        raise BadCheckpoint(f"{TRUNK_FILE} is another one than {needed}, for which the checkpoint was trained")
    load_trunk(model, trunk)


def _link(source: Path, target: Path) -> None:
    """A second name for a file that is never changed, so that many checkpoints cost one trunk; a copy on another disk."""
    beside = target.with_suffix(".part")
    beside.unlink(missing_ok=True)
    try:
        os.link(source.resolve(), beside)
    except OSError:
        shutil.copyfile(source, beside)
    beside.replace(target)


def _load_card(path: Path) -> CheckpointCard:
    try:
        return CheckpointCard.model_validate(json.loads(path.read_bytes()))
    except (OSError, ValueError, ValidationError, BadSettings) as error:
        raise BadCheckpoint(f"{path.name} is missing or no checkpoint card ({type(error).__name__})") from None


def _write(path: Path, content: bytes) -> str:
    """Write beside the target and move it there, so that a killed process leaves the old file or the new one."""
    beside = path.with_suffix(".part")
    beside.write_bytes(content)
    sha256 = file_sha256(beside)
    beside.replace(path)
    return sha256
