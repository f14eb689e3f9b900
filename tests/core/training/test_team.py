"""Processes that train together end with the weights that one process gets."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from eye_dx_core.errors import BadSettings
from eye_dx_core.training.loop import fine_tune
from eye_dx_core.training.team import ALONE, Team
from tests.core.training.test_resuming_and_caching import OBJECTIVE, TINY, a_feed, a_model

MEMBER = """
import sys
from pathlib import Path

from tests.core.training.test_team import train
from eye_dx_core.training.team import join_team

train(Path(sys.argv[1]), join_team())
"""


def train(folder: Path, team: Team) -> None:
    """Train a tiny model on photographs, and one on kept tokens; the first member leaves the weights and the losses."""
    from safetensors.torch import save_file

    from eye_dx_core.training.config import TrainingConfig
    from eye_dx_core.training.feeds import TokenStore
    from eye_dx_core.training.state import TrainingState

    feed = a_feed()
    for name in ("photographs", "tokens"):
        model = a_model()
        config = TrainingConfig(epochs=3, batch_size=7, learning_rate=1e-2, method="adapters" if name == "photographs" else "probe")
        with team.first_goes_ahead():
            kept = TokenStore(folder / "kept", TINY, "x", 0)
            learn = feed if name == "photographs" else kept.keep(a_model, feed, depth=TINY.depth, views=2)
        state = TrainingState(folder / "state", name)
        results = list(fine_tune(model, train=learn, validation=feed, objective=OBJECTIVE, config=config, state=state, team=team))
        if team.is_first:
            losses = {"losses": torch.tensor([[one.train_loss, one.validation_loss] for one in results])}
            save_file(losses | {key: value.contiguous() for key, value in model.state_dict().items()}, folder / f"{name}.safetensors")


def test_two_processes_learn_what_one_learns(tmp_path: Path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    train(tmp_path / "one", ALONE)
    script = tmp_path / "member.py"
    script.write_text(MEMBER, encoding="utf-8")

    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*torchrun, str(script), str(tmp_path / "two")], cwd=Path(__file__).parents[3], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr[-3000:]
    for name in ("photographs", "tokens"):
        one, two = (load_file(tmp_path / folder / f"{name}.safetensors") for folder in ("one", "two"))
        for key, value in one.items():
            assert torch.allclose(value, two[key], atol=1e-5), (name, key)


def test_the_parts_of_a_team_make_the_whole_and_are_about_equal():
    for count in (0, 1, 7, 16):
        parts = [list(range(count))[Team(rank, 3).part_of(count)] for rank in range(3)]
        assert [one for part in parts for one in part] == list(range(count))
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_batches_that_cannot_be_shared_are_refused():
    from eye_dx_core.training.config import TrainingConfig

    with pytest.raises(BadSettings, match="take a larger one"):
        next(
            fine_tune(
                a_model(), train=a_feed(), validation=a_feed(), objective=OBJECTIVE, config=TrainingConfig(batch_size=2), team=Team(0, 4)
            )
        )
