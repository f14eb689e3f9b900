"""From manifest and splits to a checkpoint folder: the one entry point of Dagster and the command line."""

from collections.abc import Iterator
from contextlib import nullcontext
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from eye_dx_core.dataset.cache import load_squares
from eye_dx_core.dataset.manifest import Manifest
from eye_dx_core.dataset.splitting import Split, Splits
from eye_dx_core.errors import BadDataset
from eye_dx_core.model.adapter import AdapterConfig
from eye_dx_core.model.checkpoint import CheckpointCard, calibrated, save_checkpoint
from eye_dx_core.model.pretrained import TrunkSource, load_trunk, shipped_trunk
from eye_dx_core.model.vit import TRUNKS, FundusVit, TrunkConfig, build_model
from eye_dx_core.schema.frozen import Frozen
from eye_dx_core.training import metrics
from eye_dx_core.training.calibration import choose_uncertain_below, fit_temperature
from eye_dx_core.training.config import TrainingConfig
from eye_dx_core.training.loop import EpochResult, LabelledPhotos, fine_tune, predict_logits
from eye_dx_core.training.losses import log_shares

_LIBRARIES = ("torch", "timm", "numpy", "safetensors")


def train_checkpoint(
    *,
    folder: Path,
    photo_folder: Path,
    manifest: Manifest,
    splits: Splits,
    config: TrainingConfig,
    trunk: Path | None,
    cache_folder: Path,
) -> Iterator[EpochResult]:
    """Fine-tune, calibrate and save; the folder holds the checkpoint when the last result has been taken.

    The test split is not touched.

    Args:
        folder: where weights and card go.
        photo_folder: what the manifest's paths are relative to.
        manifest: the photographs.
        splits: who learns from what.
        config: the knobs.
        trunk: RETFound weights (ViT-L/16); None takes the small trunk that ships with Eye Dx.
        cache_folder: where decoded photographs are kept.

    Raises:
        BadDataset: a label of the set has no photograph to learn from, or nothing is left to validate or calibrate with.
        BadCheckpoint: the trunk's weights do not fit.
        BadSettings: the image size does not fit the patches.
    """
    shape = TRUNKS["small" if trunk is None else "retfound_mae"]
    preprocess = shape.preprocess(config.image_size)
    train, validation, calibration = (
        _load_split(split, photo_folder, manifest, splits, size=preprocess.size, cache_folder=cache_folder)
        for split in (Split.TRAIN, Split.VALIDATION, Split.CALIBRATION)
    )
    counts = _count_labels(train, manifest.label_set.codes)
    shares = log_shares(counts)
    nothing = (0.0,) * len(shares)
    # Balanced softmax takes the class shares upon itself; after plain cross-entropy the logits contain them.
    explained, contained = (shares, nothing) if config.loss == "balanced_softmax" else (nothing, shares)
    adapters = AdapterConfig(bottleneck=config.bottleneck) if config.method == "adapters" else None
    model, source = _build_pretrained(shape, trunk, adapters, class_count=len(counts), config=config)
    best: dict[str, float] = {}
    for epoch in fine_tune(model, train=train, validation=validation, preprocess=preprocess, log_prior=explained, config=config):
        if epoch.is_best:
            best = {f"validation_{name}": value for name, value in epoch.as_metrics().items()}
        yield epoch
    judged = _calibrate(predict_logits(model, calibration.squares, preprocess), calibration, contained, shares)
    card = CheckpointCard(
        model_name=f"{shape.name}-{config.method}",
        trunk=shape,
        adapters=adapters,
        label_set=manifest.label_set,
        preprocess=preprocess,
        method=config.method,
        trunk_sha256=source.sha256,
        data_fingerprint=manifest.fingerprint,
        splits_fingerprint=splits.fingerprint,
        training=config.model_dump(mode="json"),
        training_counts=counts,
        temperature=judged.temperature,
        log_prior=contained,
        uncertain_below=judged.uncertain_below,
        metrics=best | judged.metrics,
        created_at=datetime.now(UTC),
        library_versions={name: version(name) for name in _LIBRARIES},
    )
    save_checkpoint(folder, model.cpu(), card)


class _Calibration(Frozen):
    """What the calibration split has to say about confidences."""

    temperature: float
    uncertain_below: float
    metrics: dict[str, float]


def _load_split(split: Split, photo_folder: Path, manifest: Manifest, splits: Splits, *, size: int, cache_folder: Path) -> LabelledPhotos:
    """The photographs of a split; a repeated one counts once."""
    rows = [row for row in manifest.rows if splits.assignment[row.photo_id] is split and row.duplicate_of is None]
    if not rows:
        raise BadDataset(f"the {split} split is empty: more patients are needed")
    codes = manifest.label_set.codes
    squares = load_squares(photo_folder, rows, size=size, cache_folder=cache_folder)
    return LabelledPhotos(squares, np.array([codes.index(row.label) for row in rows], dtype=np.int64))


def _count_labels(train: LabelledPhotos, codes: tuple[str, ...]) -> tuple[int, ...]:
    counts = tuple(int(count) for count in np.bincount(train.condition_indices, minlength=len(codes)))
    missing = [code for code, count in zip(codes, counts, strict=True) if count == 0]
    if missing:
        raise BadDataset(f"no photograph to learn {', '.join(missing)} from: add some or choose another label set")
    return counts


def _build_pretrained(
    shape: TrunkConfig, trunk: Path | None, adapters: AdapterConfig | None, *, class_count: int, config: TrainingConfig
) -> tuple[FundusVit, TrunkSource]:
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        model = build_model(shape, class_count=class_count, adapters=adapters, image_size=config.image_size)
    with shipped_trunk() if trunk is None else nullcontext(trunk) as path:
        source = load_trunk(model, path)
    return model.to("cuda" if torch.cuda.is_available() else "cpu"), source


def _calibrate(logits: torch.Tensor, photos: LabelledPhotos, contained: tuple[float, ...], shares: tuple[float, ...]) -> _Calibration:
    truth = photos.condition_indices
    # The calibration split is a sample of the same patients, so the training shares are its best estimate.
    temperature = fit_temperature(logits - torch.tensor(contained), torch.from_numpy(truth), shares)
    probabilities = calibrated(logits, temperature=temperature, log_prior=contained).double().numpy()
    confidences, is_right = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    weights = 1 / np.bincount(truth)[truth]
    return _Calibration(
        temperature=temperature,
        uncertain_below=choose_uncertain_below(confidences, is_right, weights),
        metrics={
            "calibration_error": metrics.calibration_error(truth, probabilities),
            "calibration_balanced_accuracy": metrics.balanced_accuracy(metrics.confusion(truth, probabilities.argmax(axis=1), len(shares))),
        },
    )
