"""The forward pass by torch itself: in single precision, or in half of it where this machine is faster that way."""

import copy
import time

import torch
from torch import nn

from eye_dx_core.inference.engines.port import Answer
from eye_dx_core.inference.evidence import read_tokens
from eye_dx_core.model.vit import FundusVit
from eye_dx_core.schema.engine import EngineName

_LARGE = 384
"""Width of a token from which matrices are large enough; the shipped trunk (192) only pays for the conversions."""
_WORTH = 1.2
"""How many times as fast half precision must be: less is within what a busy machine makes of two equal ones."""


class TorchEngine:
    """The port `Engine`, in the precision and on the device of the model's weights."""

    def __init__(self, model: FundusVit) -> None:
        self._model = model
        self.name = EngineName.TORCH_BFLOAT16 if model.head.weight.dtype is torch.bfloat16 else EngineName.TORCH_FLOAT32

    @torch.inference_mode()
    def read(self, batch: torch.Tensor) -> Answer:
        """See the port."""
        weight = self._model.head.weight
        if weight.is_cuda:
            batch = batch.pin_memory()  # without it, the copy would wait for the card to be idle
        tokens = read_tokens(self._model, batch.to(weight.device, weight.dtype, non_blocking=True))
        pooled = tokens.late[:, self._model.trunk.num_prefix_tokens :].mean(dim=1)
        return Answer(self._model.logits_from_pooled(pooled).float().cpu(), pooled.float().cpu(), tokens)


def place(model: FundusVit, *, dtype: torch.dtype, device: torch.device) -> FundusVit:
    """The model with weights of that type on that device; the given one where nothing changes, else a twin beside it."""
    weight = model.head.weight
    if (weight.dtype, weight.device.type) == (dtype, device.type):
        return model
    # Copying through a list of finished weights never holds a second set in single precision.
    weights = {id(one): nn.Parameter(one.detach().to(device, dtype), requires_grad=False) for one in model.parameters()}
    return copy.deepcopy(model, memo=weights).eval()


def best_dtype(model: FundusVit, device: torch.device) -> torch.dtype:
    """The type of weights with which the model reads fastest on a device; on a CPU it is measured on one of its blocks."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    if model.dim < _LARGE or not torch.ops.mkldnn._is_mkldnn_bf16_supported():  # noqa: SLF001 - torch has no public name for it
        return torch.float32
    single, half = _block_seconds(model, torch.float32, torch.bfloat16)
    return torch.bfloat16 if single >= _WORTH * half else torch.float32


@torch.inference_mode()
def _block_seconds(model: FundusVit, *dtypes: torch.dtype, photos: int = 2, repeats: int = 3) -> list[float]:
    """The best time of the model's last block for each type. They take turns, so that whoever disturbs them disturbs all."""
    runners = [
        (copy.deepcopy(model.trunk.blocks[-1]).to(dtype), torch.ones(photos, model.token_count, model.dim, dtype=dtype)) for dtype in dtypes
    ]
    best = [float("inf")] * len(runners)
    for _ in range(1 + repeats):  # the first one warms up, and is never the best
        for place_of, (block, tokens) in enumerate(runners):
            start = time.perf_counter()
            block(tokens)
            best[place_of] = min(best[place_of], time.perf_counter() - start)
    return best
