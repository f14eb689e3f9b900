"""Which engine reads: the fastest that passed its gate on this checkpoint, or the one that the settings name."""

import logging
from dataclasses import replace
from pathlib import Path

import torch

from eye_dx_core.errors import BadSettings
from eye_dx_core.inference.engines import openvino_engine
from eye_dx_core.inference.engines.judgement import engine_folder, find_judgement
from eye_dx_core.inference.engines.openvino_engine import OpenVinoEngine
from eye_dx_core.inference.engines.port import Engine
from eye_dx_core.inference.engines.torch_engine import TorchEngine, best_dtype, place
from eye_dx_core.model.checkpoint import Checkpoint
from eye_dx_core.model.vit import FundusVit
from eye_dx_core.schema.engine import EngineName

_DTYPES = {EngineName.TORCH_FLOAT32: torch.float32, EngineName.TORCH_BFLOAT16: torch.bfloat16}
_log = logging.getLogger(__name__)


def open_engine(checkpoint: Checkpoint, *, engines: Path, wanted: EngineName | None = None) -> tuple[Checkpoint, Engine]:
    """The engine that reads, and the checkpoint with its model where and in the precision in which evidence is looked for.

    That model is torch's own, because only torch hands over its tokens; it is the only copy that stays in memory beside the engine.

    Args:
        checkpoint: as loaded.
        engines: folder of what `eye-dx model optimise` made.
        wanted: an engine by name; None takes the fastest that may read.

    Raises:
        BadSettings: the wanted engine is not there, or was refused; the text says why.
    """
    ready = replace(checkpoint, model=_place(checkpoint, engines, wanted))
    if wanted in _DTYPES:
        return ready, TorchEngine(ready.model)
    if wanted is not None:
        return ready, _open_wanted(checkpoint, engines, wanted)
    return ready, _open_fastest(checkpoint, engines) or TorchEngine(ready.model)


def _place(checkpoint: Checkpoint, engines: Path, wanted: EngineName | None) -> FundusVit:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    named = _DTYPES.get(wanted) if wanted else None
    return place(checkpoint.model, dtype=named or _trusted_dtype(checkpoint, engines, device), device=device)


def _trusted_dtype(checkpoint: Checkpoint, engines: Path, device: torch.device) -> torch.dtype:
    """The fastest for this machine, unless half precision was found to change this checkpoint's answers."""
    fastest = best_dtype(checkpoint.model, device)
    half = find_judgement(engines, checkpoint, EngineName.TORCH_BFLOAT16, library_version=torch.__version__)
    if fastest is torch.bfloat16 and half is not None and half.refusal:
        _log.warning("%s does not read: %s", half.engine, half.refusal)
        return torch.float32
    return fastest


def _open_wanted(checkpoint: Checkpoint, engines: Path, wanted: EngineName) -> Engine:
    version = openvino_engine.require_version()
    judged = find_judgement(engines, checkpoint, wanted, library_version=version)
    if judged is None or judged.gate.refusal:
        why = judged.gate.refusal if judged else "`eye-dx model optimise` has not made it for this checkpoint"
        raise BadSettings(f"EYE_DX_ENGINE wants {wanted}: {why}")
    return OpenVinoEngine(engine_folder(engines, checkpoint, wanted), wanted)


def _open_fastest(checkpoint: Checkpoint, engines: Path) -> Engine | None:
    """The fastest exported engine that may read; None where torch is the better choice. An engine that does not open is passed over."""
    if torch.cuda.is_available() or not any(engine_folder(engines, checkpoint, one).is_dir() for one in openvino_engine.ENGINES):
        return None  # OpenVINO is not even imported
    version = openvino_engine.find_version()
    if version is None:
        return None
    judged = [find_judgement(engines, checkpoint, one, library_version=version) for one in openvino_engine.ENGINES]
    for one in sorted((one for one in judged if one and not one.refusal), key=lambda one: one.ms_per_photo):
        try:
            return OpenVinoEngine(engine_folder(engines, checkpoint, one.engine), one.engine)
        except (BadSettings, RuntimeError) as error:
            _log.warning("%s does not open (%s): another engine reads", one.engine, type(error).__name__)
    return None
