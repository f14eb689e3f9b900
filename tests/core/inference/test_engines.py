"""Whatever computes the answers gives the same ones, and what nobody judged for this checkpoint never reads."""

import logging
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from eye_dx_core.errors import BadSettings
from eye_dx_core.inference.engines import openvino_engine
from eye_dx_core.inference.engines.choosing import open_engine
from eye_dx_core.inference.engines.gate import Gate
from eye_dx_core.inference.engines.judgement import Judgement, engine_folder, hash_files, save_judgement
from eye_dx_core.inference.engines.micro_batch import available_memory, find_batch_size
from eye_dx_core.inference.engines.openvino_engine import OpenVinoEngine, export_model
from eye_dx_core.inference.engines.port import Answer, Engine
from eye_dx_core.inference.engines.torch_engine import TorchEngine, best_dtype, place
from eye_dx_core.inference.predictor import Predictor
from eye_dx_core.model.checkpoint import Checkpoint, load_checkpoint
from eye_dx_core.schema.engine import EngineName
from tests.builders import NOON
from tests.checkpoints import a_checkpoint

CPU, BF16 = torch.device("cpu"), EngineName.OPENVINO_BFLOAT16
GOOD = Gate(photographs=100, agreement=1.0, ece_change=0.0)
computes_bfloat16 = pytest.mark.skipif(openvino_engine.find_version() is None, reason="needs the extra openvino")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    return load_checkpoint(a_checkpoint(tmp_path / "checkpoint"))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """OpenVINO's files of the checkpoint."""
    folder = tmp_path_factory.mktemp("exported")
    model = load_checkpoint(a_checkpoint(folder / "checkpoint")).model
    export_model(model, folder / BF16, BF16, photos=())
    return folder / BF16


def squares(count: int = 5) -> NDArray[np.uint8]:
    return np.random.default_rng(7).integers(0, 256, (count, 64, 64, 3), dtype=np.uint8)


def a_batch(checkpoint: Checkpoint) -> torch.Tensor:
    return checkpoint.card.preprocess.to_batch(squares())


def put(exported: Path, engines: Path, checkpoint: Checkpoint, *, gate: Gate = GOOD, ms: float = 1.0) -> Path:
    """The exported files where the engine of this checkpoint belongs, with a judgement."""
    folder = engine_folder(engines, checkpoint, BF16)
    folder.mkdir(parents=True)
    for path in exported.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    judgement = Judgement(
        engine=BF16,
        checkpoint_sha256=checkpoint.sha256,
        trunk_sha256=checkpoint.card.trunk_sha256,
        library_version=openvino_engine.require_version(),
        files=hash_files(folder, openvino_engine.FILES),
        gate=gate,
        ms_per_photo=ms,
        torch_ms_per_photo=2.0,
        made_at=NOON,
    )
    save_judgement(folder, judgement)
    return folder


def assert_batch_equals_single(engine: Engine, batch: torch.Tensor, *, within: float) -> None:
    together, alone = engine.read(batch), [engine.read(one) for one in batch.split(1)]

    assert (together.logits.shape, together.pooled.shape) == ((5, 8), (5, 24))
    assert together.logits.dtype == together.pooled.dtype == torch.float32
    assert torch.equal(together.logits.argmax(1), torch.cat([one.logits for one in alone]).argmax(1))
    torch.testing.assert_close(together.logits, torch.cat([one.logits for one in alone]), rtol=0, atol=within)
    torch.testing.assert_close(together.pooled, torch.cat([one.pooled for one in alone]), rtol=0, atol=within)


