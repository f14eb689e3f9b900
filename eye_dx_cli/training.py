"""Commands that train: one model, or one per source left out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eye_dx_cli.photographs import label_set_of
from eye_dx_cli.showing import console, show_table
from eye_dx_core import wiring
from eye_dx_core.errors import BadSettings
from eye_dx_core.settings import get_settings

if TYPE_CHECKING:  # torch is for the commands that train
    from eye_dx_core.training.source_shift import UnseenSource


def train(
    folder: Annotated[Path | None, typer.Argument(help="Class folders; default is the configured dataset.")] = None,
    model: Annotated[
        str, typer.Option(help="RETFound_mae or RETFound_dinov2 (need --pretrained), or small (the shipped trunk).")
    ] = "RETFound_mae",
    pretrained: Annotated[Path | None, typer.Option(help="Pretrained weights; default EYE_DX_PRETRAINED.")] = None,
    nb_classes: Annotated[int, typer.Option(help="8, 12, 13 or 2 (normal/disease).")] = 8,
    method: Annotated[str, typer.Option(help="adapters, adapters-last-k, probe or full.")] = "adapters",
    bottleneck: Annotated[int, typer.Option(help="Width of the adapters.")] = 32,
    last_blocks: Annotated[int, typer.Option(help="With adapters-last-k: blocks that hold adapters.")] = 4,
    loss: Annotated[
        str, typer.Option(help="auto, balanced_softmax, cross_entropy, weighted_cross_entropy, class_balanced, focal.")
    ] = "auto",
    sampling: Annotated[str, typer.Option(help="auto, natural, square_root or balanced.")] = "auto",
    batch_size: Annotated[int, typer.Option(min=1)] = 16,
    lr: Annotated[float, typer.Option(help="Peak learning rate.")] = 1e-3,
    epochs: Annotated[int, typer.Option(min=1)] = 100,
    save_path: Annotated[Path, typer.Option(help="Folder of the checkpoint.")] = Path("checkpoint"),
    deployment_prior: Annotated[
        list[str] | None,
        typer.Option(help="Label and how common it is among those who will be screened, e.g. N=0.9; may be repeated. Default: all alike."),
    ] = None,
    seed: Annotated[int, typer.Option()] = 0,
) -> None:
    """Fine-tune outside Dagster; the best epoch by validation is kept. Defaults are those of the original command line.

    Killed and started again with the same options, it goes on after the last finished epoch. Under torchrun its processes train
    one model together.
    """
    from eye_dx_core.dataset.scanning import scan_photos
    from eye_dx_core.dataset.splitting import find_splits, split_by_patient
    from eye_dx_core.dataset.waivers import load_waivers
    from eye_dx_core.training.config import parse_config
    from eye_dx_core.training.fine_tuning import train_checkpoint
    from eye_dx_core.training.team import join_team

    settings, team = get_settings(), join_team()
    config = parse_config(
        {
            "method": method,
            "bottleneck": bottleneck,
            "last_blocks": last_blocks,
            "loss": loss,
            "sampling": sampling,
            "batch_size": batch_size,
            "learning_rate": lr,
            "epochs": epochs,
            "deployment_prior": {code: share for code, _, share in (one.partition("=") for one in deployment_prior or ())},
            "seed": seed,
        }
    )
    photos = folder or settings.training_photos
    manifest = scan_photos(photos, label_set=label_set_of(nb_classes))
    for epoch in train_checkpoint(
        folder=save_path,
        photo_folder=photos,
        manifest=manifest,
        # What Dagster has locked stays locked here.
        splits=split_by_patient(manifest, seed=0, previous=find_splits(settings.prepared / "splits.json")),
        config=config,
        trunk=_trunk(model, pretrained or wiring.trunk_weights(settings)),
        cache_folder=settings.prepared / "cache",
        waivers=load_waivers(settings.waivers),
    ):
        if team.is_first:
            console.print(str(epoch))
    if team.is_first:
        console.print(f"checkpoint is in {save_path}", soft_wrap=True)


def leave_one_source_out(
    folder: Annotated[Path | None, typer.Argument(help="Class folders; default is the configured dataset.")] = None,
    model: Annotated[
        str, typer.Option(help="RETFound_mae or RETFound_dinov2 (need --pretrained), or small (the shipped trunk).")
    ] = "RETFound_mae",
    pretrained: Annotated[Path | None, typer.Option(help="Pretrained weights; default EYE_DX_PRETRAINED.")] = None,
    nb_classes: Annotated[int, typer.Option(help="8, 12, 13 or 2 (normal/disease).")] = 8,
    method: Annotated[str, typer.Option(help="adapters, adapters-last-k, probe or full.")] = "probe",
    epochs: Annotated[int, typer.Option(min=1)] = 20,
    seed: Annotated[int, typer.Option()] = 0,
) -> None:
    """Train once per source without it, and say how its photographs are read: what a new clinic's camera would meet."""
    from tempfile import TemporaryDirectory

    from eye_dx_core.dataset.scanning import scan_photos
    from eye_dx_core.dataset.waivers import load_waivers
    from eye_dx_core.training import source_shift
    from eye_dx_core.training.config import parse_config

    settings = get_settings()
    photos = folder or settings.training_photos
    manifest = scan_photos(photos, label_set=label_set_of(nb_classes))
    with TemporaryDirectory() as name, console.status("training once per source"):
        rows = [
            _unseen_row(one)
            for one in source_shift.leave_one_source_out(
                folder=Path(name),
                photo_folder=photos,
                manifest=manifest,
                config=parse_config({"method": method, "epochs": epochs, "seed": seed}),
                trunk=_trunk(model, pretrained or wiring.trunk_weights(settings)),
                cache_folder=settings.prepared / "cache",
                waivers=load_waivers(settings.waivers),
            )
        ]
    show_table("sources left out of training", ("source", "photographs", "balanced accuracy", "accuracy", "note"), rows)


def _unseen_row(one: "UnseenSource") -> tuple[object, ...]:
    note = one.reason or (f"learnt nowhere else: {', '.join(one.never_learnt)}" if one.never_learnt else None)
    if one.evaluation is None:
        return one.source, one.photographs, None, None, note
    low, high = one.evaluation.intervals.get("balanced_accuracy", (float("nan"),) * 2)
    return (
        one.source,
        one.photographs,
        f"{one.evaluation.balanced_accuracy:.3f} [{low:.3f}, {high:.3f}]",
        f"{one.evaluation.accuracy:.3f}",
        note,
    )


def _trunk(model: str, weights: Path | None) -> Path | None:
    if model == "small":
        return None
    if model not in ("RETFound_mae", "RETFound_dinov2"):
        raise BadSettings("--model must be RETFound_mae, RETFound_dinov2 or small")
    if weights is None:
        raise BadSettings(f"{model} needs its weights (gated upstream): pass --pretrained or set EYE_DX_PRETRAINED, or use --model small")
    return weights


def register(app: typer.Typer) -> None:
    """Add the commands that train to the root command."""
    app.command()(train)
    app.command()(leave_one_source_out)
