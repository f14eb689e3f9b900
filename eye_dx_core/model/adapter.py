"""The zero-start bottleneck and the transformer block that holds two of them."""

import torch
from pydantic import Field
from timm.models.vision_transformer import Block
from torch import nn
from torch.nn import functional

from eye_dx_core.schema.frozen import Frozen


class AdapterConfig(Frozen):
    """Shape of the adapters. A wider bottleneck learns more and needs more photographs."""

    bottleneck: int = 32
    last_blocks: int | None = Field(default=None, ge=1)
    """How many blocks, counted from the head, hold adapters; None means all. What lies before the first is a fixed function."""

    def first_block(self, depth: int) -> int:
        """Position of the first block with adapters in a trunk of `depth` blocks."""
        return 0 if self.last_blocks is None else max(0, depth - self.last_blocks)


class Adapter(nn.Module):
    """A residual bottleneck that at first changes nothing: only `up` starts at zero.

    With the scale at zero too, as sometimes seen, every gradient would be zero and the adapter could never learn.
    """

    def __init__(self, dim: int, bottleneck: int) -> None:
        super().__init__()
        self.down = nn.Linear(dim, bottleneck)
        self.up = nn.Linear(bottleneck, dim)
        self.scale = nn.Parameter(torch.ones(dim))
        self.init_weights()

    def init_weights(self) -> None:
        """Go back to the start. timm calls this after it has refilled every linear layer, which would undo the zeros."""
        nn.init.trunc_normal_(self.down.weight, std=0.02)
        nn.init.zeros_(self.down.bias)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)
        nn.init.ones_(self.scale)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens (batch, token, dim) plus what the adapter has learnt to add."""
        hidden = functional.gelu(self.down(tokens))  # (batch, token, bottleneck)
        return tokens + self.scale * self.up(hidden)


class AdaptedBlock(Block):
    """timm's block with an adapter behind each residual sum; the names of the trunk's own weights stay as they are."""

    adapter_attention: Adapter
    adapter_mlp: Adapter

    def add_adapters(self, dim: int, config: AdapterConfig) -> None:
        """Put both adapters in. Not done in the constructor, whose arguments belong to timm and change with it."""
        self.adapter_attention = Adapter(dim, config.bottleneck)
        self.adapter_mlp = Adapter(dim, config.bottleneck)

    # timm hands a mask only where it has one, and a photograph is seen whole; so this fits every version of timm.
    def forward(self, x: torch.Tensor) -> torch.Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """LN → attention → add → adapter → LN → MLP → add → adapter."""
        x = self.adapter_attention(x + self.drop_path1(self.ls1(self.attn(self.norm1(x)))))
        return self.adapter_mlp(x + self.drop_path2(self.ls2(self.mlp(self.norm2(x)))))
