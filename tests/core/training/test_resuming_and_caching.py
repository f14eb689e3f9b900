"""A killed training ends as if it had not been killed; frozen blocks are computed once and change nothing."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from eye_dx_core.dataset.augment import Augmentation
from eye_dx_core.model.adapter import AdaptedBlock, AdapterConfig
from eye_dx_core.model.pretrained import load_trunk
from eye_dx_core.model.trainable import Method, select_trainable
from eye_dx_core.model.vit import FundusVit, TrunkConfig, build_model
from eye_dx_core.training.config import TrainingConfig
from eye_dx_core.training.feeds import LabelledPhotos, PhotoFeed, TokenStore, read_all
from eye_dx_core.training.loop import EpochResult, fine_tune
from eye_dx_core.training.losses import Objective
from eye_dx_core.training.state import TrainingState

TINY = TrunkConfig(name="tiny", image_size=32, patch=8, dim=24, depth=4, heads=2)
UNCHANGED = Augmentation(flips=False, rotation_degrees=0, brightness=0, contrast=0, saturation=0)
OBJECTIVE = Objective("balanced_softmax", (12, 8, 4))


def a_feed(augmentation: Augmentation | None = None) -> PhotoFeed:
    rng = np.random.default_rng(1)
    labels = np.repeat(np.arange(3, dtype=np.int64), (12, 8, 4))
    squares = rng.integers(0, 90, (24, 32, 32, 3), dtype=np.uint8)
    squares[np.arange(24), ..., labels] += 120
    return PhotoFeed(LabelledPhotos(squares, labels), TINY.preprocess(), augmentation or Augmentation())


def a_model(adapters: AdapterConfig | None = AdapterConfig(bottleneck=8)) -> FundusVit:  # noqa: B008 - frozen
    torch.manual_seed(0)
    model = build_model(TINY, class_count=3, adapters=adapters).eval()
    torch.nn.init.normal_(model.head.weight, std=0.1)
    return model


def tune(model: FundusVit, config: TrainingConfig, state: TrainingState, *, epochs: int | None = None) -> list[EpochResult]:
    feed = a_feed(config.augmentation)
    running = fine_tune(model, train=feed, validation=feed, objective=OBJECTIVE, config=config, state=state)
    return [result for result, _ in zip(running, range(epochs or config.epochs), strict=False)]


@pytest.mark.parametrize("sampling", ["natural", "square_root"])
def test_an_interrupted_training_ends_with_the_same_weights(tmp_path: Path, sampling: str):
    config = TrainingConfig(epochs=5, batch_size=8, learning_rate=1e-2, sampling=sampling)  # pyright: ignore[reportArgumentType]
    whole, interrupted, resumed = a_model(), a_model(), a_model()
    results = list(
        fine_tune(whole, train=a_feed(), validation=a_feed(), objective=OBJECTIVE, config=config, state=TrainingState(tmp_path / "a", "x"))
    )

    tune(interrupted, config, TrainingState(tmp_path / "b", "x"), epochs=2)
    again = list(
        fine_tune(
            resumed, train=a_feed(), validation=a_feed(), objective=OBJECTIVE, config=config, state=TrainingState(tmp_path / "b", "x")
        )
    )

    assert [one.train_loss for one in again] == [one.train_loss for one in results]
    assert all(torch.equal(one, other) for one, other in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True))


def test_a_damaged_state_starts_again_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    config = TrainingConfig(epochs=2, batch_size=8)
    tune(a_model(), config, TrainingState(tmp_path, "x"), epochs=1)
    (kept,) = tmp_path.glob("*.safetensors")
    kept.write_bytes(kept.read_bytes()[:200])

    assert len(tune(a_model(), config, TrainingState(tmp_path, "x"))) == 2
    assert "starts again" in caplog.text


TRAINING = """
import sys
from pathlib import Path
import torch
from safetensors.torch import save_file
from tests.core.training.test_resuming_and_caching import OBJECTIVE, a_feed, a_model
from eye_dx_core.training.config import TrainingConfig
from eye_dx_core.training.loop import fine_tune
from eye_dx_core.training.state import TrainingState

torch.set_num_threads(1)
folder, model = Path(sys.argv[1]), a_model()
config = TrainingConfig(epochs=6, batch_size=4, learning_rate=1e-2)
for result in fine_tune(model, train=a_feed(), validation=a_feed(), objective=OBJECTIVE, config=config, state=TrainingState(folder, "x")):
    print(result.epoch, flush=True)
