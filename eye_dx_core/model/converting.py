"""Foreign weights, once and for all, into a file that holds nothing but the trunk."""

from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from eye_dx_core.errors import BadCheckpoint, BadSettings
from eye_dx_core.model.layouts import LICENCE_NOTES, Weights, check_weights
from eye_dx_core.model.pretrained import expected_shapes, file_sha256, get_trunk, read_trunk
from eye_dx_core.model.vit import build_model
from eye_dx_core.model.weight_file import SOURCE_FIELD, HeadNormRepeats, TrunkSource, read_weight_file
from eye_dx_core.schema.frozen import Frozen


class TrunkNote(Frozen):
    """What lies beside a converted trunk, for the next person who finds the file."""

    format: Literal["eye-dx-trunk/1"] = "eye-dx-trunk/1"
    weights_file: str
    weights_sha256: str
    trunk: str
    """The entry of `TRUNKS` that the weights fill."""
    source: TrunkSource
    licence: str


def convert_trunk(path: Path, folder: Path, *, head_norm_repeats: HeadNormRepeats | None = None) -> TrunkNote:
    """Write a file's trunk as `NAME.encoder.safetensors` and a note as `NAME.encoder.json`, each complete or not at all.

    Decoder, heads, optimiser and command line stay behind; numbers and the grid of the positions stay as they are. The source
    also goes into the header of the weights, so that it survives a lost note.

    Raises:
        BadCheckpoint: the file cannot be read safely, is converted already, or does not fit one of our trunks exactly.
        BadSettings: the folder cannot be written, or has another file's trunk under that name.
    """
    weights, source = read_trunk(path, head_norm_repeats=head_norm_repeats)
    if source.converted_from is not None:
        raise BadCheckpoint(f"{path.name} is converted already: use it as it is")
    trunk = get_trunk(weights, path.name)
    with torch.device("meta"):
        check_weights(weights, expected_shapes(build_model(trunk, class_count=1)))
    target = folder / f"{path.stem}.encoder.safetensors"
    _refuse_another_trunk(target, source)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        sha256 = _write_weights(target, weights, source)
        note = TrunkNote(
            weights_file=target.name, weights_sha256=sha256, trunk=trunk.name, source=source, licence=LICENCE_NOTES[source.kind]
        )
        _write_note(target.with_suffix(".json"), note)
    except (OSError, SafetensorError) as error:
        raise BadSettings(f"{target.name} cannot be written ({type(error).__name__}): name a folder with room for it") from None
    return note


def encoder_file(path: Path, folder: Path) -> Path:
    """The file itself if it holds a trunk and nothing else, otherwise its trunk, converted once into the folder.

    A checkpoint keeps a link to its trunk; it must not keep a decoder and an optimiser three times that size alive.

    Raises:
        BadCheckpoint: from `convert_trunk`.
        BadSettings: from `convert_trunk`.
    """
    if path.suffix == ".safetensors" and read_weight_file(path).kind == "encoder":
        return path
    own = folder / file_sha256(path)[:16]
    return next(own.glob("*.encoder.safetensors"), None) or own / convert_trunk(path, own).weights_file


def _refuse_another_trunk(target: Path, source: TrunkSource) -> None:
    """Every fine-tuning of RETFound ends in a `checkpoint-best.pth`: the second must not replace the first."""
    if not target.exists():
        return
    there = read_weight_file(target).converted_from
    if there is None or there.sha256 != source.sha256:
        raise BadSettings(f"the folder has a {target.name} of another file already: name another folder")


def _write_weights(target: Path, weights: Weights, source: TrunkSource) -> str:
    """Write beside the target and move it there; return the hash. The copy parts tensors that share memory, which safetensors refuses."""
    beside = target.with_suffix(".part")
    try:
        save_file(
            {key: value.clone(memory_format=torch.contiguous_format) for key, value in weights.items()},
            beside,
            metadata={SOURCE_FIELD: source.model_dump_json()},
        )
        sha256 = file_sha256(beside)
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)
    return sha256


def _write_note(target: Path, note: TrunkNote) -> None:
    beside = target.with_suffix(".part")
    beside.write_text(note.model_dump_json(indent=2), encoding="utf-8")
    beside.replace(target)
