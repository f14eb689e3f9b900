"""Method x loss on one set of photographs, beside the recipe of the project that Eye Dx replaces; every row on the same locked test.

Without arguments: a small phantom set, so that `make bench` ends soon. The figures in the notes come from
    python benchmarks/bench_training_recipes.py --imbalanced --seeds 3 --epochs 12
    python benchmarks/bench_training_recipes.py --photos FOLDER --seeds 3 --epochs 12
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from eye_dx_core.dataset.cache import load_squares
from eye_dx_core.dataset.checks import check_dataset
from eye_dx_core.dataset.manifest import Manifest
from eye_dx_core.dataset.phantom_folders import write_phantom_dataset
from eye_dx_core.dataset.scanning import scan_photos
from eye_dx_core.dataset.splitting import Split, Splits, split_by_patient
from eye_dx_core.model.checkpoint import load_checkpoint, mask_unlearnt
from eye_dx_core.model.pretrained import SHIPPED_TRUNK, load_trunk
from eye_dx_core.model.vit import TRUNKS, FundusVit, build_model
from eye_dx_core.schema.condition import LABEL_SETS
from eye_dx_core.training import metrics
from eye_dx_core.training.config import parse_config
from eye_dx_core.training.feeds import LabelledPhotos, PhotoFeed, TokenFeed, TokenStore, predict_logits, read_all
from eye_dx_core.training.fine_tuning import train_checkpoint
from eye_dx_core.training.judging import judge_checkpoint

SMALL = {"N": 24, "D2": 12, "A": 6, "G": 6}
IMBALANCED = {"N": 800, "D2": 240, "A": 140, "G": 96, "C": 64, "RVO": 42, "CSC": 26, "RP": 16}
"""Patients per folder: 50 to 1."""
MILDEST = 0.05
"""Most disease that a screening meets has just begun; drawn in full, the kinds are told apart by any head."""
METHODS, LOSSES = ("probe", "adapters-last-k", "adapters"), ("cross_entropy", "balanced_softmax")
OTHER_LOSSES = ("weighted_cross_entropy", "class_balanced", "focal")
Row = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--imbalanced", action="store_true")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--methods", nargs="*", default=METHODS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photos = arguments.photos or write_phantom_dataset(
            folder / "photos", size=256, counts=IMBALANCED if arguments.imbalanced else SMALL, mildest=MILDEST
        )
        manifest = scan_photos(photos, label_set=LABEL_SETS["eight"])
        describe(manifest)
        recipes = [(method, loss) for method in arguments.methods for loss in LOSSES]
        recipes += [("adapters-last-k", loss) for loss in OTHER_LOSSES if "adapters-last-k" in arguments.methods]
        for method, loss in recipes:
            found = [
                ours(photos, manifest, folder, method=method, loss=loss, epochs=arguments.epochs, seed=seed)
                for seed in range(arguments.seeds)
            ]
            show(f"{method}, {loss}", found)
        show(
            "the source's recipe", [source(photos, manifest, folder, epochs=arguments.epochs, seed=seed) for seed in range(arguments.seeds)]
        )


def describe(manifest: Manifest) -> None:
    print(f"{len(manifest.rows)} photographs: {', '.join(f'{code} {count}' for code, count in manifest.counts.items())}")
    for one in check_dataset(manifest, split_by_patient(manifest, seed=0)):
        if not one.holds and one.claim in ("every_class_has_photographs", "no_class_comes_from_one_source"):
            print(f"  {one.claim}: {one.offenders}")
    print("bare: balanced accuracy of the uncorrected softmax; own: accuracy that the recipe would report of itself")
    print(f"{'recipe':40} bal.acc  ±      bare   worst  F1     AUROC  acc    ECE    s      own")


def show(recipe: str, rows: list[Row]) -> None:
    def mean(key: str) -> str:
        values = [row[key] for row in rows if key in row]
        return f"{statistics.mean(values):.3f}" if values else "     "

    spread = statistics.pstdev(row["balanced_accuracy"] for row in rows)
    names = ("bare_balanced_accuracy", "worst_recall", "macro_f1", "macro_auroc", "accuracy", "ece")
    cells = [mean("balanced_accuracy"), f"{spread:.3f}", *map(mean, names)]
    print(f"{recipe:40} {'  '.join(cells)}  {statistics.mean(row['seconds'] for row in rows):5.0f}  {mean('own_accuracy')}", flush=True)


def locked_test(photos: Path, manifest: Manifest, splits: Splits, folder: Path) -> tuple[np.ndarray, list[str]]:
    rows = [row for row in manifest.rows if splits.assignment[row.photo_id] is Split.TEST and row.duplicate_of is None]
    return load_squares(photos, rows, size=224, cache_folder=folder / "cache"), [row.label for row in rows]


def ours(photos: Path, manifest: Manifest, folder: Path, *, method: str, loss: str, epochs: int, seed: int) -> Row:
    """One training as `eye-dx train` does it, evaluated on the locked test; a new seed is also a new split."""
    splits = split_by_patient(manifest, seed=seed)
    started = time.perf_counter()
    target = folder / f"{method}-{loss}-{seed}"
    config = parse_config(
        {"method": method, "loss": loss, "epochs": epochs, "seed": seed, "last_blocks": 3, "sampling": "natural"}
        | ({"learning_rate": 1e-4} if method == "full" else {})
    )
    for _ in train_checkpoint(
        folder=target,
        photo_folder=photos,
        manifest=manifest,
        splits=splits,
        config=config,
        trunk=None,
        cache_folder=folder / "cache",
    ):
        pass
    seconds = time.perf_counter() - started
    judged = judge_checkpoint(target, champion=None, photo_folder=photos, manifest=manifest, splits=splits, cache_folder=folder / "cache")
    checkpoint = load_checkpoint(target)
    squares, labels = locked_test(photos, manifest, splits, folder)
    logits = predict_logits(checkpoint.model, squares, checkpoint.card.preprocess)
    # As others use cross-entropy: the likeliest answer of the bare softmax, in which the training shares are still contained.
    bare = mask_unlearnt(logits, checkpoint.card.training_counts).softmax(dim=1).double().numpy()
    codes = manifest.label_set.codes
    plain = metrics.measure_once(np.array([codes.index(label) for label in labels], dtype=np.int64), bare, codes)
    return judged.metrics | {"seconds": seconds, "bare_balanced_accuracy": plain["balanced_accuracy"]}


def source(photos: Path, manifest: Manifest, folder: Path, *, epochs: int, seed: int) -> Row:
    """The source's recipe: head alone, split by image, inverse-frequency sampler and alpha-focal with p**alpha, best plain accuracy.

    It never saw the locked test's patients either; what it would have reported of itself is on its own validation images.
    """
    splits = split_by_patient(manifest, seed=seed)
    codes = manifest.label_set.codes
    rng = np.random.default_rng(seed)
    rows = [row for row in manifest.rows if splits.assignment[row.photo_id] is not Split.TEST and row.duplicate_of is None]
    order = rng.permutation(len(rows))
    started = time.perf_counter()
    model = build_model(TRUNKS["small"], class_count=len(codes)).eval()
    load_trunk(model, SHIPPED_TRUNK)
    parts = []
    for number, chosen in enumerate((order[len(order) // 5 :], order[: len(order) // 5])):
        part = [rows[position] for position in chosen]
        squares = load_squares(photos, part, size=224, cache_folder=folder / "cache")
        labelled = LabelledPhotos(squares, np.array([codes.index(row.label) for row in part], dtype=np.int64))
        feed = PhotoFeed(labelled, TRUNKS["small"].preprocess(), parse_config({}).augmentation)
        store = TokenStore(folder / "tokens", TRUNKS["small"], "small", seed)
        parts.append(store.keep(lambda: model, feed, depth=model.depth, views=1 if number else 4))
    train, validation = parts
    best, best_accuracy = {name: value.clone() for name, value in model.head.state_dict().items()}, 0.0
    for _ in source_epochs(model, train, epochs=epochs, rng=rng, seed=seed):
        answers = read_all(model, validation).argmax(dim=1).numpy()
        accuracy = float((answers == validation.condition_indices).mean())
        if accuracy > best_accuracy:
            best, best_accuracy = {name: value.clone() for name, value in model.head.state_dict().items()}, accuracy
    model.head.load_state_dict(best)
    seconds = time.perf_counter() - started
    squares, labels = locked_test(photos, manifest, splits, folder)
    probabilities = predict_logits(model, squares, TRUNKS["small"].preprocess()).softmax(dim=1).double().numpy()
    truth = np.array([codes.index(label) for label in labels], dtype=np.int64)
    found = metrics.measure_once(truth, probabilities, codes)
    recalls = [found[f"recall_{code}"] for code in codes if np.isfinite(found[f"recall_{code}"])]
    return found | {"worst_recall": min(recalls), "own_accuracy": best_accuracy, "seconds": seconds}


def source_epochs(model: FundusVit, train: TokenFeed, *, epochs: int, rng: np.random.Generator, seed: int) -> Iterator[None]:
    """Its loss takes p from the weighted cross-entropy, which makes it p to the power of alpha."""
    counts = np.maximum(np.bincount(train.condition_indices, minlength=model.head.out_features), 1)
    alpha = torch.tensor(np.clip(counts.sum() / (len(counts) * counts), 0.5, 2.0), dtype=torch.float32)
    chances = (1 / counts)[train.condition_indices]
    optimizer = torch.optim.AdamW(model.head.parameters(), lr=1e-3)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        drawn = rng.choice(len(train), size=len(train), p=chances / chances.sum())
        for chosen in np.array_split(drawn, -(-len(train) // 16)):
            logits = train.vary(model, chosen, generator)
            weighted = torch.nn.functional.cross_entropy(
                logits, torch.from_numpy(train.condition_indices[chosen]), weight=alpha, reduction="none"
            )
            loss = ((1 - (-weighted).exp()) ** 1.5 * weighted).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        yield


if __name__ == "__main__":
    main()
