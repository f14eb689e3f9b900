"""Where the model saw what it concluded: a map over patches, and the zones of the fundus that it points to."""

import numpy as np
import torch
from numpy.typing import NDArray

from eye_dx_core.inference.landmarks import Disc
from eye_dx_core.model.vit import FundusVit
from eye_dx_core.schema.case import Laterality
from eye_dx_core.schema.diagnosis import AbnormalArea, Zone

Map = NDArray[np.floating]

# In units of the field's radius, for the usual field of 45 to 50 degrees: disc and fovea lie 15.5 degrees apart.
_DISC_TO_FOVEA, _DISC_ZONE, _MACULA_ZONE, _PERIPHERY_FROM = 0.62, 0.22, 0.32, 0.78
_LEAST_SHARE, _LEAST_DENSITY, _MOST_ZONES = 0.15, 1.3, 3
_EVIDENCE_DEPTH = 2 / 3


def evidence_maps(model: FundusVit, batch: torch.Tensor, condition_indices: torch.Tensor) -> Map:
    """Where each photo's conclusion comes from: (photo, down, across), 0 and up; all zeros when the map explains nothing.

    A patch counts by how far its token lies from the photo's mean token, times how strongly the conclusion's logit reacts to
    it (norm of the gradient), two thirds up the trunk: later, attention has mixed the places; earlier, the gradient is noise.
    A map is kept only if hiding its strongest fifth lowers the logit more than hiding its weakest fifth does.

    Args:
        model: in evaluation mode.
        batch: normalised photographs (photo, rgb, size, size).
        condition_indices: the conclusion of each photo (photo,).
    """
    tokens = model.tokens_before(batch, depth=round(model.depth * _EVIDENCE_DEPTH)).requires_grad_(True)  # noqa: FBT003 - torch's signature
    with torch.enable_grad():
        chosen = model.logits_from(tokens, depth=round(model.depth * _EVIDENCE_DEPTH)).gather(1, condition_indices[:, None]).sum()
        (gradient,) = torch.autograd.grad(chosen, tokens)
    patches, reaction = tokens.detach()[:, 1:], gradient[:, 1:]  # (photo, patch, dim): the class token has no place
    score = (patches - patches.mean(dim=1, keepdim=True)).norm(dim=-1) * reaction.norm(dim=-1)
    inside = _inside_field(model.grid[0]).flatten().to(score.device)
    score = torch.where(inside, (score - score[:, inside].median(dim=1, keepdim=True).values).clamp(min=0), 0.0)
    score = score * _explains(model, batch, condition_indices, score, inside)[:, None]
    return score.reshape(-1, *model.grid).float().cpu().numpy()


@torch.no_grad()
def _explains(model: FundusVit, batch: torch.Tensor, chosen: torch.Tensor, score: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
    """Whether hiding the strongest patches hurts the conclusion more than hiding the weakest: (photo,)."""
    hidden = int(inside.sum()) // 5
    ranked = torch.where(inside, score, torch.inf).argsort(dim=1)
    weakest = ranked[:, :hidden]
    strongest = torch.where(inside, score, -torch.inf).argsort(dim=1, descending=True)[:, :hidden]
    without_strongest, without_weakest = (
        model(_hide(batch, patches, model.grid)).gather(1, chosen[:, None])[:, 0] for patches in (strongest, weakest)
    )
    return without_strongest < without_weakest


def _hide(batch: torch.Tensor, patches: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """The photographs with some patches replaced by the photograph's mean colour."""
    mask = batch.new_zeros(len(batch), grid[0] * grid[1]).scatter(1, patches, 1.0).reshape(-1, 1, *grid)
    mask = torch.nn.functional.interpolate(mask, size=batch.shape[-2:], mode="nearest")
    return batch + (batch.mean(dim=(2, 3), keepdim=True) - batch) * mask


def _inside_field(grid: int) -> torch.Tensor:
    axis = (torch.arange(grid) + 0.5) / grid * 2 - 1
    return axis[None, :] ** 2 + axis[:, None] ** 2 < 1


def find_zones(evidence: Map, disc: Disc | None, eye: Laterality | None) -> tuple[AbnormalArea, ...]:
    """The zones that hold clearly more of the evidence than of the area, strongest first; empty when it is not localised.

    Args:
        evidence: (down, across), over the square.
        disc: where the optic disc lies; without it, nothing can be placed.
        eye: which eye, if known; otherwise the disc's side tells.
    """
    total = float(evidence.sum())
    if total <= 0 or disc is None:
        return ()
    zones = _zones_of_patches(evidence.shape[0], disc, eye)
    areas: list[AbnormalArea] = []
    for zone in Zone:
        here = zones == zone
        share, extent = float(evidence[here].sum()) / total, float(here.sum()) / max(1, int((zones != "").sum()))
        if share >= _LEAST_SHARE and share >= _LEAST_DENSITY * extent:
            areas.append(AbnormalArea(zone=zone, strength=min(1.0, share)))
    return tuple(sorted(areas, key=lambda area: -area.strength)[:_MOST_ZONES])


def _zones_of_patches(grid: int, disc: Disc, eye: Laterality | None) -> NDArray[np.str_]:
    """The zone of each patch, empty outside the field; later rules overrule earlier ones."""
    axis = (np.arange(grid) + 0.5) / grid * 2 - 1
    x, y = np.meshgrid(axis, axis)
    nasal = (1.0 if disc.x > 0 else -1.0) if eye is None else (1.0 if eye is Laterality.RIGHT else -1.0)
    fovea_x, fovea_y = disc.x - nasal * _DISC_TO_FOVEA, disc.y + 0.05
    zones = np.full((grid, grid), "", dtype="<U32")
    is_temporal = (disc.x - x) * nasal > 0
    zones[~is_temporal] = Zone.NASAL
    zones[is_temporal & (y < fovea_y)] = Zone.SUPERIOR_TEMPORAL
    zones[is_temporal & (y >= fovea_y)] = Zone.INFERIOR_TEMPORAL
    zones[np.hypot(x, y) > _PERIPHERY_FROM] = Zone.PERIPHERY
    zones[np.hypot(x - fovea_x, y - fovea_y) < _MACULA_ZONE] = Zone.MACULA
    zones[np.hypot(x - disc.x, y - disc.y) < _DISC_ZONE] = Zone.DISC
    zones[np.hypot(x, y) > 1] = ""
    return zones
