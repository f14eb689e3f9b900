"""From manifest and splits to a checkpoint folder: the one entry point of Dagster and the command line."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from eye_dx_core.dataset.cache import load_squares
from eye_dx_core.dataset.checks import check_dataset, require_sound
from eye_dx_core.dataset.imbalance import analyse_imbalance
from eye_dx_core.dataset.manifest import Manifest
from eye_dx_core.dataset.splitting import Split, Splits
from eye_dx_core.dataset.waivers import Waiver
from eye_dx_core.errors import BadDataset, BadSettings
from eye_dx_core.model.adapter import AdapterConfig
from eye_dx_core.model.checkpoint import CheckpointCard, calibrated, mask_unlearnt, save_checkpoint
from eye_dx_core.model.converting import encoder_file
from eye_dx_core.model.preprocess import Preprocess
from eye_dx_core.model.pretrained import SHIPPED_TRUNK, load_trunk, trunk_shape_of
from eye_dx_core.model.vit import FundusVit, TrunkConfig, build_model
from eye_dx_core.model.weight_file import TrunkSource
from eye_dx_core.schema.frozen import Frozen
from eye_dx_core.training import metrics
from eye_dx_core.training.calibration import SET_COVERAGE, Scaling, choose_set_thresholds, choose_uncertain_below, fit_scaling
from eye_dx_core.training.config import TrainingConfig
from eye_dx_core.training.feeds import Feed, LabelledPhotos, PhotoFeed, TokenStore, pool_all
from eye_dx_core.training.loop import EpochResult, fine_tune
from eye_dx_core.training.losses import Objective, log_shares
from eye_dx_core.training.resemblance import draw_evenly, fit_reference
from eye_dx_core.training.state import TrainingState
from eye_dx_core.training.team import join_team

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
    waivers: Sequence[Waiver] = (),
) -> Iterator[EpochResult]:
    """Fine-tune, calibrate and save; the folder holds the checkpoint when the last result has been taken.

    Started by `torchrun`, its processes train together; each gets the results, and the first one writes.
    The test split is not touched. A training that was killed is taken up where its last finished epoch left it.

    Args:
        folder: where weights and card go.
        photo_folder: what the manifest's paths are relative to.
        manifest: the photographs.
        splits: who learns from what.
        config: the knobs.
        trunk: pretrained weights in any layout of `model.layouts`; None takes the small trunk that ships with Eye Dx.
        cache_folder: where decoded photographs are kept, tokens of frozen blocks, and the state of an unfinished training.
        waivers: what somebody accepts of the photographs; those that were needed are stored in the card.

    Raises:
        BadDataset: a blocking claim on the photographs does not hold, fewer than two labels have photographs to learn from,
            or nothing is left to validate or calibrate with.
        BadCheckpoint: the trunk's weights do not fit.
        BadSettings: the image size does not fit the patches, or the deployment prior does not fit the labels.
    """
    findings = check_dataset(manifest, splits, waivers)
    require_sound(findings)
    team = join_team()
    with team.first_goes_ahead():
        trunk_file = SHIPPED_TRUNK if trunk is None else encoder_file(trunk, cache_folder / "trunks")
        shape = trunk_shape_of(trunk_file)
        preprocess = shape.preprocess(config.image_size)
        train, validation, calibration = (
            _load_split(split, photo_folder, manifest, splits, size=preprocess.size, cache_folder=cache_folder)
            for split in (Split.TRAIN, Split.VALIDATION, Split.CALIBRATION)
        )
    objective = _objective(train, manifest, config)
    prior = _deployment_prior(config, manifest.label_set.codes)
    build = partial(_build_pretrained, shape, trunk_file, class_count=len(objective.counts), config=config)
    model, source = build(from_block=_first_learning_block(config, shape.depth))
    state = TrainingState(cache_folder / "training", _fingerprint(config, manifest, splits, source, preprocess))
    photos = tuple(PhotoFeed(one, preprocess, config.augmentation) for one in (train, validation, calibration))
    with team.first_goes_ahead():
        store = TokenStore(cache_folder / "tokens", shape, source.sha256, config.seed, config.precision)
        learn, judge, calibrate = _feeds(photos, store, lambda: build(from_block=0)[0], config)
    best: dict[str, float] = {}
    for epoch in fine_tune(model, train=learn, validation=judge, objective=objective, config=config, state=state, team=team):
        if epoch.is_best:
            best = {
                "validation_score": epoch.score,
                "validation_loss": epoch.validation_loss,
                "validation_balanced_accuracy": epoch.balanced_accuracy,
            }
        yield epoch
    if not team.is_first:
        return
    sample = draw_evenly(learn.condition_indices)
    known, held_out = pool_all(model, learn, sample), pool_all(model, calibrate, np.arange(len(calibrate)))
    with torch.inference_mode():
        logits = mask_unlearnt(model.cpu().logits_from_pooled(held_out), objective.counts)
    judged = _calibrate(logits, calibration, objective, prior)
    card = CheckpointCard(
        model_name=f"{shape.name}-{config.method}",
        trunk=shape,
        adapters=_adapters(config),
        label_set=manifest.label_set,
        preprocess=preprocess,
        method=config.method,
        trunk_sha256=source.sha256,
        data_fingerprint=manifest.fingerprint,
        splits_fingerprint=splits.fingerprint,
        training={
            **config.model_dump(mode="json"),
            "loss": objective.loss,
            "sampling": objective.sampling,
            "trunk_source": source.model_dump(mode="json"),
            "waivers": [one.waiver.model_dump(mode="json") for one in findings if one.waiver],
        },
        training_counts=objective.counts,
        temperature=judged.scaling.temperature,
        bias=judged.scaling.bias,
        log_prior=objective.contained_log_prior,
        deployment_prior=prior,
        uncertain_below=judged.uncertain_below,
        set_thresholds=judged.set_thresholds,
        set_coverage=SET_COVERAGE,
        metrics=best | judged.metrics,
        created_at=datetime.now(UTC),
        library_versions={name: version(name) for name in _LIBRARIES},
    )
    reference = fit_reference(known, learn.condition_indices[sample], held_out)
    save_checkpoint(folder, model, card, trunk=None if config.method == "full" else trunk_file, reference=reference)
    state.remove()


class _Calibration(Frozen):
    """What the calibration split has to say about confidences."""

    scaling: Scaling
    uncertain_below: float
    set_thresholds: tuple[float | None, ...]
    metrics: dict[str, float]


def _load_split(split: Split, photo_folder: Path, manifest: Manifest, splits: Splits, *, size: int, cache_folder: Path) -> LabelledPhotos:
    """The photographs of a split; a repeated one counts once."""
    rows = [row for row in manifest.rows if splits.assignment[row.photo_id] is split and row.duplicate_of is None]
    if not rows:
        raise BadDataset(f"the {split} split is empty: more patients are needed")
    codes = manifest.label_set.codes
    squares = load_squares(photo_folder, rows, size=size, cache_folder=cache_folder)
    return LabelledPhotos(squares, np.array([codes.index(row.label) for row in rows], dtype=np.int64))


def _objective(train: LabelledPhotos, manifest: Manifest, config: TrainingConfig) -> Objective:
    """The loss for what there is to learn from; `auto` follows the imbalance report. An empty label is never an answer."""
    codes = manifest.label_set.codes
    counts = tuple(int(count) for count in np.bincount(train.condition_indices, minlength=len(codes)))
    if sum(count > 0 for count in counts) < 2:
        raise BadDataset("there is nothing to tell apart: training photographs of at least two labels are needed")
    advice = analyse_imbalance(dict(zip(codes, counts, strict=True)))
    loss = advice.recommended_loss if config.loss == "auto" else config.loss
    return Objective(loss, counts, advice.recommended_sampling if config.sampling == "auto" else config.sampling)


def _deployment_prior(config: TrainingConfig, codes: Sequence[str]) -> tuple[float, ...] | None:
    """The shares that were given, and for each label left out an equal part of what is missing to 1.

    Raises:
        BadSettings: a label is unknown, a share is no share, or they do not add up to 1.
    """
    given = config.deployment_prior
    if not given:
        return None
    unknown, missing = sorted(set(given) - set(codes)), [code for code in codes if code not in given]
    rest = 1 - sum(given.values())
    if unknown:
        raise BadSettings(f"deployment_prior names {', '.join(unknown)}, and the labels are {', '.join(codes)}")
    if min(given.values()) < 0 or rest < -1e-6 or (rest > 1e-6 and not missing):
        raise BadSettings("deployment_prior must be shares between 0 and 1 that add up to 1")
    return tuple(given.get(code, max(rest, 0.0) / max(len(missing), 1)) for code in codes)


def _adapters(config: TrainingConfig) -> AdapterConfig | None:
    if config.method == "adapters":
        return AdapterConfig(bottleneck=config.bottleneck)
    return AdapterConfig(bottleneck=config.bottleneck, last_blocks=config.last_blocks) if config.method == "adapters-last-k" else None


def _first_learning_block(config: TrainingConfig, depth: int) -> int:
    """Where the part of the trunk ends that is the same fixed function at every epoch; `depth` when only the head learns."""
    if config.method == "probe":
        return depth
    return AdapterConfig(last_blocks=config.last_blocks).first_block(depth) if config.method == "adapters-last-k" else 0


def _feeds(
    photos: Sequence[PhotoFeed], store: TokenStore, build_whole: Callable[[], FundusVit], config: TrainingConfig
) -> tuple[Feed, ...]:
    """What the loop learns from, is judged by and calibrated with: photographs, or tokens where the lower part of the trunk is fixed.

    The whole trunk is built once at most, when some tokens are not kept yet, and is gone before the first epoch.
    """
    if config.method in ("adapters", "full"):
        return tuple(photos)
    depth, build, views = _first_learning_block(config, store.trunk.depth), cache(build_whole), (config.views, 1, 1)
    return tuple(store.keep(build, one, depth=depth, views=count) for one, count in zip(photos, views, strict=True))


def _fingerprint(config: TrainingConfig, manifest: Manifest, splits: Splits, source: TrunkSource, preprocess: Preprocess) -> str:
    """Hash of everything that the trained weights follow from."""
    parts = (config.model_dump_json(), manifest.fingerprint, splits.fingerprint, source.sha256, preprocess.model_dump_json())
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _build_pretrained(
    shape: TrunkConfig, trunk: Path, *, class_count: int, config: TrainingConfig, from_block: int
) -> tuple[FundusVit, TrunkSource]:
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        model = build_model(shape, class_count=class_count, adapters=_adapters(config), image_size=config.image_size, from_block=from_block)
    source = load_trunk(model, trunk)
    return model.to("cuda" if torch.cuda.is_available() else "cpu"), source


def _calibrate(logits: torch.Tensor, photos: LabelledPhotos, objective: Objective, prior: tuple[float, ...] | None) -> _Calibration:
    truth, contained = photos.condition_indices, objective.contained_log_prior
    # The calibration split is a sample of the same patients, so the training shares are its best estimate.
    scaling = fit_scaling(logits - torch.tensor(contained), torch.from_numpy(truth), log_shares(objective.counts))
    nothing = (0.0,) * len(contained)
    before, after = (
        calibrated(logits, temperature=temperature, bias=bias, log_prior=contained, deployment_prior=prior).double().numpy()
        for temperature, bias in ((1.0, nothing), (scaling.temperature, scaling.bias))
    )
    codes = [str(place) for place in range(len(contained))]
    found_before, found = (metrics.measure_once(truth, one, codes, prior=prior) for one in (before, after))
    is_right = after.argmax(axis=1) == truth
    # What each photograph stands for where the model is used.
    stands_for = (np.ones(len(contained)) if prior is None else np.array(prior))[truth] / np.bincount(truth)[truth]
    return _Calibration(
        scaling=scaling,
        uncertain_below=choose_uncertain_below(after.max(axis=1), is_right, stands_for),
        set_thresholds=choose_set_thresholds(after, truth, coverage=SET_COVERAGE),
        metrics={
            "calibration_error_before": found_before["ece"],
            "calibration_error": found["ece"],
            "classwise_calibration_error_before": _classwise(found_before, codes),
            "classwise_calibration_error": _classwise(found, codes),
            "calibration_balanced_accuracy": found["balanced_accuracy"],
        },
    )


def _classwise(measured: dict[str, float], codes: Sequence[str]) -> float:
    """Mean calibration error of the labels, each against the others."""
    return float(np.mean([measured[f"calibration_error_{code}"] for code in codes]))
