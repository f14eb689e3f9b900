"""Engines are made, judged on photographs, and kept only when they say what single precision says."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from eye_dx_core.inference.engines import openvino_engine
from eye_dx_core.inference.engines.choosing import open_engine
from eye_dx_core.inference.engines.judgement import engine_folder
from eye_dx_core.inference.engines.torch_engine import TorchEngine
from eye_dx_core.model.checkpoint import load_checkpoint
from eye_dx_core.optimising import TrialPhotos, answers_of, judge, optimise
from eye_dx_core.schema.engine import EngineName
from tests.checkpoints import a_checkpoint


def some_photos(count: int = 24) -> TrialPhotos:
    squares = np.random.default_rng(5).integers(0, 256, (count, 64, 64, 3), dtype=np.uint8)
    return TrialPhotos(training=squares[:8], calibration=squares, truth=np.arange(count, dtype=np.int64) % 8)


def test_an_engine_with_other_weights_is_refused_with_figures(tmp_path: Path):
    checkpoint, other = (load_checkpoint(a_checkpoint(tmp_path / str(seed), seed=seed)) for seed in (3, 4))
    photos, own = some_photos(), TorchEngine(checkpoint.model)
    expected = answers_of(checkpoint, own, photos)

    good = judge(checkpoint, own, usual=own, expected=expected, photos=photos, version=torch.__version__)
    bad = judge(checkpoint, TorchEngine(other.model), usual=own, expected=expected, photos=photos, version=torch.__version__)

    assert (good.gate.agreement, good.gate.ece_change, good.refusal) == (1.0, 0.0, None)
    assert bad.refusal is not None
    assert f"{bad.gate.agreement:.2%} of 24 photographs" in bad.refusal


@pytest.mark.skipif(openvino_engine.find_version() is None or find_spec("nncf") is None, reason="needs the extra openvino")
def test_of_a_refused_engine_only_the_figures_are_kept(tmp_path: Path):
    checkpoint, engines = load_checkpoint(a_checkpoint(tmp_path / "checkpoint")), tmp_path / "engines"

    (judged,) = optimise(checkpoint, [EngineName.OPENVINO_INT8], photos=some_photos(), engines=engines)

    kept = {path.name for path in engine_folder(engines, checkpoint, judged.engine).iterdir()}
    assert kept == ({"gate.json"} if judged.refusal else {"gate.json", *openvino_engine.FILES})
    assert open_engine(checkpoint, engines=engines)[1].name is (EngineName.TORCH_FLOAT32 if judged.refusal else judged.engine)
