"""From manifest and splits to a checkpoint folder: the one entry point of Dagster and the command line."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from importlib import resources
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
from eye_dx_core.model.preprocess import Preprocess
from eye_dx_core.model.pretrained import TrunkSource, load_trunk
from eye_dx_core.model.vit import TRUNKS, FundusVit, TrunkConfig, build_model
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
        _load_split(split, photo_folder, manifest, splits, preprocess, cache_folder)
        for split in (Split.TRAIN, Split.VALIDATION, Split.CALIBRATION)
    )
    counts = _count(train, manifest.label_set.codes)
    model, source = _build(shape, trunk, config, class_count=len(counts))
    ...
