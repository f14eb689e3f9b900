"""`eye-dx weights`: pretrained weights of others, made ready for training."""

from pathlib import Path
from typing import Annotated, cast

import typer

from eye_dx_cli.showing import console, show_json

app = typer.Typer(help="Pretrained weights.", no_args_is_help=True)


@app.callback()
def _weights() -> None:
    """Pretrained weights."""


@app.command()
def convert(
    file: Annotated[
        Path, typer.Argument(help="RETFound (MAE, DINOv2), a fine-tuned checkpoint, or plain timm weights.", exists=True, dir_okay=False)
    ],
    to: Annotated[Path, typer.Option(help="Folder for the trunk (safetensors) and its note (JSON).")],
    head_norm_repeats: Annotated[
        int | None,
        typer.Option(
            min=1, max=2, help="Fine-tuned checkpoints only, kept in the note: 1 if trained with timm 0.3.2, 2 with timm 0.9 or later."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,  # noqa: FBT002
) -> None:
    """Keep a file's trunk alone, as safetensors, with a note of its origin, hashes and licence. Nothing in the file is executed."""
    from eye_dx_core.model.converting import convert_trunk
    from eye_dx_core.model.weight_file import HeadNormRepeats

    note = convert_trunk(file, to, head_norm_repeats=cast("HeadNormRepeats | None", head_norm_repeats))
    if as_json:
        show_json(note.model_dump(mode="json"))
        return
    console.print(f"{note.weights_file}: trunk {note.trunk} from {note.source.kind}, sha256 {note.weights_sha256}", soft_wrap=True)
    console.print(f"licence: {note.licence}", soft_wrap=True)
