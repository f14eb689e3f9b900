"""Pretrained weights into the trunk: every key is accounted for, nothing is executed."""

import argparse
import hashlib
import pickle
from collections.abc import Iterable
from contextlib import AbstractContextManager
from importlib import resources
from pathlib import Path
from typing import Literal, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from eye_dx_core.errors import BadCheckpoint
from eye_dx_core.model.vit import FundusVit, resample_positions
from eye_dx_core.schema.frozen import Frozen

Weights = dict[str, torch.Tensor]
_MAE_ONLY = ("mask_token", "decoder_")
# Our pooling has a norm of its own, and a head for other classes is of no use; the class token's final norm goes with it.
_REPLACED = ("head.", "norm.")


class TrunkSource(Frozen):
    """Where the trunk's weights came from."""

    sha256: str
    kind: Literal["encoder", "retfound_mae"]


def load_trunk(model: FundusVit, path: Path) -> TrunkSource:
    """Fill the trunk from a safetensors file or from a RETFound MAE file; adapters and head keep their start.

    Raises:
        BadCheckpoint: the file cannot be read safely, or its keys or shapes are not those of the trunk.
    """
    weights = _read_weights(path)
    is_mae = any(key.startswith(_MAE_ONLY) for key in weights)
    weights = {key: value for key, value in weights.items() if not key.startswith((*_MAE_ONLY, *_REPLACED))}
    _check_keys(model, weights)
    # The class token and a square grid; another grid is another input size.
    if weights["pos_embed"].shape[1] != 1 + model.grid[0] * model.grid[1]:
        weights["pos_embed"] = resample_positions(weights["pos_embed"].float(), model.grid)
    _check_shapes(model, weights)
    model.trunk.load_state_dict({key: value.float() for key, value in weights.items()}, strict=False)
    return TrunkSource(sha256=file_sha256(path), kind="retfound_mae" if is_mae else "encoder")


def shipped_trunk() -> AbstractContextManager[Path]:
    """The small trunk that ships with Eye Dx, as a file for as long as the context lasts."""
    return resources.as_file(resources.files("eye_dx_core.model") / "trunk" / "small.safetensors")


def file_sha256(path: Path) -> str:
    """Hash of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_weights(path: Path) -> Weights:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        # The official file carries its command line as a Namespace; nothing else may be unpickled.
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise BadCheckpoint(f"{path.name} cannot be read as weights ({type(error).__name__})") from None
    weights = content.get("model") if isinstance(content, dict) else None
    if not isinstance(weights, dict) or not all(isinstance(value, torch.Tensor) for value in weights.values()):
        raise BadCheckpoint(f"{path.name} has no weights under the key `model`, where RETFound MAE files keep them")
    return cast("Weights", weights)


def _check_keys(model: FundusVit, weights: Weights) -> None:
    expected = set(model.trunk.state_dict())
    missing = {key for key in expected - set(weights) if ".adapter_" not in key and not key.startswith("fc_norm.")}
    unexpected = set(weights) - expected
    if missing or unexpected:
        raise BadCheckpoint(f"weights do not fit the trunk: missing {_some_of(missing)}; unexpected {_some_of(unexpected)}")


def _check_shapes(model: FundusVit, weights: Weights) -> None:
    expected = model.trunk.state_dict()
    wrong = [
        f"{key} is {tuple(value.shape)} instead of {tuple(expected[key].shape)}"
        for key, value in weights.items()
        if value.shape != expected[key].shape
    ]
    if wrong:
        raise BadCheckpoint(f"weights do not fit the trunk: {_some_of(wrong)}")


def _some_of(names: Iterable[str]) -> str:
    ordered = sorted(names)
    more = f" and {len(ordered) - 4} more" if len(ordered) > 4 else ""
    return (", ".join(ordered[:4]) or "nothing") + more
