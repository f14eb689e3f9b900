"""Which parameters learn: the head alone, the head and the adapters in all or the last blocks, or everything."""

from typing import Literal

from eye_dx_core.model.vit import FundusVit

Method = Literal["probe", "adapters", "adapters-last-k", "full"]


def names_that_learn(model: FundusVit, method: Method) -> tuple[str, ...]:
    """The parameters that a method changes."""
    return tuple(name for name, _ in model.named_parameters() if _learns(name, method))


def select_trainable(model: FundusVit, method: Method) -> tuple[str, ...]:
    """Freeze all other parameters; return the names of those that learn.

    The norm after pooling always learns with the head: masked pre-training has none, so it starts at one and zero.
    """
    names = names_that_learn(model, method)
    for name, parameter in model.named_parameters():
        parameter.requires_grad = name in names
    return names


def _learns(name: str, method: Method) -> bool:
    is_head = name.startswith(("head.", "trunk.fc_norm."))
    return method == "full" or is_head or (method in ("adapters", "adapters-last-k") and ".adapter_" in name)
