"""The layouts in which others publish the weights of a trunk, and their translation into ours; pure, no files.

Ours is plain timm's without what comes after the blocks, except for the norm behind our pooling: `cls_token`, `pos_embed`,
`patch_embed.proj.*`, `blocks.N.*`, `fc_norm.*`.
"""

import math
import re
from collections import defaultdict
from collections.abc import Collection, Iterable
from itertools import pairwise
from typing import Literal, NamedTuple

import torch

from eye_dx_core.errors import BadCheckpoint
from eye_dx_core.model.vit import TRUNKS, TrunkConfig

Weights = dict[str, torch.Tensor]
Shapes = dict[str, torch.Size]
LayoutKind = Literal["encoder", "retfound_mae", "retfound_dinov2", "fine_tuned", "timm"]

# What a layout carries beyond the trunk, by the beginning of its keys. The final norm goes too: it belongs to the class token
# or to tokens before pooling, and ours pools first and has `fc_norm` behind it. A head goes even when its size would fit: equal
# counts of classes are no sign of equal classes in equal order.
_DROPPED: dict[LayoutKind, tuple[str, ...]] = {
    "encoder": (),
    "retfound_mae": ("mask_token", "decoder_", "norm."),
    "retfound_dinov2": ("backbone.mask_token", "backbone.norm.", "dino_head.", "ibot_head."),
    "fine_tuned": ("head.", "norm."),
    "timm": ("head.", "norm.", "mask_token"),
}
# DINOv2's names for a gated MLP, under which a plain one may lie; a real gated one is then refused by its shapes.
_RENAMED = (("mlp.w12.", "mlp.fc1."), ("mlp.w3.", "mlp.fc2."))
_FC_NORM = frozenset({"fc_norm.weight", "fc_norm.bias"})
_NO_SHAPE = torch.Size()

_NON_COMMERCIAL = "CC BY-NC 4.0, as RETFound's authors release it: not for commercial use"
LICENCE_NOTES: dict[LayoutKind, str] = {
    "encoder": "not stated in the file: see where it was published",
    "retfound_mae": _NON_COMMERCIAL,
    "retfound_dinov2": _NON_COMMERCIAL,
    "fine_tuned": f"that of the weights it was fine-tuned from; if these were RETFound's: {_NON_COMMERCIAL}",
    "timm": "not stated in the file: see where it was published",
}


def detect_layout(keys: Collection[str], *, found_under: str | None = None) -> LayoutKind:
    """Tell by its keys who wrote a file.

    `retfound_mae` has the decoder of masked pre-training, `retfound_dinov2` (RETFound issue 46) a `backbone.` beside its two
    heads. `fine_tuned` has a head behind a `fc_norm`, or a head under `model`, which is where RETFound's `main_finetune.py`
    saves; `timm` has the final `norm` or a head, `encoder` nothing beyond the trunk.

    Args:
        keys: the names of the weights.
        found_under: the key of the file under which they lie, if under one.
    """

    def has(*beginnings: str) -> bool:
        return any(key.startswith(beginnings) for key in keys)

    if has("backbone."):
        return "retfound_dinov2"
    if has("decoder_"):
        return "retfound_mae"
    if has("head.") and (has("fc_norm.") or found_under == "model"):
        return "fine_tuned"
    return "timm" if has(*_DROPPED["timm"]) else "encoder"


def to_trunk_keys(weights: Weights, kind: LayoutKind) -> Weights:
    """Drop what the layout is known to carry beyond the trunk, and give the rest our names; an unknown key stays to be refused.

    Raises:
        BadCheckpoint: two keys would get one name.
    """
    sources: dict[str, list[str]] = defaultdict(list)
    for key in weights:
        if not key.startswith(_DROPPED[kind]):
            sources[_our_name(key)].append(key)
    twice = [key for keys in sources.values() if len(keys) > 1 for key in keys]
    if twice:
        raise BadCheckpoint(f"these weights come twice, under an old and a new name: {fold_keys(twice)}")
    return {name: weights[key] for name, (key,) in sources.items()}


def shapes_of(weights: Weights) -> Shapes:
    """The shape of each weight."""
    return {key: value.shape for key, value in weights.items()}


class Traces(NamedTuple):
    """What the shapes of its weights tell of a trunk; attention heads leave no trace."""

    dim: int
    patch: int
    depth: int
    mlp_dim: int
    has_layer_scale: bool

    def __str__(self) -> str:
        scale = "with" if self.has_layer_scale else "without"
        return f"width {self.dim}, patch {self.patch}, {self.depth} blocks {scale} layer scale, MLP width {self.mlp_dim}"


