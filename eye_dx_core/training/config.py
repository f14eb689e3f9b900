"""The knobs of fine-tuning."""

from typing import Literal

from pydantic import Field

from eye_dx_core.dataset.augment import Augmentation
from eye_dx_core.model.trainable import Method
from eye_dx_core.schema.frozen import Frozen


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
    loss: Literal["balanced_softmax", "cross_entropy"] = "balanced_softmax"
    weight_decay: float = Field(default=0.05, ge=0)
    warmup_epochs: float = Field(default=1, ge=0)
    patience: int = Field(default=20, ge=1)
    """Epochs without a better validation score before training stops."""
    augmentation: Augmentation = Augmentation()
