"""What caching buys in training, both sides in one run: the train transform, the last blocks of a ViT-L, a probe's epoch.

`--full` measures the ViT-L (1.2 GB of random weights, some minutes); without it a ViT-S stands in, so that `make bench` ends soon.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import torch
from PIL import Image
from torchvision import transforms

from eye_dx_core.dataset.augment import Augmentation, augment_batch
from eye_dx_core.dataset.cache import load_squares
from eye_dx_core.dataset.field_of_view import read_square
from eye_dx_core.dataset.phantom_folders import write_phantom_dataset
from eye_dx_core.dataset.scanning import scan_photos
from eye_dx_core.model.adapter import AdapterConfig
from eye_dx_core.model.preprocess import to_unit
from eye_dx_core.model.trainable import Method, select_trainable
from eye_dx_core.model.vit import TRUNKS, TrunkConfig, build_model
from eye_dx_core.schema.condition import LABEL_SETS
from eye_dx_core.training.feeds import LabelledPhotos, PhotoFeed, TokenFeed, TokenStore
from eye_dx_core.training.losses import Objective
from eye_dx_core.training.precision import autocast

VIT_S = TrunkConfig(name="vit_s", image_size=224, patch=16, dim=384, depth=12, heads=6)
BATCH, STEPS = 8, 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--step", choices=("adapters", "keep-tokens", "adapters-last-k"), help=argparse.SUPPRESS)
    parser.add_argument("--tokens", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    shape = TRUNKS["retfound_mae"] if arguments.full else VIT_S
    if arguments.step:
        print(*measure_step(shape, arguments.step, arguments.tokens))
        return
    train_transforms()
    steps(shape, is_full=arguments.full)
    probe_epoch()


def seconds(act: Callable[[], object], repeats: int = 3) -> float:
    """Median wall time of an act, after one that warms up."""
    act()
    times: list[float] = []
    for _ in range(repeats):
        start = time.perf_counter()
        act()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def train_transforms() -> None:
    """The source augments the full-size photograph and then resizes; we resize once, keep that, and augment whole batches."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = write_phantom_dataset(Path(name) / "photos", size=2000, counts={"N": 4})
        rows = [row for row in scan_photos(folder, label_set=LABEL_SETS["eight"]).rows if row.format == "JPEG"][:4]
        paths = [folder / row.path for row in rows]
        squares = load_squares(folder, rows, size=224, cache_folder=Path(name) / "cache")
        generator = torch.Generator().manual_seed(0)
        source = seconds(lambda: [source_transform(path) for path in paths])
        uncached = seconds(
            lambda: augment_batch(to_unit(np.stack([read_square(path, size=224) for path in paths])), Augmentation(), generator)
        )
        cached = seconds(lambda: augment_batch(to_unit(squares[:]), Augmentation(), generator))
    per = 1000 / len(paths)
    print(f"train transform, 2000 x 2000 JPEG, 1 thread: source's order {source * per:.0f} ms per photograph")
    for what, taken in (("without cache", uncached), ("from the cache", cached)):
        print(f"  ours {what} {taken * per:.2f} ms: ratio {source / taken:.1f}")


