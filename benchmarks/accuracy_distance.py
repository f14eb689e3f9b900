"""How well a distance tells odd pictures from photographs like those of training: five measures, two places to look at a photograph.

    python benchmarks/accuracy_distance.py                                   trained on phantoms
    python benchmarks/accuracy_distance.py --real FOLDER                     real photographs as odd pictures beside them
    python benchmarks/accuracy_distance.py --real FOLDER --hold-out SOURCE…  trained on real ones, without some sources

FOLDER has a folder for each label; a file's name begins with its source and two underscores.
"""

import argparse
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter
from sklearn.covariance import ledoit_wolf
from sklearn.metrics import roc_auc_score

from eye_dx_core.dataset.cache import load_squares
from eye_dx_core.dataset.field_of_view import crop_to_field, read_square
from eye_dx_core.dataset.phantom import PHANTOM_CODES, render_phantom
from eye_dx_core.dataset.phantom_folders import write_phantom_dataset
from eye_dx_core.dataset.scanning import scan_photos
from eye_dx_core.dataset.splitting import Split, split_by_patient
from eye_dx_core.errors import BadPhoto
from eye_dx_core.model.checkpoint import Checkpoint, load_checkpoint
from eye_dx_core.model.reference import UNLIKE_ABOVE
from eye_dx_core.schema.case import Laterality
from eye_dx_core.schema.condition import LABEL_SETS
from eye_dx_core.training.config import parse_config
from eye_dx_core.training.feeds import pool_squares
from eye_dx_core.training.fine_tuning import train_checkpoint
from eye_dx_core.training.resemblance import fit_reference, upper_limit

