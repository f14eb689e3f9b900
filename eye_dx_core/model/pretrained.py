"""Pretrained weights into the trunk: every key is accounted for."""

import hashlib
from pathlib import Path

from eye_dx_core.errors import BadCheckpoint
from eye_dx_core.model.layouts import Shapes, Weights, check_weights, find_trunk, fold_keys, shapes_of, traces_of
from eye_dx_core.model.vit import TRUNKS, FundusVit, TrunkConfig, resample_positions
from eye_dx_core.model.weight_file import HeadNormRepeats, TrunkSource, read_weight_file

SHIPPED_TRUNK = Path(__file__).with_name("trunk") / "small.safetensors"
"""The small trunk that ships with Eye Dx."""


def load_trunk(model: FundusVit, path: Path, *, head_norm_repeats: HeadNormRepeats | None = None) -> TrunkSource:
    """Fill the trunk from a file in any layout of `layouts.LayoutKind`; adapters and head keep their start.

    Blocks that the model was built without are passed over, and never read from the disk.

    Position embeddings of another grid are resampled to the model's. `fc_norm` keeps its start if the file has none.

    Args:
        model: built for the trunk that `trunk_shape_of` names.
        path: safetensors, or a PyTorch file that holds nothing but tensors, plain values and a command line.
        head_norm_repeats: kept with the source of a fine-tuned checkpoint, see `TrunkSource`; changes no weight.

    Raises:
        BadCheckpoint: the file cannot be read safely, or its keys or shapes are not those of the trunk.
    """
    weights, source = read_trunk(path, head_norm_repeats=head_norm_repeats)
    left_out = tuple(f"blocks.{position}." for position in range(model.from_block))
    weights = {key: value for key, value in weights.items() if not key.startswith(left_out)}
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
    return get_trunk(read_weight_file(path).weights, path.name)


def get_trunk(weights: Weights, name: str) -> TrunkConfig:
    """The entry of `TRUNKS` that weights under our names need.

    Raises:
        BadCheckpoint: there is none.
    """
    shapes = shapes_of(weights)
    trunk = find_trunk(shapes)
    if trunk is None:
        seen = traces_of(shapes) or "no patches and MLPs of a vision transformer"
        raise BadCheckpoint(f"{name} fits none of our trunks ({', '.join(TRUNKS)}): it has {seen}; its weights are {fold_keys(weights)}")
    return trunk


def read_trunk(path: Path, *, head_norm_repeats: HeadNormRepeats | None = None) -> tuple[Weights, TrunkSource]:
    """The weights of a file under our names, without what its layout carries beyond the trunk; keys are not checked yet.

    Raises:
        BadCheckpoint: the file cannot be read safely, or `head_norm_repeats` is given for weights that were not fine-tuned.
    """
    content = read_weight_file(path)
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


def file_sha256(path: Path) -> str:
    """Hash of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
