"""The model: a plain timm vision transformer as trunk, adapters in its blocks, a linear head."""

from collections.abc import Callable
from functools import partial
from itertools import count
from typing import NoReturn, cast

import torch
from pydantic import Field
from timm.layers.pos_embed import resample_abs_pos_embed
from timm.models.vision_transformer import Block, VisionTransformer
from torch import nn

from eye_dx_core.model.adapter import AdaptedBlock, AdapterConfig
from eye_dx_core.model.preprocess import Preprocess, check_size
from eye_dx_core.schema.frozen import Frozen

_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class TrunkConfig(Frozen):
    """Shape of a trunk, and the photographs it was pre-trained on. A smaller patch sees finer lesions and costs its square."""

    name: str
    image_size: int = Field(ge=16)
    patch: int = Field(ge=1)
    dim: int = Field(ge=1)
    depth: int = Field(ge=1)
    heads: int = Field(ge=1)
    mlp_ratio: float = 4.0
    layer_scale: float | None = Field(default=None, gt=0)
    """Where the gain of each residual branch starts (`ls1.gamma`, `ls2.gamma` of DINOv2); None for a trunk that has none."""
    mean: tuple[float, float, float] = _IMAGENET_MEAN
    std: tuple[float, float, float] = _IMAGENET_STD

    def preprocess(self, image_size: int | None = None) -> Preprocess:
        """What photographs must go through to fit the trunk."""
        return Preprocess(size=image_size or self.image_size, patch=self.patch, mean=self.mean, std=self.std)


TRUNKS: dict[str, TrunkConfig] = {
    trunk.name: trunk
    for trunk in (
        TrunkConfig(name="small", image_size=224, patch=16, dim=192, depth=6, heads=6),
        TrunkConfig(name="retfound_mae", image_size=224, patch=16, dim=1024, depth=24, heads=16),
        # The shape of timm's vit_large_patch14_dinov2 at the 224 pixels that RETFound was trained and is fine-tuned with.
        TrunkConfig(name="retfound_dinov2", image_size=224, patch=14, dim=1024, depth=24, heads=16, layer_scale=1e-5),
    )
}


