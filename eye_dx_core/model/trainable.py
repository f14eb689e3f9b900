"""Which parameters learn: the head alone, the head and the adapters in all or the last blocks, or everything."""

from typing import Literal

from eye_dx_core.model.vit import FundusVit

Method = Literal["probe", "adapters", "adapters-last-k", "full"]


def select_trainable(model: FundusVit, method: Method) -> tuple[str, ...]:
    """Freeze all other parameters; return the names of those that learn.

    The norm after pooling always learns with the head: masked pre-training has none, so it starts at one and zero.
    """
    for name, parameter in model.named_parameters():
        parameter.requires_grad = _learns(name, method)
    return tuple(name for name, parameter in model.named_parameters() if parameter.requires_grad)


def _learns(name: str, method: Method) -> bool:
    is_head = name.startswith(("head.", "trunk.fc_norm."))
    return method == "full" or is_head or (method in ("adapters", "adapters-last-k") and ".adapter_" in name)
