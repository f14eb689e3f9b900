"""The knobs of fine-tuning."""

from collections.abc import Mapping
from typing import Literal

from pydantic import Field, ValidationError

from eye_dx_core.dataset.augment import Augmentation
from eye_dx_core.errors import BadSettings
from eye_dx_core.model.trainable import Method
from eye_dx_core.schema.frozen import Frozen
from eye_dx_core.training.losses import Loss, Sampling


class TrainingConfig(Frozen):
    """Defaults are those of the original command line where it has them."""

    method: Method = "adapters"
    epochs: int = Field(default=100, ge=1)
    """More cost time and, past the early stop, bring nothing."""
    batch_size: int = Field(default=16, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    """Peak of the schedule. Adapters and head bear 1e-3; `full` wants a tenth of it or less."""
    seed: int = 0
    image_size: int | None = Field(default=None, ge=16)
    """None takes what the trunk was pre-trained on."""
    bottleneck: int = Field(default=32, ge=1)
    """Width of the adapters: wider learns more and needs more photographs."""
    loss: Literal["auto"] | Loss = "auto"
    """`auto` takes what the imbalance report recommends for the training photographs."""
    sampling: Literal["auto"] | Sampling = "auto"
    """How photographs are drawn: `natural` is one pass over all; the others draw rare labels more often."""
    last_blocks: int = Field(default=4, ge=1)
    """With `adapters-last-k`: blocks that hold adapters. The others are computed once, so fewer is faster."""
    views: int = Field(default=4, ge=1)
    """With `adapters-last-k` and `probe`: variants of each photograph that are kept; more cost disk and cost time once."""
    layer_decay: float = Field(default=0.65, gt=0, le=1)
    """With `full`: how much slower each block learns than the one above it; 0.65 is RETFound's."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """`auto` takes bfloat16 where the machine multiplies it in hardware and the trunk is large enough to gain from it."""
    deployment_prior: dict[str, float] | None = None
    """Label → how common it is among those who will be screened, such as {"N": 0.9, "D": 0.1}; labels left out share what is
    missing to 1. None counts all labels as equally common, which finds more disease and alarms more often."""
    weight_decay: float = Field(default=0.05, ge=0)
    warmup_epochs: float = Field(default=1, ge=0)
    patience: int = Field(default=20, ge=1)
    """Epochs without a better validation score before training stops."""
    augmentation: Augmentation = Augmentation()


def parse_config(values: Mapping[str, object]) -> TrainingConfig:
    """Knobs as a command line or a launchpad gives them.

    Raises:
        BadSettings: naming each knob that cannot be, and what it may be.
    """
    try:
        return TrainingConfig.model_validate(values)
    except ValidationError as error:
        wrong = "; ".join(f"{one['loc'][0]}: {one['msg']}" for one in error.errors())
        raise BadSettings(f"training cannot be configured so: {wrong}") from None
