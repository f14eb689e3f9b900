"""How much the evidence adds to the time of a batch: both sides in one run, for the shipped trunk and the shape of a ViT-S."""

import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from eye_dx_core.inference.evidence import find_evidence, read_tokens
from eye_dx_core.model.adapter import AdapterConfig
from eye_dx_core.model.vit import TRUNKS, FundusVit, TrunkConfig, build_model

BATCH, REPEATS = 8, 7
SHAPES = (TRUNKS["small"], TrunkConfig(name="vit_s", image_size=224, patch=16, dim=384, depth=12, heads=6))


def seconds_in_turn(*acts: Callable[[], object]) -> list[float]:
    """Median wall time of each act; they take turns, so that whoever disturbs them disturbs all."""
    times: list[list[float]] = [[] for _ in acts]
    for turn in range(REPEATS + 1):
        for act, seen in zip(acts, times, strict=True):
            start = time.perf_counter()
            act()
            if turn:  # the first one warms up
                seen.append(time.perf_counter() - start)
    return [statistics.median(one) for one in times]


def main() -> None:
    print(f"{BATCH} photographs, {torch.get_num_threads()} threads, medians of {REPEATS}, batch without evidence = 100 %")
    for shape in SHAPES:
        for dtype in (torch.float32, torch.bfloat16):
            measure(build_model(shape, class_count=8, adapters=AdapterConfig()).eval().to(dtype), shape.name, dtype)


@torch.inference_mode()
def measure(model: FundusVit, name: str, dtype: torch.dtype) -> None:
    size = model.grid[0] * 16
    batch = torch.from_numpy(np.random.default_rng(0).normal(size=(BATCH, 3, size, size))).to(dtype)
    squares = np.full((BATCH, size, size, 3), 90, dtype=np.uint8)
    chosen = torch.zeros(BATCH, dtype=torch.long)

    def with_evidence(abnormal: int) -> None:
        tokens = read_tokens(model, batch)
        model.head(model.pool(tokens.late))
        find_evidence(model, tokens.of(list(range(abnormal)), model.head.weight), chosen[:abnormal], squares=squares[:abnormal])

    plain, half, whole = seconds_in_turn(lambda: model(batch), lambda: with_evidence(BATCH // 2), lambda: with_evidence(BATCH))
    share = f"half of them abnormal +{half / plain - 1:.0%}, all abnormal +{whole / plain - 1:.0%}"
    print(f"{name:6} {str(dtype).removeprefix('torch.'):9} {plain * 1000 / BATCH:7.2f} ms per photograph; evidence adds: {share}")


if __name__ == "__main__":
    main()
