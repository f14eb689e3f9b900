"""The fine-tuning that this installation's settings and a run's knobs describe; the same in Dagster's process and in a team's."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from eye_dx_core.settings import Settings
from eye_dx_dagster.defs.training.stored import checkpoint_folder

if TYPE_CHECKING:  # torch is for the process that trains
    from eye_dx_core.training.loop import EpochResult


def run_fine_tuning(settings: Settings, knobs: Mapping[str, object]) -> Iterator["EpochResult"]:
    """Train on the prepared manifest and splits; the checkpoint is in its folder when the last result has been taken."""
    from eye_dx_core import wiring
    from eye_dx_core.dataset.manifest import load_manifest
    from eye_dx_core.dataset.splitting import load_splits
    from eye_dx_core.dataset.waivers import load_waivers
    from eye_dx_core.training.config import parse_config
    from eye_dx_core.training.fine_tuning import train_checkpoint

    yield from train_checkpoint(
        folder=checkpoint_folder(settings),
        photo_folder=settings.training_photos,
        manifest=load_manifest(settings.prepared / "manifest.json"),
        splits=load_splits(settings.prepared / "splits.json"),
        config=parse_config(knobs),
        trunk=wiring.trunk_weights(settings),
        cache_folder=settings.prepared / "cache",
        waivers=load_waivers(settings.waivers),
    )
