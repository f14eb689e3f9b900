"""A file of weights as it lies on disk: whose it is and what it holds, read without executing anything."""

import argparse
import pickle
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import torch
from pydantic import ValidationError
from safetensors import safe_open

from eye_dx_core.errors import BadCheckpoint
from eye_dx_core.model.layouts import LayoutKind, Weights, detect_layout, to_trunk_keys
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

    @property
    def original(self) -> "TrunkSource":
        """The file that somebody published, whatever was made of it since."""
        return self.converted_from or self


@dataclass(frozen=True)
class WeightFile:
    """What a file holds of a trunk, under our names; keys and shapes are not checked yet."""

    weights: Weights
    kind: LayoutKind
    converted_from: TrunkSource | None


def read_weight_file(path: Path) -> WeightFile:
    """Open safetensors, or a PyTorch file that holds nothing but tensors, plain values and a command line.

    Raises:
        BadCheckpoint: the file is missing, damaged, holds no weights, or would have to execute something to be read.
    """
    if path.suffix == ".safetensors":
        (weights, converted_from), found_under = _read_safetensors(path), None
    else:
        (weights, found_under), converted_from = _read_torch(path), None
    kind = detect_layout(weights, found_under=found_under)
    return WeightFile(to_trunk_keys(weights, kind), kind, converted_from)


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
