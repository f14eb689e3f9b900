"""`eye-dx model`: faster engines for the model that reads."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eye_dx_cli.showing import console, show_json, show_table
from eye_dx_core import wiring
from eye_dx_core.schema.engine import EngineName
from eye_dx_core.settings import get_settings

if TYPE_CHECKING:  # torch is for the command that makes engines
    from eye_dx_core.inference.engines.judgement import Judgement

app = typer.Typer(help="The model that reads.", no_args_is_help=True)


@app.callback()
def _model() -> None:
    """The model that reads."""


class Kind(StrEnum):
    """What can be made."""

    BF16 = "bf16"
    INT8 = "int8"


_ENGINES = {Kind.BF16: EngineName.OPENVINO_BFLOAT16, Kind.INT8: EngineName.OPENVINO_INT8}


@app.command()
def optimise(
    kind: Annotated[list[Kind] | None, typer.Option(help="What to make; may be repeated. Default: both.")] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="Checkpoint folder; default is the champion.")] = None,
    folder: Annotated[Path | None, typer.Option(help="Class folders it was trained on; default is the configured dataset.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,  # noqa: FBT002
) -> None:
    """Make faster engines, hold each against single precision on the calibration split, and say which may read (extra `openvino`).

    From the next load on, the fastest that passed reads, unless EYE_DX_ENGINE names another. Exit code 1 when none passed.
    Run it while nothing else keeps the machine busy: speeds are compared too.
    """
    from eye_dx_core.dataset.scanning import scan_photos
    from eye_dx_core.dataset.splitting import find_splits, split_by_patient
    from eye_dx_core.model.checkpoint import load_checkpoint
    from eye_dx_core.optimising import load_trial_photos, optimise

    settings = get_settings()
    if checkpoint is None:
        registry = wiring.open_registry(settings)
        checkpoint = registry.download(wiring.get_champion(registry).version)
    loaded, photo_folder = load_checkpoint(checkpoint), folder or settings.training_photos
    manifest = scan_photos(photo_folder, label_set=loaded.card.label_set)
    # The splits that training used, so that no engine is judged by what the model has learnt from.
    splits = split_by_patient(manifest, seed=0, previous=find_splits(settings.prepared / "splits.json"))
    photos = load_trial_photos(loaded, photo_folder, manifest, splits, cache_folder=settings.prepared / "cache")
    judged = list(optimise(loaded, [_ENGINES[one] for one in kind or Kind], photos=photos, engines=settings.engines))
    if as_json:
        show_json([one.model_dump(mode="json") | {"refusal": one.refusal} for one in judged])
    else:
        columns = ("engine", "ms per photograph", "torch otherwise", "same label", "calibration error moves", "photographs", "may read")
        show_table(f"Engines of checkpoint {loaded.sha256[:12]}", columns, (_row(one) for one in judged))
        usable = sorted((one for one in judged if not one.refusal), key=lambda one: one.ms_per_photo)
        console.print(f"from the next load on, {usable[0].engine} reads" if usable else "torch goes on reading")
    if all(one.refusal for one in judged):
        raise typer.Exit(1)


def _row(one: "Judgement") -> tuple[object, ...]:
    return (
        one.engine,
        f"{one.ms_per_photo:.1f}",
        f"{one.torch_ms_per_photo:.1f}",
        f"{one.gate.agreement:.2%}",
        f"{one.gate.ece_change:.4f}",
        one.gate.photographs,
        "yes" if one.refusal is None else f"no: {one.refusal}",
    )
