"""Make the small trunk that ships with Eye Dx: a vision transformer that has learnt to draw maps of phantoms.

It never sees a class label. For each cell of 4 x 4 pixels it says which structures lie there (vessels, disc, cup, fovea, drusen, …),
and from the pooled tokens how much of each there is and how large the cup is. Phantoms are drawn from seeds of 10 000 000 upwards,
which the dataset writer does not reach. No photograph of a person takes part.

    python benchmarks/pretrain_small_trunk.py --phantoms 16000 --steps 3000

takes about half an hour on two cores with bf16 instructions, and writes eye_dx_core/model/trunk/small.safetensors and small.json.
"""

import argparse
import io
import json
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

from eye_dx_core.dataset.phantom import PHANTOM_CODES, RENDERER, Defect, Phantom, render_phantom
from eye_dx_core.model.pretrained import file_sha256
from eye_dx_core.model.vit import TRUNKS, FundusVit, build_model
from eye_dx_core.schema.case import Laterality
from eye_dx_core.training.schedule import learning_rate_at

FIRST_SEED = 10_000_000
STRUCTURES = (
    "vessels", "disc", "cup", "fovea", "drusen", "exudates", "red_lesions", "new_vessels", "pigment", "detachment", "haze",
)  # fmt: skip
CELL = 4
TRUNK = TRUNKS["small"]
SIZE, CELLS = TRUNK.image_size, TRUNK.image_size // CELL
SHIPPED = Path(__file__).parent.parent / "eye_dx_core" / "model" / "trunk"


