"""Making a checkpoint's faster engines: export, measure, hold against single precision, and keep what passes."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from eye_dx_core.dataset.cache import Squares, load_squares
from eye_dx_core.dataset.manifest import Manifest
from eye_dx_core.dataset.splitting import Split, Splits
from eye_dx_core.errors import BadDataset
from eye_dx_core.inference.engines import openvino_engine
from eye_dx_core.inference.engines.gate import Gate
from eye_dx_core.inference.engines.judgement import Judgement, engine_folder, hash_files, save_judgement
from eye_dx_core.inference.engines.openvino_engine import OpenVinoEngine, export_model
from eye_dx_core.inference.engines.port import Engine
from eye_dx_core.inference.engines.torch_engine import TorchEngine, best_dtype, place
from eye_dx_core.model.checkpoint import Checkpoint
from eye_dx_core.progress import LoggedProgress
from eye_dx_core.schema.engine import EngineName
from eye_dx_core.training import metrics

_BATCH, _REPEATS = 8, 5
_RANGE_PHOTOGRAPHS = 128
"""Training photographs by which int8 finds its ranges. NNCF would take 300; its time grows with them."""


@dataclass(frozen=True)
class TrialPhotos:
    """What engines are made and judged with."""

    training: Squares
    calibration: Squares
    truth: NDArray[np.int64]
    """Position of each calibration photograph's label, (photo,)."""


def load_trial_photos(checkpoint: Checkpoint, photo_folder: Path, manifest: Manifest, splits: Splits, *, cache_folder: Path) -> TrialPhotos:
    """Some photographs of the training split, evenly over the manifest, and all of the calibration split; a repeated one counts once.

    Raises:
        BadDataset: a split is empty, or a label is not one of the checkpoint's.
    """
    once = [row for row in manifest.rows if row.duplicate_of is None]
    training, calibration = (
        [row for row in once if splits.assignment[row.photo_id] is split] for split in (Split.TRAIN, Split.CALIBRATION)
    )
    codes = checkpoint.card.label_set.codes
    if not training or not calibration or any(row.label not in codes for row in calibration):
        raise BadDataset("an engine is judged by the calibration split of the photographs that the checkpoint was trained on")
    size, spread = checkpoint.card.preprocess.size, np.linspace(0, len(training) - 1, min(len(training), _RANGE_PHOTOGRAPHS)).astype(int)
    return TrialPhotos(
        training=load_squares(photo_folder, [training[place] for place in spread], size=size, cache_folder=cache_folder),
        calibration=load_squares(photo_folder, calibration, size=size, cache_folder=cache_folder),
        truth=np.array([codes.index(row.label) for row in calibration], dtype=np.int64),
    )


def optimise(checkpoint: Checkpoint, wanted: Sequence[EngineName], *, photos: TrialPhotos, engines: Path) -> Iterator[Judgement]:
    """Judge half precision if this machine is faster with it, then make and judge the wanted engines, one after the other.

    What was judged is on disk when it comes out. Of a refused engine only the figures are kept.

    Args:
        checkpoint: as loaded, in single precision on the CPU.
        wanted: exported engines.
        photos: to make and judge with.
        engines: folder of all engines.

    Raises:
        BadSettings: OpenVINO is not installed, or of no use on this processor.
    """
    version = openvino_engine.require_version() if wanted else ""
    reference = TorchEngine(checkpoint.model)
    expected, usual = answers_of(checkpoint, reference, photos), reference
    if best_dtype(checkpoint.model, torch.device("cpu")) is torch.bfloat16:
        half = TorchEngine(place(checkpoint.model, dtype=torch.bfloat16, device=torch.device("cpu")))
        judged = judge(checkpoint, half, usual=usual, expected=expected, photos=photos, version=torch.__version__)
        folder = engine_folder(engines, checkpoint, half.name)
        folder.mkdir(parents=True, exist_ok=True)
        save_judgement(folder, judged)
        usual = reference if judged.refusal else half
        yield judged
    for one in wanted:
        folder = engine_folder(engines, checkpoint, one)
        _export(checkpoint, one, photos, folder)
        judged = judge(checkpoint, OpenVinoEngine(folder, one), usual=usual, expected=expected, photos=photos, version=version).model_copy(
            update={"files": hash_files(folder, openvino_engine.FILES)}
        )
        if judged.refusal:
            _remove_files(folder)
        save_judgement(folder, judged)
        yield judged


def _export(checkpoint: Checkpoint, engine: EngineName, photos: TrialPhotos, folder: Path) -> None:
    """Write the engine's files; an older judgement goes first, because it speaks of other files."""
    _remove_files(folder)
    batch = checkpoint.card.preprocess.to_batch(photos.training[:])
    export_model(checkpoint.model, folder, engine, photos=batch.split(1))


def _remove_files(folder: Path) -> None:
    for path in folder.glob("*"):
        path.unlink()


def judge(
    checkpoint: Checkpoint, engine: Engine, *, usual: Engine, expected: NDArray[np.float64], photos: TrialPhotos, version: str
) -> Judgement:
    """Hold an engine against what single precision said.

    Args:
        checkpoint: whose engine it is.
        engine: to be judged.
        usual: what reads without it; it must be faster.
        expected: `answers_of` single precision.
        photos: to judge with.
        version: of the engine's library.
    """
    said = answers_of(checkpoint, engine, photos)
    before, after = (_calibration_error(checkpoint, one, photos.truth) for one in (expected, said))
    batch = checkpoint.card.preprocess.to_batch(photos.training[:_BATCH])
    ours, torchs = _ms_per_photo([engine, usual], batch)
    return Judgement(
        engine=engine.name,
        checkpoint_sha256=checkpoint.sha256,
        trunk_sha256=checkpoint.card.trunk_sha256,
        library_version=version,
        gate=Gate(
            photographs=len(photos.truth),
            agreement=float((said.argmax(axis=1) == expected.argmax(axis=1)).mean()),
            ece_change=abs(after - before),
        ),
        ms_per_photo=ours,
        torch_ms_per_photo=torchs,
        made_at=datetime.now(UTC),
    )


def answers_of(checkpoint: Checkpoint, engine: Engine, photos: TrialPhotos) -> NDArray[np.float64]:
    """What an engine says of the calibration split: (photo, class)."""
    progress, said = LoggedProgress(f"photographs read by {engine.name}", len(photos.truth)), list[torch.Tensor]()
    for start in range(0, len(photos.truth), _BATCH):
        batch = checkpoint.card.preprocess.to_batch(photos.calibration[start : start + _BATCH])
        said.append(checkpoint.probabilities(engine.read(batch).logits))
        progress.advance(len(batch))
    return torch.cat(said).double().numpy()


def _calibration_error(checkpoint: Checkpoint, probabilities: NDArray[np.float64], truth: NDArray[np.int64]) -> float:
    codes, prior = checkpoint.card.label_set.codes, checkpoint.card.deployment_prior
    return metrics.measure_once(truth, probabilities, codes, prior=prior)["ece"]


def _ms_per_photo(engines: Sequence[Engine], batch: torch.Tensor) -> list[float]:
    """Best times of engines that take turns, so that whoever disturbs them disturbs all."""
    best = [float("inf")] * len(engines)
    for _ in range(1 + _REPEATS):
        for place_of, engine in enumerate(engines):
            start = time.perf_counter()
            engine.read(batch)
            best[place_of] = min(best[place_of], time.perf_counter() - start)
    return [seconds * 1000 / len(batch) for seconds in best]