class FundusVit(nn.Module):
    """A classifier in three public steps: features, pool, head."""

    def __init__(self, trunk: VisionTransformer, *, dim: int, class_count: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = nn.Linear(dim, class_count)
        # RETFound's head: so small that the first steps do not shake the pretrained features.
        nn.init.trunc_normal_(self.head.weight, std=2e-5)
        nn.init.zeros_(self.head.bias)

    @property
    def grid(self) -> tuple[int, int]:
        """Patches down and across."""
        return cast("tuple[int, int]", self.trunk.patch_embed.grid_size)

    def features(self, batch: torch.Tensor) -> torch.Tensor:
        """A normalised batch (photo, rgb, size, size) to tokens (photo, 1 + patch, dim); the first is the class token."""
        return self.trunk.forward_features(batch)

    @property
    def dim(self) -> int:
        """Width of a token."""
        return self.head.in_features

    @property
    def token_count(self) -> int:
        """Patches and the class token."""
        return self.grid[0] * self.grid[1] + self.trunk.num_prefix_tokens

    @property
    def depth(self) -> int:
        """How many blocks the trunk has, those left out included."""
        return len(self.trunk.blocks)

    @property
    def from_block(self) -> int:
        """Position of the first block that is there; see `build_model`."""
        return sum(isinstance(block, _LeftOut) for block in self.trunk.blocks)

    @torch.no_grad()
    def tokens_before(self, batch: torch.Tensor, *, depth: int) -> torch.Tensor:
        """Tokens (photo, 1 + patch, dim) as they enter the block at `depth`; `depth` 0 is the embedded photograph."""
        tokens = self.trunk.norm_pre(self.trunk._pos_embed(self.trunk.patch_embed(batch)))  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        for block in list(self.trunk.blocks)[:depth]:
            tokens = block(tokens)
        return tokens

    def pool_patches_from(self, tokens: torch.Tensor, *, depth: int) -> torch.Tensor:
        """Tokens that enter the block at `depth` to what `pool_patches` gives: (photo, dim)."""
        for block in list(self.trunk.blocks)[depth:]:
            tokens = block(tokens)
        return self.pool_patches(tokens)

    def logits_from(self, tokens: torch.Tensor, *, depth: int) -> torch.Tensor:
        """The rest of the way: tokens that enter the block at `depth` to logits (photo, class)."""
        return self.logits_from_pooled(self.pool_patches_from(tokens, depth=depth))

    def pool_patches(self, tokens: torch.Tensor) -> torch.Tensor:
        """The mean of the patch tokens before it is normalised: (photo, dim). Nothing in it learns when only the head does."""
        return self.trunk.norm(tokens)[:, self.trunk.num_prefix_tokens :].mean(dim=1)

    def logits_from_pooled(self, pooled: torch.Tensor) -> torch.Tensor:
        """What `pool_patches` gave, (photo, dim), to logits (photo, class)."""
        return self.head(self.trunk.fc_norm(pooled))

    def pool(self, tokens: torch.Tensor) -> torch.Tensor:
        """The mean of the patch tokens, normalised once: (photo, dim)."""
        return self.trunk.forward_head(tokens, pre_logits=True)

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """A normalised batch to logits (photo, class)."""
        return self.head(self.pool(self.features(batch)))


class _LeftOut(nn.Module):
    """In the place of a block that takes no memory, because what it would say is kept."""

    def forward(self, tokens: torch.Tensor) -> NoReturn:
        """Refuse, rather than pass on what the block should have changed."""
        raise RuntimeError("this model was built without its lower blocks: it reads kept tokens (`logits_from`), not photographs")


def build_model(
    trunk: TrunkConfig, *, class_count: int, adapters: AdapterConfig | None = None, image_size: int | None = None, from_block: int = 0
) -> FundusVit:
    """A model with random weights; `load_trunk` or `load_checkpoint` fill them.

    Args:
        trunk: shape of the trunk.
        class_count: how many logits the head gives.
        adapters: what the upper or all blocks hold beside the trunk's weights.
        image_size: of the photographs, in pixels; None takes the trunk's.
        from_block: blocks before it are left out, for training on tokens that are kept; the names of all others stay.

    Raises:
        BadSettings: the patches do not tile the image.
    """
    size = image_size or trunk.image_size
    check_size(size, trunk.patch)
    vit = VisionTransformer(
        img_size=size,
        patch_size=trunk.patch,
        embed_dim=trunk.dim,
        depth=trunk.depth,
        num_heads=trunk.heads,
        mlp_ratio=trunk.mlp_ratio,
        init_values=trunk.layer_scale,
        num_classes=0,
        global_pool="avg",
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        block_fn=_block_builder(trunk, adapters, from_block),  # pyright: ignore[reportArgumentType]
    )
    return FundusVit(vit, dim=trunk.dim, class_count=class_count)


def _block_builder(trunk: TrunkConfig, adapters: AdapterConfig | None, from_block: int) -> Callable[..., nn.Module]:
    """What timm calls for one block after the other: those left out, plain ones, then those that hold adapters."""
    first = trunk.depth if adapters is None else adapters.first_block(trunk.depth)
    position = count()

    def build(*args: object, **kwargs: object) -> nn.Module:
        place = next(position)
        if place < from_block:
            return _LeftOut()
        if place < first or adapters is None:
            return Block(*args, **kwargs)  # pyright: ignore[reportArgumentType]
        block = AdaptedBlock(*args, **kwargs)  # pyright: ignore[reportArgumentType]
        block.add_adapters(trunk.dim, adapters)
        return block

    return build


def resample_positions(positions: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """Position embeddings (1, 1 + patch, dim) for another grid, bicubic without antialiasing as RETFound does it."""
    return resample_abs_pos_embed(positions, list(grid), num_prefix_tokens=1, interpolation="bicubic", antialias=False)