def test_half_precision_says_the_same_and_leaves_the_model_as_it_was(checkpoint: Checkpoint):
    half = place(checkpoint.model, dtype=torch.bfloat16, device=CPU)
    single, coarse = TorchEngine(checkpoint.model), TorchEngine(half)

    assert (single.name, coarse.name) == (EngineName.TORCH_FLOAT32, EngineName.TORCH_BFLOAT16)
    assert torch.equal(single.read(a_batch(checkpoint)).logits.argmax(1), coarse.read(a_batch(checkpoint)).logits.argmax(1))
    assert {one.dtype for one in checkpoint.model.parameters()} == {torch.float32}
    assert {one.dtype for one in half.parameters()} == {torch.bfloat16}
    assert best_dtype(checkpoint.model, CPU) is torch.float32  # so narrow a trunk is never even timed
    assert place(checkpoint.model, dtype=torch.float32, device=CPU) is checkpoint.model
    assert_batch_equals_single(single, a_batch(checkpoint), within=1e-5)
    assert_batch_equals_single(coarse, a_batch(checkpoint), within=0.1)


def test_a_model_in_half_precision_reads_and_looks_for_evidence(checkpoint: Checkpoint):
    half = replace(checkpoint, model=place(checkpoint.model, dtype=torch.bfloat16, device=CPU))
    readings = Predictor(half, model_name="m", model_version="1").read_squares(squares())

    assert all(np.isfinite(one.probabilities).all() and one.embedding.shape == (24,) for one in readings)


class CrampedEngine:
    """An engine whose memory holds two photographs."""

    name = EngineName.TORCH_FLOAT32

    def __init__(self, engine: TorchEngine, *, holds: int) -> None:
        self.engine, self.holds, self.seen = engine, holds, list[int]()

    def read(self, batch: torch.Tensor) -> Answer:
        self.seen.append(len(batch))
        if len(batch) > self.holds:
            raise torch.OutOfMemoryError("GPU out of memory")
        return self.engine.read(batch)


def test_when_memory_runs_out_the_batch_is_halved_and_nothing_is_lost(checkpoint: Checkpoint, caplog: pytest.LogCaptureFixture):
    cramped = CrampedEngine(TorchEngine(checkpoint.model), holds=2)
    predictor = Predictor(checkpoint, model_name="m", model_version="1", engine=cramped, batch_size=8)
    expected = Predictor(checkpoint, model_name="m", model_version="1").read_squares(squares())

    readings = predictor.read_squares(squares())

    assert cramped.seen == [5, 2, 2, 1]
    assert predictor.batch_size == 2
    assert "5 photographs at once do not fit into memory" in caplog.text
    for one, other in zip(readings, expected, strict=True):
        np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-5)


def test_one_photograph_that_does_not_fit_is_an_error(checkpoint: Checkpoint):
    cramped = CrampedEngine(TorchEngine(checkpoint.model), holds=0)

    with pytest.raises(torch.OutOfMemoryError):
        Predictor(checkpoint, model_name="m", model_version="1", engine=cramped, batch_size=8).read_squares(squares())


def test_a_container_s_limit_bounds_the_memory(checkpoint: Checkpoint, tmp_path: Path):
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("400\n")

    assert available_memory(tmp_path) == 600
    (tmp_path / "memory.max").write_text("max\n")
    assert available_memory(tmp_path) == pytest.approx(available_memory(tmp_path / "none"), rel=0.2)
    assert find_batch_size(checkpoint.model) == 8


@pytest.mark.parametrize(
    ("gate", "refusal"),
    [
        (Gate(photographs=400, agreement=0.995, ece_change=0.005), None),
        (Gate(photographs=400, agreement=0.99, ece_change=0), "same for 99.00% of 400 photographs, under 99.5%"),
        (Gate(photographs=400, agreement=1, ece_change=0.0061), "moves by 0.0061, over 0.005"),
        (Gate(photographs=19, agreement=1, ece_change=0), "19 photographs .* too few"),
    ],
)
def test_a_refusal_names_the_figures(gate: Gate, refusal: str | None):
    if refusal is None:
        assert gate.refusal is None
    else:
        assert gate.refusal is not None
        assert re.search(refusal, gate.refusal)