save_file({name: value.contiguous() for name, value in model.state_dict().items()}, folder / "weights.safetensors")
"""


def test_killed_in_its_third_epoch_it_goes_on_and_ends_with_the_same_weights(tmp_path: Path):
    def start(name: str) -> subprocess.Popen[str]:
        (tmp_path / name).mkdir(exist_ok=True)
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
        return subprocess.Popen([sys.executable, "-c", TRAINING, str(tmp_path / name)], stdout=subprocess.PIPE, text=True, env=environment)

    whole, killed = start("whole"), start("killed")
    assert killed.stdout is not None
    assert [killed.stdout.readline().strip() for _ in range(2)] == ["1", "2"]
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert not (tmp_path / "killed" / "weights.safetensors").exists()

    resumed = start("killed")

    assert [one.communicate()[0].split() for one in (whole, resumed)] == [["1", "2", "3", "4", "5", "6"]] * 2
    weights = [(tmp_path / name / "weights.safetensors").read_bytes() for name in ("whole", "killed")]
    assert weights[0] == weights[1]


def gradients(model: FundusVit, logits: torch.Tensor, method: Method) -> dict[str, torch.Tensor]:
    OBJECTIVE(logits, torch.from_numpy(a_feed().condition_indices)).backward()
    names = select_trainable(model, method)
    return {name: parameter.grad for name, parameter in model.named_parameters() if name in names and parameter.grad is not None}


@pytest.mark.parametrize(("method", "last_blocks"), [("adapters-last-k", 2), ("probe", None)])
def test_kept_tokens_give_the_gradients_of_the_whole_way(tmp_path: Path, method: Method, last_blocks: int | None):
    adapters = AdapterConfig(bottleneck=8, last_blocks=last_blocks) if last_blocks else None
    plain, cached = a_model(adapters), a_model(adapters)
    for model in (plain, cached):
        select_trainable(model, method)
    depth = TINY.depth - (last_blocks or 0)
    feed = a_feed(UNCHANGED)
    kept = TokenStore(tmp_path, TINY, "t", 0, dtype=torch.float32).keep(lambda: cached, feed, depth=depth, views=1)
    everything = np.arange(len(feed))

    whole = gradients(plain, plain.logits_from_pooled(feed.pool(plain, everything)), method)
    short = gradients(cached, cached.logits_from_pooled(kept.pool(cached, everything)), method)

    assert whole.keys() == short.keys() == set(select_trainable(plain, method))
    for name, gradient in whole.items():
        assert torch.allclose(gradient, short[name], atol=1e-5 * float(gradient.abs().max()) + 1e-9), name


def test_a_model_without_its_lower_blocks_takes_tokens_and_refuses_photographs(tmp_path: Path):
    whole, feed = a_model(AdapterConfig(bottleneck=8, last_blocks=2)), a_feed(UNCHANGED)
    trunk = tmp_path / "trunk.safetensors"
    save_file({key: value for key, value in whole.trunk.state_dict().items() if ".adapter_" not in key}, trunk)
    upper = build_model(TINY, class_count=3, adapters=AdapterConfig(bottleneck=8, last_blocks=2), from_block=2).eval()
    load_trunk(upper, trunk)
    upper.head.load_state_dict(whole.head.state_dict())

    kept = TokenStore(tmp_path, TINY, "t", 0, dtype=torch.float32).keep(lambda: whole, feed, depth=2, views=1)

    assert torch.allclose(read_all(upper, kept), read_all(whole, feed), atol=1e-6)
    assert upper.depth == whole.depth
    assert select_trainable(upper, "adapters-last-k") == select_trainable(whole, "adapters-last-k")
    assert len(list(upper.parameters())) < len(list(whole.parameters()))
    with pytest.raises(RuntimeError, match="without its lower blocks"):
        read_all(upper, feed)


def test_adapters_in_the_last_blocks_leave_the_others_plain():
    model = a_model(AdapterConfig(bottleneck=8, last_blocks=1))

    assert [isinstance(block, AdaptedBlock) for block in model.trunk.blocks] == [False, False, False, True]
    learning = select_trainable(model, "adapters-last-k")
    assert all(name.startswith(("head.", "trunk.fc_norm.", "trunk.blocks.3.adapter_")) for name in learning)


def test_tokens_are_kept_once_in_views_that_differ(tmp_path: Path):
    model, feed = a_model(AdapterConfig(last_blocks=2)), a_feed()
    first = TokenStore(tmp_path, TINY, "t", 0).keep(lambda: model, feed, depth=2, views=3)
    (kept,) = tmp_path.iterdir()
    written = kept.stat().st_mtime_ns

    def build_again() -> FundusVit:
        raise AssertionError("the trunk is not needed for tokens that are kept")

    again = TokenStore(tmp_path, TINY, "t", 0).keep(build_again, feed, depth=2, views=3)

    assert [one.stat().st_mtime_ns for one in tmp_path.iterdir()] == [written]
    assert torch.equal(first.tokens, again.tokens)
    assert first.tokens.shape == (3, 24, 17, 24)
    assert not torch.equal(first.tokens[0], first.tokens[1])
    assert torch.allclose(read_all(model, again), read_all(model, feed), atol=0.05)  # bfloat16 keeps 8 bits


@pytest.mark.parametrize("method", ["adapters", "probe", "full"])
def test_every_method_learns_a_tiny_set_and_moves_just_what_it_should(tmp_path: Path, method: Method):
    model = a_model(AdapterConfig(bottleneck=8) if method == "adapters" else None)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    config = TrainingConfig(method=method, epochs=12, batch_size=8, learning_rate=1e-2, layer_decay=0.7)

    results = tune(model, config, TrainingState(tmp_path, "x"))

    assert results[-1].train_loss < results[0].train_loss
    moved = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    assert moved == set(select_trainable(model, method))
