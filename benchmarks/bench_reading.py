"""How much batches and the square cache save, both sides measured in one run on the shipped trunk."""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from eye_dx_core.dataset.cache import load_squares
from eye_dx_core.dataset.phantom_folders import write_phantom_dataset
from eye_dx_core.dataset.scanning import scan_photos
from eye_dx_core.model.pretrained import SHIPPED_TRUNK, load_trunk
from eye_dx_core.model.vit import TRUNKS, build_model
from eye_dx_core.schema.condition import LABEL_SETS


def seconds(act: Callable[[], object], repeats: int = 5) -> float:
    """Median wall time of an act, after one that warms up."""
    act()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        act()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    model = build_model(TRUNKS["small"], class_count=8).eval()
    load_trunk(model, SHIPPED_TRUNK)
    with tempfile.TemporaryDirectory() as name, torch.inference_mode():
        folder = Path(name)
        write_phantom_dataset(folder / "photos", size=512, counts={"N": 10, "D2": 10})
        rows = scan_photos(folder / "photos", label_set=LABEL_SETS["eight"]).rows[:32]
        places = iter(range(1_000_000))
        decoded = seconds(lambda: load_squares(folder / "photos", rows, size=224, cache_folder=folder / f"cache-{next(places)}"))
        cached = seconds(lambda: load_squares(folder / "photos", rows, size=224, cache_folder=folder / "cache")[:])
        squares = load_squares(folder / "photos", rows, size=224, cache_folder=folder / "cache")
        photos = TRUNKS["small"].preprocess().to_batch(squares[:])
        single = seconds(lambda: [model(photo[None]) for photo in photos])
        batched = seconds(lambda: [model(batch) for batch in photos.split(8)])
    print(f"{len(rows)} photographs, {torch.get_num_threads()} threads, medians of 5")
    for what, slow, fast in (("read one by one / in batches of 8", single, batched), ("squares decoded / from the cache", decoded, cached)):
        print(f"{what:36} {slow * 1000 / len(rows):7.2f} / {fast * 1000 / len(rows):7.2f} ms per photograph   ratio {slow / fast:.1f}")


if __name__ == "__main__":
    main()
