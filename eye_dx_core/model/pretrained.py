"""Pretrained weights into the trunk: every key is accounted for, nothing is executed."""

import argparse
import hashlib
import pickle
import re
import zipfile
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal, cast

import torch
from pydantic import ValidationError
from safetensors import safe_open

from eye_dx_core.errors import BadCheckpoint
from eye_dx_core.model.layouts import (
    LayoutKind,
    Shapes,
    Weights,
    check_weights,
    detect_layout,
    find_trunk,
    fold_keys,
    shapes_of,
    to_trunk_keys,
)
from eye_dx_core.model.vit import TRUNKS, FundusVit, TrunkConfig, resample_positions
from eye_dx_core.schema.frozen import Frozen

HeadNormRepeats = Literal[1, 2]
SOURCE_FIELD = "eye_dx_trunk_source"
"""Where a converted file says in its header what it was made from."""
_CONTAINERS = ("model", "teacher", "state_dict")


class TrunkSource(Frozen):
    """Where the trunk's weights came from."""

    sha256: str
    kind: LayoutKind
    head_norm_repeats: HeadNormRepeats | None = None
    """How often the model of a fine-tuned checkpoint ran its `fc_norm` before the head; None where nobody said.

    RETFound's code ran it once under timm 0.3.2. Since its move to timm 0.9 (February 2025) timm's `forward_head` runs it a
    second time, and the file does not tell. Only who reuses the old head must know: we start a new head behind one run, keep
    the weights of `fc_norm` as its start, and let both learn.
    """
    converted_from: "TrunkSource | None" = None
    """What `convert_trunk` made the file from."""


def load_trunk(model: FundusVit, path: Path, *, head_norm_repeats: HeadNormRepeats | None = None) -> TrunkSource:
    """Fill the trunk from a file in any layout of `layouts.LayoutKind`; adapters and head keep their start.

    Position embeddings of another grid are resampled to the model's. `fc_norm` keeps its start if the file has none.

    Args:
        model: built for the trunk that `trunk_shape_of` names.
        path: safetensors, or a PyTorch file that holds nothing but tensors, plain values and a command line.
        head_norm_repeats: kept with the source of a fine-tuned checkpoint, see `TrunkSource`; changes no weight.

    Raises:
        BadCheckpoint: the file cannot be read safely, or its keys or shapes are not those of the trunk.
    """
    weights, source = read_trunk(path, head_norm_repeats=head_norm_repeats)
    check_weights(weights, expected_shapes(model))
    # The class token and a square grid; another grid is another input size.
    if weights["pos_embed"].shape[1] != 1 + model.grid[0] * model.grid[1]:
        weights["pos_embed"] = resample_positions(weights["pos_embed"].float(), model.grid)
    model.trunk.load_state_dict({key: value.float() for key, value in weights.items()}, strict=False)
    return source


def trunk_shape_of(path: Path) -> TrunkConfig:
    """The entry of `TRUNKS` that a file of weights needs.

    Raises:
        BadCheckpoint: the file cannot be read safely, or no trunk of ours has its shape.
    """
    return get_trunk(_read(path).weights, path.name)


def get_trunk(weights: Weights, name: str) -> TrunkConfig:
    """The entry of `TRUNKS` that weights under our names need.

    Raises:
        BadCheckpoint: there is none.
    """
    trunk = find_trunk(shapes_of(weights))
    if trunk is None:
        raise BadCheckpoint(f"{name} fits none of our trunks ({', '.join(TRUNKS)}); beside what is dropped it holds {fold_keys(weights)}")
    return trunk


def read_trunk(path: Path, *, head_norm_repeats: HeadNormRepeats | None = None) -> tuple[Weights, TrunkSource]:
    """The weights of a file under our names, without what its layout carries beyond the trunk; keys are not checked yet.

    Raises:
        BadCheckpoint: the file cannot be read safely, or `head_norm_repeats` is given for weights that were not fine-tuned.
    """
    content = _read(path)
    if head_norm_repeats is not None and content.kind != "fine_tuned":
        raise BadCheckpoint(
            f"{path.name} is no fine-tuned checkpoint but {content.kind}: head_norm_repeats says nothing about it, leave it out"
        )
    source = TrunkSource(
        sha256=file_sha256(path), kind=content.kind, head_norm_repeats=head_norm_repeats, converted_from=content.converted_from
    )
    return content.weights, source


def expected_shapes(model: FundusVit) -> Shapes:
    """What a file must bring: the trunk without adapters, which are ours and new."""
    return {key: value.shape for key, value in model.trunk.state_dict().items() if ".adapter_" not in key}


def shipped_trunk() -> AbstractContextManager[Path]:
    """The small trunk that ships with Eye Dx, as a file for as long as the context lasts."""
    return resources.as_file(resources.files("eye_dx_core.model") / "trunk" / "small.safetensors")


def file_sha256(path: Path) -> str:
    """Hash of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class _Content:
    """The weights of a file under our names."""

    weights: Weights
    kind: LayoutKind
    converted_from: TrunkSource | None


def _read(path: Path) -> _Content:
    if path.suffix == ".safetensors":
        (weights, converted_from), found_under = _read_safetensors(path), None
    else:
        (weights, found_under), converted_from = _read_torch(path), None
    kind = detect_layout(weights, found_under=found_under)
    return _Content(to_trunk_keys(weights, kind), kind, converted_from)


def _read_safetensors(path: Path) -> tuple[Weights, TrunkSource | None]:
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no mapping
        converted_from = header.get(SOURCE_FIELD)
        return weights, None if converted_from is None else TrunkSource.model_validate_json(converted_from)
    except ValidationError:
        raise BadCheckpoint(f"{path.name} says in its header that we converted it, but not from what: convert the original again") from None
    except Exception as error:  # noqa: BLE001 - a damaged file may break the reader in any way
        raise _unreadable(path, error) from None


def _read_torch(path: Path) -> tuple[Weights, str | None]:
    """The weights of a PyTorch file and the key under which they lie."""
    try:
        # Mapped, so that the optimiser's state, twice the size of the weights, is never read. Files before torch 1.6 are no zips.
        # The official files carry their command line as a Namespace; nothing else may be unpickled.
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # noqa: BLE001 - a damaged file may break the reader in any way
        raise _unreadable(path, error) from None
    if isinstance(content, dict):
        for name in _CONTAINERS:
            if _is_weights(content.get(name)):
                return cast("Weights", content[name]), name
        if _is_weights(content):
            return cast("Weights", content), None
    held = ", ".join(sorted(map(str, content))) if isinstance(content, dict) else type(content).__name__
    wanted = ", ".join(f"`{name}`" for name in _CONTAINERS)
    raise BadCheckpoint(f"{path.name} has no weights under {wanted} or by themselves; it holds {held or 'nothing'}")


def _is_weights(content: object) -> bool:
    if not isinstance(content, dict) or not content:
        return False
    return all(isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in content.items())


def _unreadable(path: Path, error: Exception) -> BadCheckpoint:
    # torch names what it refused to unpickle; that is a name in the file, not a path of ours.
    refused = re.search(r"GLOBAL ([\w.]+)", str(error)) if isinstance(error, pickle.UnpicklingError) else None
    if refused is not None:
        return BadCheckpoint(
            f"{path.name} cannot be read as weights: it holds {refused[1]}, and reading that may run code; "
            "save its tensors alone, best as safetensors"
        )
    return BadCheckpoint(f"{path.name} cannot be read as weights ({type(error).__name__})")