def traces_of(shapes: Shapes) -> Traces | None:
    """Read the traces off weights in our names; None if they are of no vision transformer."""
    patches, inner = shapes.get("patch_embed.proj.weight", _NO_SHAPE), shapes.get("blocks.0.mlp.fc2.weight", _NO_SHAPE)
    if len(patches) != 4 or len(inner) != 2:
        return None
    depth = len({key.split(".")[1] for key in shapes if key.startswith("blocks.")})
    return Traces(patches[0], patches[-1], depth, inner[1], "blocks.0.ls1.gamma" in shapes)


def find_trunk(shapes: Shapes) -> TrunkConfig | None:
    """The entry of `TRUNKS` that weights in our names were made for."""
    seen = traces_of(shapes)
    return next((trunk for trunk in TRUNKS.values() if seen == _traces_of_trunk(trunk)), None)


def check_weights(weights: Weights, expected: Shapes) -> None:
    """Account for every key and shape; only positions may be those of another square grid, and `fc_norm` may be absent as a whole.

    Args:
        weights: the file's, in our names.
        expected: shapes of the trunk's weights, without adapters.

    Raises:
        BadCheckpoint: naming every missing and every unexpected key, or every wrong shape.
    """
    optional = frozenset[str]() if _FC_NORM & set(weights) else _FC_NORM
    missing, unexpected = set(expected) - optional - set(weights), set(weights) - set(expected)
    if not set(expected) & set(weights):
        raise BadCheckpoint(f"nothing would be loaded: all weights of the trunk are missing; unexpected {fold_keys(unexpected)}")
    faults: dict[str, list[str]] = defaultdict(list)
    for key, value in weights.items():
        if key in expected and (fault := _fault(key, value, expected[key])):
            faults[fault].append(key)
    if not (missing or unexpected or faults):
        return
    parts = [f"{name} {fold_keys(keys)}" for name, keys in (("missing", missing), ("unexpected", unexpected)) if keys]
    parts += [f"{fold_keys(keys)} {fault}" for fault, keys in faults.items()]
    made_for = find_trunk(shapes_of(weights))
    hint = "" if made_for is None or made_for == find_trunk(expected) else f"; they look like those of the trunk {made_for.name}"
    raise BadCheckpoint(f"weights do not fit the trunk: {'; '.join(parts)}{hint}")


def fold_keys(keys: Iterable[str]) -> str:
    """Every key by name, but those that differ only in their first number as one: `blocks.{0-22,24}.attn.qkv.weight`."""
    numbers: dict[tuple[str, str], set[int]] = defaultdict(set)
    folded: list[str] = []
    for key in keys:
        match = re.fullmatch(r"(.*?\.)(\d{1,9})(\..*)", key)
        if match is None:
            folded.append(key)
        else:
            numbers[match[1], match[3]].add(int(match[2]))
    folded += [f"{before}{_ranges(found)}{after}" for (before, after), found in numbers.items()]
    return ", ".join(sorted(folded)) or "nothing"


def _our_name(key: str) -> str:
    key = key.removeprefix("backbone.")
    for theirs, ours in _RENAMED:
        key = key.replace(theirs, ours)
    return key


def _traces_of_trunk(trunk: TrunkConfig) -> Traces:
    return Traces(trunk.dim, trunk.patch, trunk.depth, int(trunk.dim * trunk.mlp_ratio), trunk.layer_scale is not None)


def _fault(key: str, value: torch.Tensor, expected: torch.Size) -> str | None:
    if not value.is_floating_point():
        return f"holds {value.dtype} and not floating point numbers"
    shape = value.shape
    if key == "pos_embed" and len(shape) == 3 and (shape[0], shape[2]) == (expected[0], expected[2]):
        patches = shape[1] - 1
        is_square = patches > 0 and math.isqrt(patches) ** 2 == patches
        return None if is_square else f"has {shape[1]} positions, which are no class token and a square grid"
    return None if shape == expected else f"is {tuple(shape)} instead of {tuple(expected)}"


def _ranges(numbers: set[int]) -> str:
    """`3` for one number, `{0-2,5}` for more."""
    ordered = sorted(numbers)
    if len(ordered) == 1:
        return str(ordered[0])
    starts = [ordered[0], *(after for before, after in pairwise(ordered) if after - before > 1)]
    ends = [*(before for before, after in pairwise(ordered) if after - before > 1), ordered[-1]]
    return "{" + ",".join(str(start) if start == end else f"{start}-{end}" for start, end in zip(starts, ends, strict=True)) + "}"
