"""Where the model saw what it concluded: a map over patches, kept only if the conclusion depends on its strongest part."""

from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from eye_dx_core.inference.deletion import deletion_scores, is_better_than_chance
from eye_dx_core.inference.zones import Map
from eye_dx_core.model.vit import FundusVit
from eye_dx_core.schema.diagnosis import EvidenceMap

_HIDING_DEPTH = 2 / 3
_BLACK, _LEAST_LIT = 16, 0.95


@dataclass(frozen=True)
class Tokens:
    """What a forward pass can leave behind for the evidence: the tokens (photo, 1 + patch, dim) at two heights of the trunk."""

    early: torch.Tensor
    """As they enter the block before which patches are hidden."""
    late: torch.Tensor
    """As the pool takes them."""

    def of(self, photos: list[int], weight: torch.Tensor) -> "Tokens":
        """Those of some photographs of the batch, in the precision and on the device of a model's weights."""
        return Tokens(self.early[photos].to(weight), self.late[photos].to(weight))


@torch.no_grad()
def read_tokens(model: FundusVit, batch: torch.Tensor) -> Tokens:
    """One forward pass that keeps what the evidence needs; `model.head(model.pool(tokens.late))` are the logits.

    Args:
        model: in evaluation mode.
        batch: normalised photographs (photo, rgb, size, size).
    """
    late = early = model.tokens_before(batch, depth=hiding_depth(model))
    for block in list(model.trunk.blocks)[hiding_depth(model) :]:
        late = block(late)
    return Tokens(early, model.trunk.norm(late))


def hiding_depth(model: FundusVit) -> int:
    """Position of the block before which patches are hidden, two thirds up the trunk."""
    return round(model.depth * _HIDING_DEPTH)


@torch.no_grad()
def find_evidence(
    model: FundusVit, tokens: Tokens, condition_indices: torch.Tensor, *, squares: NDArray[np.uint8]
) -> tuple[EvidenceMap | None, ...]:
    """Where each photograph's conclusion comes from; None where hiding that place hurts it no more than hiding any other.

    Args:
        model: in evaluation mode.
        tokens: what `read_tokens` kept of the photographs.
        condition_indices: the conclusion of each photograph (photo,).
        squares: the photographs (photo, size, size, rgb), cut to the field of view.
    """
    lit = lit_patches(squares, model.grid[0]).to(tokens.late.device)
    strengths = evidence_strengths(model, tokens.late, condition_indices, lit)
    scores = deletion_scores(
        model, tokens.early, depth=hiding_depth(model), condition_indices=condition_indices, strengths=strengths, lit=lit
    )
    kept = is_better_than_chance(scores, model.head(model.pool(tokens.late)).float(), condition_indices).tolist()
    maps = strengths.reshape(-1, *model.grid).cpu().numpy()
    return tuple(_as_map(one, score) if keeps else None for one, score, keeps in zip(maps, scores.tolist(), kept, strict=True))


def lit_patches(squares: NDArray[np.uint8], grid: int) -> torch.Tensor:
    """Which patches show fundus: (photo, patch). Many cameras cut the field off at two sides, and a model sees the black there too."""
    lit = squares.max(axis=3).reshape(len(squares), grid, squares.shape[1] // grid, grid, -1) > _BLACK
    return torch.from_numpy(lit.mean(axis=(2, 4)) >= _LEAST_LIT).flatten(1)


@torch.no_grad()
def evidence_strengths(model: FundusVit, late: torch.Tensor, condition_indices: torch.Tensor, lit: torch.Tensor) -> torch.Tensor:
    """How strongly each patch speaks for the conclusion, 0 and up, 0 where there is no fundus: (photo, patch).

    The head reads the mean of the patches, so what each of them adds to a logit can be read off: a class activation map (Zhou et
    al., CVPR 2016). It says what a place speaks for, but not whether anything is there. So a patch counts by how far its token
    lies from the photograph's mean token, as far as that is more than usual, times how much more it adds to the conclusion than
    the patch that adds least.

    Args:
        model: in evaluation mode.
        late: tokens as the pool takes them (photo, 1 + patch, dim).
        condition_indices: the conclusion of each photograph (photo,).
        lit: which patches show fundus (photo, patch).
    """
    patches = late[:, 1:].float()  # (photo, patch, dim): the class token has no place
    mean = (patches * lit[..., None]).sum(dim=1, keepdim=True) / lit.sum(dim=1)[:, None, None].clamp(min=1)
    unlike = (patches - mean).norm(dim=-1)
    usual = unlike.masked_fill(~lit, torch.nan).nanmedian(dim=1, keepdim=True).values
    added = (patches @ _direction(model, condition_indices)[..., None])[..., 0]
    least = added.masked_fill(~lit, torch.inf).min(dim=1, keepdim=True).values
    return torch.where(lit, (unlike - usual).clamp(min=0) * (added - least), 0.0)


def _direction(model: FundusVit, condition_indices: torch.Tensor) -> torch.Tensor:
    """Where a token must point to raise the conclusion's logit, (photo, dim); the norm before the head scales, then the head weighs."""
    scale = cast("torch.nn.LayerNorm", model.trunk.fc_norm).weight
    return (model.head.weight[condition_indices] * scale).float()


def _as_map(strengths: Map, deletion_score: float) -> EvidenceMap:
    weights = np.rint(strengths / strengths.max() * 255).astype(int)
    rows, columns = weights.shape
    return EvidenceMap(rows=rows, columns=columns, weights=tuple(weights.flatten().tolist()), deletion_score=deletion_score)