class Mapper(nn.Module):
    """The trunk with two heads that are thrown away afterwards: one per patch, one on the pooled tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.vit: FundusVit = build_model(TRUNK, class_count=1)
        self.cells_per_patch = (TRUNK.patch // CELL) ** 2
        self.maps = nn.Linear(TRUNK.dim, self.cells_per_patch * len(STRUCTURES))
        self.amounts = nn.Linear(TRUNK.dim, len(STRUCTURES) + 1)
        nn.init.constant_(self.maps.bias, -3.0)

    def forward(self, batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        tokens = self.vit.features(batch)
        maps = self.maps(self.vit.trunk.fc_norm(tokens[:, 1:])).float()  # (photo, patch, cell x structure)
        return self._as_picture(maps), self.amounts(self.vit.pool(tokens)).float()

    def _as_picture(self, maps: torch.Tensor) -> torch.Tensor:
        side, grid = TRUNK.patch // CELL, SIZE // TRUNK.patch
        maps = maps.view(-1, grid, grid, side, side, len(STRUCTURES))
        return maps.permute(0, 5, 1, 3, 2, 4).reshape(-1, len(STRUCTURES), CELLS, CELLS)


def draw(number: int) -> tuple[np.ndarray, np.ndarray, float]:
    """One phantom as the model would get it: square, structure map (structure, cell, cell), cup ratio."""
    rng = np.random.default_rng([FIRST_SEED, number])
    code = PHANTOM_CODES[number % len(PHANTOM_CODES)]
    defect = Defect(rng.choice(list(Defect))) if rng.random() < 0.06 else None
    eye = (Laterality.RIGHT, Laterality.LEFT)[int(rng.integers(2))]
    size = int(rng.choice([320, 320, 320, 448]))
    phantom = render_phantom(code, eye=eye, seed=FIRST_SEED + number, size=size, defect=defect)
    box = crop_box(phantom, rng)
    square = np.array(as_saved(phantom.rgb, rng).crop(box).resize((SIZE, SIZE), Image.Resampling.BICUBIC, reducing_gap=2.0))
    axis = (np.arange(SIZE) + 0.5) / SIZE * 2 - 1
    square[axis[None, :] ** 2 + axis[:, None] ** 2 > 1] = 0
    masks = phantom.structure_masks | {"fovea": around_fovea(phantom)}
    maps = np.zeros((len(STRUCTURES), CELLS, CELLS), np.uint8)
    for index, name in enumerate(STRUCTURES):
        if name in masks:
            mask = Image.fromarray(masks[name].astype(np.uint8) * 255).crop(box)
            maps[index] = np.asarray(mask.resize((CELLS, CELLS), Image.Resampling.BOX))
    return square, maps, phantom.cup_ratio


def crop_box(phantom: Phantom, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """The field of view, about as exactly as it is found in the clinic."""
    radius = phantom.field_radius * rng.uniform(0.97, 1.03)
    x, y = (center + rng.normal(0, 0.01) * radius for center in phantom.field_xy)
    return round(x - radius), round(y - radius), round(x + radius), round(y + radius)


def as_saved(rgb: np.ndarray, rng: np.random.Generator) -> Image.Image:
    """With the traces of JPEG that most photographs carry."""
    picture = Image.fromarray(np.ascontiguousarray(rgb))
    if rng.random() < 0.25:
        return picture
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=int(rng.integers(85, 96)))
    return Image.open(buffer).convert("RGB")


def around_fovea(phantom: Phantom) -> np.ndarray:
    y, x = np.mgrid[: phantom.rgb.shape[0], : phantom.rgb.shape[1]]
    return np.hypot(x - phantom.fovea_xy[0], y - phantom.fovea_xy[1]) < 0.1 * phantom.field_radius


def draw_all(folder: Path, count: int, workers: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw once into memory-mapped files; a second call finds them."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}_{count}_{SIZE}.npy" for name in ("squares", "maps", "cups")]
    if not paths[-1].exists():
        squares = np.lib.format.open_memmap(paths[0], "w+", np.uint8, (count, SIZE, SIZE, 3))
        maps = np.lib.format.open_memmap(paths[1], "w+", np.uint8, (count, len(STRUCTURES), CELLS, CELLS))
        cups = np.zeros(count, np.float32)
        with ProcessPoolExecutor(workers) as pool:
            for number, drawn in enumerate(pool.map(draw, range(count), chunksize=32)):
                squares[number], maps[number], cups[number] = drawn
        np.save(paths[2], cups)
    squares, maps, cups = (np.load(path, mmap_mode="r") for path in paths)
    return squares, maps, cups


def batch_of(squares: np.ndarray, maps: np.ndarray, cups: np.ndarray, rng: np.random.Generator, size: int) -> tuple[torch.Tensor, ...]:
    """A turned, mirrored and recoloured batch with its maps and amounts."""
    chosen = np.sort(rng.choice(len(squares), size, replace=False))
    photos = torch.from_numpy(squares[chosen]).permute(0, 3, 1, 2).float() / 255
    wanted = torch.from_numpy(maps[chosen]).float() / 255
    turns = rng.integers(0, 8, size)
    photos, wanted = (torch.stack([turned(one, turn) for one, turn in zip(stack, turns, strict=True)]) for stack in (photos, wanted))
    gain = torch.from_numpy(rng.uniform(0.75, 1.25, (size, 1, 1, 1)) * rng.uniform(0.92, 1.08, (size, 3, 1, 1))).float()
    photos = (photos * gain).clamp(0, 1)
    # Logarithm, because one exudate more says much where there are few and little where there are many.
    amounts = torch.log1p(100 * wanted.mean(dim=(2, 3)))
    cup = torch.from_numpy(cups[chosen])[:, None] * 4
    return TRUNK.preprocess().normalise(photos), (2 * wanted).clamp(max=1), torch.cat([amounts, cup], dim=1)


def turned(picture: torch.Tensor, turn: int) -> torch.Tensor:
    picture = torch.rot90(picture, int(turn) % 4, dims=(1, 2))
    return picture.flip(2) if turn >= 4 else picture


def pretrain(args: argparse.Namespace, data: tuple[np.ndarray, np.ndarray, np.ndarray]) -> Mapper:
    torch.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    mapper = Mapper()
    if args.resume:
        mapper.load_state_dict(torch.load(args.resume, weights_only=True))
        # Other pictures than the first run began with.
        rng = np.random.default_rng([args.seed, args.steps_before])
    optimizer = torch.optim.AdamW(mapper.parameters(), lr=args.lr, weight_decay=0.05, betas=(0.9, 0.98), fused=True)
    weight = torch.full((len(STRUCTURES), 1, 1), 3.0)
    started, shown = time.monotonic(), [0.0, 0.0]
    for step in range(args.steps):
        rate = learning_rate_at(step, peak=args.lr, warmup_steps=100, total_steps=args.steps)
        for group in optimizer.param_groups:
            group["lr"] = rate
        photos, wanted_maps, wanted_amounts = batch_of(*data, rng, args.batch_size)
        with torch.autocast("cpu", torch.bfloat16, enabled=args.bf16):
            maps, amounts = mapper(photos)
        map_loss = functional.binary_cross_entropy_with_logits(maps, wanted_maps, pos_weight=weight)
        amount_loss = functional.smooth_l1_loss(amounts, wanted_amounts)
        (4 * map_loss + amount_loss).backward()
        nn.utils.clip_grad_norm_(mapper.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        shown = [0.98 * old + 0.02 * new for old, new in zip(shown, (map_loss.item(), amount_loss.item()), strict=True)]
        if step % 50 == 49:
            bias = 1 - 0.98 ** (step + 1)
            print(
                f"step {step + 1:5d}  maps {shown[0] / bias:.4f}  amounts {shown[1] / bias:.4f}  {time.monotonic() - started:.0f} s",
                flush=True,
            )
        if step % 250 == 249:
            torch.save(mapper.state_dict(), args.work / "mapper.pt")
    return mapper


def ship(mapper: Mapper, args: argparse.Namespace, folder: Path) -> None:
    """Half precision: the trunk is frozen or fine-tuned in float32 from there on."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "small.safetensors"
    save_file({name: value.half().contiguous() for name, value in mapper.vit.trunk.state_dict().items()}, path)
    card = {
        "trunk": TRUNK.model_dump(mode="json"),
        "sha256": file_sha256(path),
        "made_by": "benchmarks/pretrain_small_trunk.py",
        "renderer": RENDERER,
        "phantoms": args.phantoms,
        "first_seed": FIRST_SEED,
        "last_seed": FIRST_SEED + args.phantoms - 1,
        "steps": args.steps_before + args.steps,
        "restarted_after_step": args.steps_before or None,
        "batch_size": args.batch_size,
        "learning_rate": args.lr,
        "seed": args.seed,
        "learnt": "maps of "
        + ", ".join(STRUCTURES)
        + "; their amounts; the cup-to-disc ratio. No class labels, no photographs of persons.",
        "use": "Shows that the platform works without gated weights. It has seen drawings only and is unfit for any diagnosis.",
        "licence": "Apache-2.0",
    }
    (folder / "small.json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--phantoms", type=int, default=16_000)
    parser.add_argument("--steps", type=int, default=3_000)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--work", type=Path, default=Path("/tmp/eye_dx_pretraining"), help="Folder of the drawn phantoms.")
    parser.add_argument("--bf16", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--resume", type=Path, default=None, help="Weights of an earlier run (mapper.pt) to go on from.")
    parser.add_argument("--steps-before", type=int, default=0, help="Steps of that earlier run.")
    parser.add_argument("--out", type=Path, default=SHIPPED)
    args = parser.parse_args()
    data = draw_all(args.work, args.phantoms, args.workers)
    ship(pretrain(args, data), args, args.out)


if __name__ == "__main__":
    main()