def source_transform(path: Path) -> torch.Tensor:
    """The source's order: flips, rotation and colour on all pixels, then resize and normalise."""
    chain = transforms.Compose(
        [
            transforms.RandomHorizontalFlip(),
            transforms.RandomVerticalFlip(),
            transforms.RandomRotation(10),
            transforms.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.1),
            transforms.Resize((224, 224)),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    return chain(Image.open(path).convert("RGB"))


def steps(shape: TrunkConfig, *, is_full: bool) -> None:
    """Each side in a process of its own, because peak memory is a process's."""
    found: list[list[float]] = []
    with tempfile.TemporaryDirectory() as tokens:
        command = [sys.executable, __file__, *(["--full"] if is_full else []), "--tokens", tokens, "--step"]
        for step in ("adapters", "keep-tokens", "adapters-last-k"):
            said = subprocess.run([*command, step], capture_output=True, text=True, check=True).stdout
            found.append([float(word) for word in said.split()])
    (slow, slow_memory), (keeping, keeping_memory), (fast, fast_memory) = found
    print(f"training step of {shape.name} ({shape.depth} blocks, {shape.dim} wide), batch {BATCH}, adapters of 64:")
    print(f"  in all blocks {slow:.1f} ms per photograph, peak {slow_memory:.2f} GB")
    print(f"  keeping the tokens of the other blocks, once per view {keeping:.1f} ms, peak {keeping_memory:.2f} GB")
    print(f"  in the last 4, on kept tokens {fast:.1f} ms, peak {fast_memory:.2f} GB: ratio {slow / fast:.1f}")


def measure_step(shape: TrunkConfig, step: str, tokens: Path) -> tuple[float, float]:
    """Milliseconds per photograph of a training step, or of keeping tokens, and peak memory in GB."""
    torch.set_num_threads(2)
    torch.manual_seed(0)
    depth = shape.depth - 4
    rng = np.random.default_rng(0)
    photos = LabelledPhotos(rng.integers(0, 255, (BATCH, 224, 224, 3), dtype=np.uint8), np.arange(BATCH, dtype=np.int64))
    feed: PhotoFeed | TokenFeed = PhotoFeed(photos, shape.preprocess(), Augmentation())
    if step != "adapters":
        adapters = AdapterConfig(bottleneck=64, last_blocks=4)
        started = time.perf_counter()
        feed = TokenStore(tokens, shape, "random", 0).keep(
            lambda: build_model(shape, class_count=8, adapters=adapters).eval(), feed, depth=depth, views=1
        )
        if step == "keep-tokens":
            return (time.perf_counter() - started) * 1000 / BATCH, peak_memory()
        model, method = build_model(shape, class_count=8, adapters=adapters, from_block=depth).eval(), cast("Method", "adapters-last-k")
    else:
        model, method = build_model(shape, class_count=8, adapters=AdapterConfig(bottleneck=64)).eval(), cast("Method", "adapters")
    learning = select_trainable(model, method)
    chosen, generator, objective = np.arange(BATCH), torch.Generator().manual_seed(0), Objective("balanced_softmax", (1,) * 8)
    optimizer = torch.optim.AdamW([one for name, one in model.named_parameters() if name in learning], lr=1e-3)

    def act() -> None:
        with autocast(model, "auto"):
            logits = feed.vary(model, chosen, generator).float()
        objective(logits, torch.from_numpy(photos.condition_indices)).backward()
        optimizer.step()
        optimizer.zero_grad()

    taken = seconds(act, STEPS)
    return taken * 1000 / BATCH, peak_memory()


def peak_memory() -> float:
    """The most that this process held, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def probe_epoch() -> None:
    """One epoch of a head on 42 160 kept features of a ViT-L."""
    torch.set_num_threads(2)
    count, width = 42_160, 1024
    model = build_model(TrunkConfig(name="thin", image_size=32, patch=16, dim=width, depth=1, heads=16), class_count=8).eval()
    learning = select_trainable(model, "probe")
    labels = np.random.default_rng(0).integers(0, 8, count)
    feed = TokenFeed(torch.randn(1, count, width).bfloat16(), labels, depth=1)
    objective, generator = Objective("balanced_softmax", (count // 8,) * 8), torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW([one for name, one in model.named_parameters() if name in learning], lr=1e-3)

    def epoch() -> None:
        for chosen in np.array_split(np.random.default_rng(0).permutation(count), count // 256):
            objective(feed.vary(model, chosen, generator), torch.from_numpy(labels[chosen])).backward()
            optimizer.step()
            optimizer.zero_grad()

    print(f"probe: one epoch over {count} kept features of {width}: {seconds(epoch):.2f} s")


if __name__ == "__main__":
    main()
