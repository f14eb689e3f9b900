"""Which numbers the trunk computes with: half the bits where the machine is faster with them and the trunk is large."""

from contextlib import AbstractContextManager
from typing import Literal

import torch

from eye_dx_core.model.vit import FundusVit

Precision = Literal["auto", "float32", "bfloat16"]
_LARGE = 384
"""Width of a token from which matrices are large enough; the shipped trunk (192) only pays for the conversions."""


def autocast(model: FundusVit, precision: Precision) -> AbstractContextManager[object]:
    """The context in which the model's forward pass runs; weights, gradients and optimizer stay in single precision."""
    device = next(model.parameters()).device.type
    use = precision == "bfloat16" or (precision == "auto" and model.dim >= _LARGE and _multiplies_bfloat16(device))
    return torch.autocast(device, dtype=torch.bfloat16, enabled=use)


def _multiplies_bfloat16(device: str) -> bool:
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # Without these instructions bfloat16 is emulated, and slower than single precision.
    known = (getattr(torch.cpu, name, None) for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"))
    return any(is_supported is not None and is_supported() for is_supported in known)