def test_without_the_extra_torch_reads_and_the_missing_extra_is_named(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "openvino", None)
    engine_folder(tmp_path, checkpoint, BF16).mkdir(parents=True)

    assert open_engine(checkpoint, engines=tmp_path)[1].name is EngineName.TORCH_FLOAT32
    with pytest.raises(BadSettings, match=r"pip install 'eye-dx\[openvino\]'"):
        open_engine(checkpoint, engines=tmp_path, wanted=BF16)


@computes_bfloat16
def test_an_exported_engine_says_the_same_and_tells_nobody_that_it_is_used(exported: Path, checkpoint: Checkpoint):
    engine, batch = OpenVinoEngine(exported, BF16), a_batch(checkpoint)

    assert torch.equal(engine.read(batch).logits.argmax(1), TorchEngine(checkpoint.model).read(batch).logits.argmax(1))
    assert_batch_equals_single(engine, batch, within=0.1)
    assert sys.modules["openvino_telemetry"] is None


@computes_bfloat16
def test_the_engine_that_passed_reads_and_the_settings_may_name_another(exported: Path, checkpoint: Checkpoint, tmp_path: Path):
    put(exported, tmp_path, checkpoint)

    assert open_engine(checkpoint, engines=tmp_path)[1].name is BF16
    assert open_engine(checkpoint, engines=tmp_path, wanted=EngineName.TORCH_FLOAT32)[1].name is EngineName.TORCH_FLOAT32
    with pytest.raises(BadSettings, match="EYE_DX_ENGINE wants openvino-int8: `eye-dx model optimise` has not made it"):
        open_engine(checkpoint, engines=tmp_path, wanted=EngineName.OPENVINO_INT8)


@computes_bfloat16
@pytest.mark.parametrize("damage", ["weights", "checkpoint", "version", "judgement"])
def test_an_engine_that_was_made_for_something_else_never_reads(
    exported: Path, checkpoint: Checkpoint, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.WARNING)
    folder = put(exported, tmp_path, checkpoint)
    card = folder / "gate.json"
    changes = {
        "checkpoint": (checkpoint.sha256, "0" * 64),
        "version": (openvino_engine.require_version(), "2020.1"),
        "judgement": ("{", ""),
    }
    if damage == "weights":
        content = bytearray((folder / "model.bin").read_bytes())
        content[100] ^= 1
        (folder / "model.bin").write_bytes(content)
    else:
        card.write_text(card.read_text().replace(*changes[damage]))

    assert open_engine(checkpoint, engines=tmp_path)[1].name is EngineName.TORCH_FLOAT32
    said = {
        "weights": "model.bin is not the file that was judged",
        "checkpoint": "made for checkpoint 000000000000",
        "version": "made with version 2020.1 of its library",
        "judgement": "gate.json cannot be read",
    }
    assert said[damage] in caplog.text


@computes_bfloat16
def test_an_engine_that_was_refused_never_reads(exported: Path, checkpoint: Checkpoint, tmp_path: Path):
    put(exported, tmp_path / "wrong", checkpoint, gate=Gate(photographs=100, agreement=0.9, ece_change=0.0))
    put(exported, tmp_path / "slow", checkpoint, ms=2.5)

    for name in ("wrong", "slow"):
        assert open_engine(checkpoint, engines=tmp_path / name)[1].name is EngineName.TORCH_FLOAT32
    with pytest.raises(BadSettings, match=r"openvino-bfloat16: the likeliest label is the same for 90\.00% of 100"):
        open_engine(checkpoint, engines=tmp_path / "wrong", wanted=BF16)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_reads_in_half_precision_and_says_the_same(checkpoint: Checkpoint, tmp_path: Path):
    on_gpu, engine = open_engine(checkpoint, engines=tmp_path)
    readings = Predictor(on_gpu, model_name="m", model_version="1", engine=engine).read_squares(squares())
    expected = TorchEngine(checkpoint.model).read(a_batch(checkpoint)).logits.argmax(1)

    assert engine.name is EngineName.TORCH_BFLOAT16
    assert [one.condition_index for one in readings] == expected.tolist()