Squares = dict[str, np.ndarray]
Score = Callable[[np.ndarray], np.ndarray]
TAKEN_AS_USUAL = ("mirrored", "turned by 90°")
"""What training itself does to photographs, or nearly."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path)
    parser.add_argument("--hold-out", nargs="*", default=())
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--each", type=int, default=48, help="pictures of a kind")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if arguments.hold_out:
            photos = sort_by_source(arguments.real, folder / "photos", without=arguments.hold_out)
        else:
            photos = write_phantom_dataset(folder / "photos")
        checkpoint, squares, labels = train(photos, folder, epochs=arguments.epochs)
        squares |= odd_pictures(squares["test"][: arguments.each]) | new_phantoms(arguments.each)
        if arguments.real:
            squares |= real_photographs(arguments.real, arguments.each, only=arguments.hold_out)
        compare(checkpoint, squares, labels, usual=() if arguments.hold_out else ("new phantoms", "larger phantoms", "mild phantoms"))


def sort_by_source(photos: Path, target: Path, *, without: Sequence[str]) -> Path:
    for path in sorted(photos.glob("*/*__*")):
        source, name = path.name.split("__", 1)
        if source not in without:
            (target / path.parent.name / source).mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target / path.parent.name / source / name)
    return target


def train(photos: Path, folder: Path, *, epochs: int) -> tuple[Checkpoint, Squares, np.ndarray]:
    manifest = scan_photos(photos, label_set=LABEL_SETS["eight"])
    splits, cache, config = split_by_patient(manifest, seed=0), folder / "cache", parse_config({"epochs": epochs})
    given = {"photo_folder": photos, "manifest": manifest, "splits": splits, "trunk": None, "cache_folder": cache}
    for epoch in train_checkpoint(folder=folder / "checkpoint", config=config, **given):
        print(epoch, flush=True)
    rows = {one: [row for row in manifest.rows if splits.assignment[row.photo_id] is one and row.duplicate_of is None] for one in Split}
    squares = {one.value: load_squares(photos, rows[one], size=224, cache_folder=cache)[:] for one in Split}
    labels = np.array([manifest.label_set.codes.index(row.label) for row in rows[Split.TRAIN]])
    return load_checkpoint(folder / "checkpoint"), squares, labels


def odd_pictures(usual: np.ndarray) -> Squares:
    """The same photographs, changed; and pictures that are none."""
    rng, photos = np.random.default_rng(0), usual.astype(float)
    field = usual.max(axis=-1, keepdims=True) > 10
    columns = rng.random((30, 28, 28, 1)) < 0.5
    pages = np.where(np.kron(columns, np.ones((1, 8, 8, 1))) * (np.arange(224) % 12 < 5)[None, :, None, None], 30, 245)
    changed = {
        "mirrored": photos[:, ::-1],
        "turned by 90°": np.rot90(photos, 1, (1, 2)),
        "red and blue swapped": photos[..., ::-1],
        "inverted colours": np.where(field, 255 - photos, 0),
        "grey": np.repeat(photos.mean(axis=-1, keepdims=True), 3, axis=-1),
        "blue cast": photos * [0.6, 0.9, 1.8],
        "green cast": photos * [0.6, 1.3, 0.7],
        "slight blue cast": photos * [0.9, 1.0, 1.2],
        "a third as bright": photos * 0.35,
        "noise of 20 levels": (photos + rng.normal(0, 20, photos.shape)) * field,
        "noise of 60 levels": (photos + rng.normal(0, 60, photos.shape)) * field,
        "blurred by 3 pixels": np.stack([np.asarray(Image.fromarray(one).filter(ImageFilter.GaussianBlur(3))) for one in usual]),
        "16 pieces shuffled": np.stack([shuffled(one, rng) for one in usual]),
        "noise alone": rng.integers(0, 256, photos.shape) * field,
        "pages of text": np.repeat(pages, 3, axis=-1),
        "an orange disc": field[:30] * np.array([200, 100, 40]) * np.linspace(0.6, 1, 30)[: len(field), None, None, None],
    }
    return {name: np.clip(pictures, 0, 255).astype(np.uint8) for name, pictures in changed.items()}


def shuffled(square: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    pieces = [np.hsplit(row, 4) for row in np.vsplit(square, 4)]
    order = rng.permutation(16)
    return np.vstack([np.hstack([pieces[place // 4][place % 4] for place in order[start : start + 4]]) for start in range(0, 16, 4)])


def new_phantoms(count: int) -> Squares:
    return {
        "new phantoms": np.stack([phantom(seed, size=320) for seed in range(2 * count)]),
        "larger phantoms": np.stack([phantom(1000 + seed, size=640) for seed in range(count)]),
        "mild phantoms": np.stack([phantom(2000 + seed, size=320, severity=0.1) for seed in range(count)]),
    }


def phantom(seed: int, *, size: int, severity: float = 1.0) -> np.ndarray:
    code, eye = PHANTOM_CODES[seed % len(PHANTOM_CODES)], tuple(Laterality)[seed % 2]
    return crop_to_field(render_phantom(code, eye=eye, seed=7_000_000 + seed, size=size, severity=severity).rgb, size=224)


def real_photographs(photos: Path, each: int, *, only: Sequence[str]) -> Squares:
    files = sorted(photos.glob("*/*__*"))
    found: Squares = {}
    for source in sorted({path.name.split("__", 1)[0] for path in files}):
        own = [path for path in files if path.name.startswith(f"{source}__")]
        drawn = [own[place] for place in np.random.default_rng(1).permutation(len(own))[:each]]
        if not only or source in only:
            found[f"real: {source}"] = np.stack([square for path in drawn if (square := try_square(path)) is not None])
    return found


def try_square(path: Path) -> np.ndarray | None:
    try:
        return read_square(path, size=224)
    except BadPhoto:
        return None


def mahalanobis(seen: np.ndarray, labels: np.ndarray, *, relative: bool = False) -> Score:
    """Lee et al. 2018; relative to the distance from the mean of all, Ren et al. 2021."""
    centres = np.stack([seen[labels == one].mean(axis=0) for one in np.unique(labels)])
    around = np.linalg.inv(ledoit_wolf(seen - centres[np.unique(labels, return_inverse=True)[1]], assume_centered=True)[0])
    middle, of_all = seen.mean(axis=0), np.linalg.inv(ledoit_wolf(seen)[0])

    def score(photos: np.ndarray) -> np.ndarray:
        squared = np.min([np.einsum("ij,jk,ik->i", photos - one, around, photos - one) for one in centres], axis=0)
        back = np.einsum("ij,jk,ik->i", photos - middle, of_all, photos - middle)
        # A difference has no root, and what is measured here is the order: any rising function that is positive will do.
        return np.exp(np.arcsinh((squared - back) / seen.shape[1])) if relative else np.sqrt(squared)

    return score


def neighbours(seen: np.ndarray, labels: np.ndarray) -> Score:
    """The fifth nearest training photograph, all of length one (Sun et al. 2022)."""
    known = seen / np.linalg.norm(seen, axis=1, keepdims=True)

    def score(photos: np.ndarray) -> np.ndarray:
        cosines = photos @ known.T / np.linalg.norm(photos, axis=1, keepdims=True)
        return np.sqrt(np.maximum(2 - 2 * np.sort(cosines, axis=1)[:, -5], 0))

    return score


def residual(seen: np.ndarray, labels: np.ndarray) -> Score:
    """Mahalanobis in the directions that hold 95 % of the variance, and what is left in all others."""
    middle = seen.mean(axis=0)
    variances, directions = np.linalg.eigh(np.cov(seen.T))
    kept = np.cumsum(variances) > 0.05 * variances.sum()
    inside, rest = mahalanobis((seen - middle) @ directions[:, kept], labels), variances[~kept].sum()

    def score(photos: np.ndarray) -> np.ndarray:
        along = (photos - middle) @ directions
        return np.sqrt(inside(along[:, kept]) ** 2 + kept.sum() * (along[:, ~kept] ** 2).sum(axis=1) / rest)

    return score


def ours(seen: np.ndarray, labels: np.ndarray, held_out: np.ndarray) -> Score:
    reference = fit_reference(torch.from_numpy(seen), labels, torch.from_numpy(held_out))
    return lambda photos: reference.distances(torch.from_numpy(photos)).numpy()


def compare(checkpoint: Checkpoint, squares: Squares, labels: np.ndarray, *, usual: tuple[str, ...]) -> None:
    """AUROC against the locked test / share beyond the limit, for each kind of picture."""
    pooled = {name: pool_squares(checkpoint.model, some, checkpoint.card.preprocess) for name, some in squares.items()}
    with torch.inference_mode():
        behind = {name: checkpoint.model.trunk.fc_norm(some).double().numpy() for name, some in pooled.items()}
    before = {name: some.double().numpy() for name, some in pooled.items()}
    columns = {f"ours at {UNLIKE_ABOVE}": scored(before, ours(before["train"], labels, before["calibration"]), limit=UNLIKE_ABOVE)}
    for where, seen in (("", before), (", norm", behind)):
        known = seen["train"]
        columns |= {
            f"class{where}": scored(seen, mahalanobis(known, labels)),
            f"relative{where}": scored(seen, mahalanobis(known, labels, relative=True)),
            f"5-NN{where}": scored(seen, neighbours(known, labels)),
            f"PCA+rest{where}": scored(seen, residual(known, labels)),
        }
    names = [name for name in squares if name not in ("train", "calibration", "test")]
    print(f"{'':26}{'pictures':>9} " + " ".join(f"{column:>14}" for column in columns))
    print(f"{'false alarms on the test':26}{len(squares['test']):9} " + " ".join(f"{one['test'][1]:14.3f}" for one in columns.values()))
    for name in names:
        cells = " ".join(f"{auroc:7.2f} /{beyond:5.2f}" for auroc, beyond in (one[name] for one in columns.values()))
        print(f"{name:26}{len(squares[name]):9} {cells}")
    odd = [name for name in names if name not in (*usual, *TAKEN_AS_USUAL, "validation")]
    means = (np.mean([one[name] for name in odd], axis=0) for one in columns.values())
    print(f"{'mean of the odd ones':26}{'':9} " + " ".join(f"{auroc:7.2f} /{beyond:5.2f}" for auroc, beyond in means))


def scored(seen: Squares, score: Score, *, limit: float | None = None) -> dict[str, tuple[float, float]]:
    scores = {name: score(some) for name, some in seen.items()}
    limit = upper_limit(scores["calibration"]) if limit is None else limit
    test = scores["test"]
    truth = {name: np.r_[np.zeros(len(test)), np.ones(len(some))] for name, some in scores.items()}
    return {name: (roc_auc_score(truth[name], np.r_[test, some]), float((some > limit).mean())) for name, some in scores.items()}


if __name__ == "__main__":
    main()
