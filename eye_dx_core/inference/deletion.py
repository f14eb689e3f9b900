"""Whether a conclusion depends on the places that a map points to: they are hidden, and the logit must fall."""

import torch

from eye_dx_core.inference.zones import inside_field
from eye_dx_core.model.vit import FundusVit

_SHARE = 5
"""As many patches are hidden as one fifth of a whole field."""
_LEAST_SHARE_OF_LEAD, _LEAST_SCORE = 0.05, 0.2
"""Fifths that are chosen by chance differ from the even one by 0.03 to 0.05 of the lead (root mean square, two checkpoints), and 5 to 7
of 100 maps that are drawn by chance come above this. It is a share of the lead because the logits of a model that was trained for
longer lie farther apart; where the lead is small, a fifth of a logit is asked for."""


@torch.no_grad()
def deletion_scores(
    model: FundusVit, tokens: torch.Tensor, *, depth: int, condition_indices: torch.Tensor, strengths: torch.Tensor, lit: torch.Tensor
) -> torch.Tensor:
    """By how much more each logit falls when the strongest fifth is hidden than when an even fifth is: (photo,).

    A hidden patch leaves the sequence, so nothing is put in its place that the model could take for a sign of disease; so do all
    patches outside the field, which say nothing. The even fifth takes of every region alike: it costs one pass and says what the
    mean over many fifths that are chosen by chance would say.

    Args:
        model: in evaluation mode.
        tokens: as they enter the block at `depth` (photo, 1 + patch, dim).
        depth: of the block before which patches are hidden.
        condition_indices: the conclusion of each photograph (photo,).
        strengths: the maps that are tested (photo, patch).
        lit: which patches show fundus, and so may be hidden (photo, patch).
    """
    inside = torch.from_numpy(inside_field(model.grid[0])).flatten().to(tokens.device)
    evenly = even_order(model.grid[0]).to(strengths).expand_as(strengths)
    without_strongest, without_any = (
        model.logits_from(_without_first(tokens, order.masked_fill(~lit, -torch.inf), inside), depth=depth)
        .gather(1, condition_indices[:, None])[:, 0]
        .float()
        for order in (strengths, evenly)
    )
    return without_any - without_strongest


def is_better_than_chance(scores: torch.Tensor, logits: torch.Tensor, condition_indices: torch.Tensor) -> torch.Tensor:
    """Whether a score is more than chance gives, measured by how far the conclusion's logit lies above the mean of the others: (photo,).

    Args:
        scores: of `deletion_scores` (photo,).
        logits: of the whole photographs (photo, class).
        condition_indices: the conclusion of each photograph (photo,).
    """
    chosen = logits.gather(1, condition_indices[:, None])[:, 0]
    lead = chosen - (logits.sum(dim=1) - chosen) / (logits.shape[1] - 1)
    return scores > (_LEAST_SHARE_OF_LEAD * lead).clamp(min=_LEAST_SCORE)


def even_order(grid: int) -> torch.Tensor:
    """In which order the patches of a square grid are hidden evenly, first the highest: (patch,).

    Each fifth is a lattice of knight's moves, which holds one patch of every cross of five.
    """
    down, across = torch.meshgrid(torch.arange(grid), torch.arange(grid), indexing="ij")
    drawn = torch.rand(grid, grid, generator=torch.Generator().manual_seed(0))
    return ((across + 2 * down) % _SHARE + drawn).flatten()


def _without_first(tokens: torch.Tensor, order: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
    """Tokens (photo, 1 + patch, dim) less those highest in the order (photo, patch), and less all that are not inside (patch,)."""
    hidden = order.masked_fill(~inside, -torch.inf).topk(int(inside.sum()) // _SHARE, dim=1).indices
    stays = torch.cat([inside.new_ones(1), inside]).repeat(len(tokens), 1)
    stays.scatter_(1, hidden + 1, value=False)
    return tokens[stays].reshape(len(tokens), -1, tokens.shape[-1])
