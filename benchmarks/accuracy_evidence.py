"""Whether the evidence points to the lesions of phantoms, and whether its zones are right; trains nothing.

    python benchmarks/accuracy_evidence.py CHECKPOINT [PHOTOS_PER_CODE]

Without a checkpoint folder, the champion is taken. Only phantoms that are read correctly count. "Hit" is the pointing game: the
strongest patch is, or touches, a patch with at least 2 % lesion. "Of these" columns count the maps that the deletion test kept.
"""

import sys
from collections import defaultdict
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter

from eye_dx_core.dataset.field_of_view import FieldOfView, crop_to_field, find_field_of_view
from eye_dx_core.dataset.phantom import Phantom, render_phantom
from eye_dx_core.inference.deletion import deletion_scores, is_better_than_chance
from eye_dx_core.inference.evidence import evidence_strengths, hiding_depth, lit_patches, read_tokens
from eye_dx_core.inference.landmarks import Disc, find_disc
from eye_dx_core.inference.zones import find_zones, inside_field, zones_of_square
from eye_dx_core.model.checkpoint import Checkpoint, load_checkpoint
from eye_dx_core.schema.case import Laterality

CODES = ("A", "CSC", "D1", "D2", "D3", "D4", "G", "RP", "BRVO", "CRVO", "C")
FIRST_SEED, LEAST_LESION = 900_000, 0.02


def lesion_shares(phantom: Phantom, field: FieldOfView, grid: int, patch: int) -> NDArray[np.floating]:
    """How much of each patch (down, across) is lesion; of glaucoma, the cup."""
    mask = phantom.structure_masks["cup"] if phantom.code == "G" else phantom.lesion_mask
    picture = np.repeat((mask * 255).astype(np.uint8)[..., None], 3, axis=2)
    return crop_to_field(picture, size=grid * patch, field=field)[..., 0].reshape(grid, patch, grid, patch).mean(axis=(1, 3)) / 255


def is_hit(strengths: NDArray[np.floating], lesion: NDArray[np.floating], *, touching: bool) -> bool:
    """Whether the strongest patch inside the field is one with lesion, or next to one."""
    found = lesion >= LEAST_LESION
    place = np.where(inside_field(len(strengths)), strengths, -1).argmax()
    return bool((maximum_filter(found, 3) if touching else found).flat[place])


def zone_with_most(lesion: NDArray[np.floating], phantom: Phantom, field: FieldOfView) -> str:
    """The zone that holds most of the lesion, by the drawing's own disc."""
    x, y = ((at - middle) / field.radius for at, middle in zip(phantom.disc_xy, (field.center_x, field.center_y), strict=True))
    zones = zones_of_square(len(lesion), Disc(x=x, y=y), phantom.eye)
    amounts = {zone: float(lesion[zones == zone].sum()) for zone in set(zones.flat) - {""}}
    return max(amounts, key=amounts.__getitem__)


@torch.no_grad()
def measure(checkpoint: Checkpoint, code: str, photos: int) -> dict[str, list[float]]:
    """All figures of one code, photograph by photograph."""
    model, preprocess = checkpoint.model, checkpoint.card.preprocess
    labels, figures, chance = checkpoint.card.label_set.labels, defaultdict(list), np.random.default_rng(0)
    for number in range(photos):
        phantom = render_phantom(code, eye=tuple(Laterality)[number % 2], seed=FIRST_SEED + 1000 * CODES.index(code) + number, size=448)
        field = find_field_of_view(phantom.rgb)
        square = crop_to_field(phantom.rgb, size=preprocess.size, field=field)
        batch = preprocess.to_batch(square[None])
        tokens = read_tokens(model, batch)
        logits = model.head(model.pool(tokens.late))
        index = checkpoint.probabilities(logits).argmax(dim=1)
        label = labels[int(index)]
        figures["read"].append(label.condition == checkpoint_condition(code))
        if not figures["read"][-1]:
            continue
        lit = lit_patches(square[None], model.grid[0])
        strengths = evidence_strengths(model, tokens.late, index, lit)
        random = torch.from_numpy(chance.random(strengths.shape)).float() * lit

        score = partial(deletion_scores, model, condition_indices=index, lit=lit)
        for name, tested in (("kept", strengths), ("random kept", random)):
            scores = score(tokens.early, depth=hiding_depth(model), strengths=tested)
            figures[name].append(bool(is_better_than_chance(scores, logits, index)))
        lesion = lesion_shares(phantom, field, model.grid[0], preprocess.patch)
        where = strengths.reshape(model.grid).numpy()
        by_chance = random.reshape(model.grid).numpy()
        ring = np.add.outer(*[(np.arange(model.grid[0]) + 0.5 - model.grid[0] / 2) ** 2] * 2)
        for name, one in (("", where), ("random ", by_chance), ("centre ", -ring)):
            figures[f"{name}hit"].append(is_hit(one - one.min(), lesion, touching=True))
            figures[f"{name}exact"].append(is_hit(one - one.min(), lesion, touching=False))
        inside = inside_field(model.grid[0])
        figures["energy"].append(float(where[lesion >= LEAST_LESION].sum() / where.sum()))
        figures["area"].append(float((lesion[inside] >= LEAST_LESION).mean()))
        figures["correlation"].append(float(np.corrcoef(where[inside], lesion[inside])[0, 1]) if code != "C" else np.nan)
        if not figures["kept"][-1]:
            continue
        figures["kept hit"].append(figures["hit"][-1])
        figures["kept in photo"].append(float(score(model.tokens_before(batch, depth=0), depth=0, strengths=strengths)) > 0)
        areas = find_zones(where, find_disc(square), phantom.eye)
        figures["localised"].append(bool(areas))
        if areas:
            most = zone_with_most(lesion, phantom, field)
            figures["first zone"].append(areas[0].zone == most)
            figures["any zone"].append(any(area.zone == most for area in areas))
    return figures


def checkpoint_condition(code: str) -> str:
    return {"B": "RVO", "C": "RVO"}[code[0]] if code.endswith("RVO") else "D" if code[0] == "D" else code


def load_any() -> Checkpoint:
    if len(sys.argv) > 1:
        return load_checkpoint(Path(sys.argv[1]))
    from eye_dx_core import wiring
    from eye_dx_core.settings import get_settings

    settings = get_settings()
    registry = wiring.open_registry(settings)
    return wiring.load_predictor(registry, wiring.get_champion(registry), settings)._checkpoint  # noqa: SLF001


def main() -> None:
    checkpoint = load_any()
    photos = int(sys.argv[2]) if len(sys.argv) > 2 else 20
    columns = ("read", "kept", "random kept", "hit", "random hit", "centre hit", "exact", "random exact", "centre exact", "energy",
               "area", "correlation", "kept hit", "kept in photo", "localised", "first zone", "any zone")  # fmt: skip
    print("code  " + " ".join(f"{one:>13}" for one in columns))
    rows = []
    for code in CODES:
        figures = measure(checkpoint, code, photos)
        rows.append([float(np.mean(figures[one])) if figures[one] else np.nan for one in columns])
        print(f"{code:5} " + " ".join(f"{value:13.2f}" for value in rows[-1]), flush=True)
    print("mean* " + " ".join(f"{value:13.2f}" for value in np.nanmean(rows[:-1], axis=0)))
    print(f"{photos} phantoms per code; *of all codes but C, whose haze lies everywhere and is rightly not localised")


if __name__ == "__main__":
    main()
