"""How many photographs are read at once: as many as help, and as memory holds."""

from pathlib import Path

import psutil
import torch

from eye_dx_core.model.vit import FundusVit

_MOST_ON_CPU, _MOST_ON_GPU = 8, 64
"""On a CPU more gain nothing, because the tokens of 8 fill its caches. For a GPU this is a guess that nobody has measured."""
_SHARE_OF_MEMORY = 0.5
_BLOCKS_AT_ONCE = 2
"""A pass holds what one block computes and the tokens at two heights, where evidence is read; a second block's leaves room for those."""
_CGROUP = Path("/sys/fs/cgroup")


def find_batch_size(model: FundusVit) -> int:
    """As many photographs as half of the free memory holds, and not more than help.

    What one of them needs is measured on the model's last block: everything that it computes on its way, as a backward pass keeps it.
    """
    on_gpu = model.head.weight.is_cuda
    available = torch.cuda.mem_get_info(model.head.weight.device)[0] if on_gpu else available_memory()
    per_photo = _kept_by_last_block(model) * _BLOCKS_AT_ONCE
    return max(1, min(_MOST_ON_GPU if on_gpu else _MOST_ON_CPU, int(available * _SHARE_OF_MEMORY / per_photo)))


def available_memory(cgroup: Path = _CGROUP) -> int:
    """Bytes that this process may still take: the machine's, or what a container's limit leaves, whichever is less.

    Beyond its limit, a container is killed without an error that could be caught.
    """
    free = psutil.virtual_memory().available
    try:
        limit, used = ((cgroup / name).read_text().strip() for name in ("memory.max", "memory.current"))
    except OSError:  # no container, or an older kernel
        return free
    return free if limit == "max" else max(0, min(free, int(limit) - int(used)))


def is_out_of_memory(error: Exception) -> bool:
    """Whether something failed for want of memory, so that half as much may work. Torch has a class of its own for GPUs only."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (isinstance(error, RuntimeError) and "allocate memory" in str(error))


def _kept_by_last_block(model: FundusVit) -> int:
    """Bytes of what the last block computes of one photograph."""
    kept: dict[int, int] = {}
    weights = {one.untyped_storage().data_ptr() for one in model.parameters()}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    tokens = model.head.weight.new_zeros(1, model.token_count, model.dim).requires_grad_(True)  # noqa: FBT003 - torch's signature
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        said = model.trunk.blocks[-1](tokens)
    return sum(kept.values()) + said.untyped_storage().nbytes()
