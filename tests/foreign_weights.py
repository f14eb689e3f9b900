"""Files of weights as others publish them, with their key names and wrappings, at any size."""

import argparse
from pathlib import Path

import torch

from eye_dx_core.model.layouts import Weights
from eye_dx_core.model.vit import TrunkConfig, build_model

TINY = TrunkConfig(name="tiny", image_size=32, patch=8, dim=24, depth=2, heads=2)
TINY_DINO = TINY.model_copy(update={"name": "tiny_dino", "patch": 4, "image_size": 16, "layer_scale": 1e-5})


def encoder_weights(trunk: TrunkConfig = TINY) -> Weights:
    """What all layouts share: the trunk up to its blocks. Nowhere zero, so that what was not loaded shows."""
    generator = torch.Generator().manual_seed(2)
    shapes = {key: value.shape for key, value in _on_meta(trunk).items() if not key.startswith("fc_norm.")}
    return {key: torch.randn(shape, generator=generator) for key, shape in shapes.items()}


def final_norm(trunk: TrunkConfig = TINY, *, name: str = "norm") -> Weights:
    return {f"{name}.weight": torch.full((trunk.dim,), 2.0), f"{name}.bias": torch.full((trunk.dim,), 3.0)}


def a_head(trunk: TrunkConfig = TINY, *, classes: int = 5) -> Weights:
    return {"head.weight": torch.ones(classes, trunk.dim), "head.bias": torch.ones(classes)}


def mae_weights(trunk: TrunkConfig = TINY, *, decoder_dim: int = 8, decoder_depth: int = 2) -> Weights:
    """`RETFound_mae`, as `models_mae.py` builds it (issues 25 and 34 list the keys): encoder, final norm, decoder."""
    decoder = TrunkConfig(name="decoder", image_size=trunk.image_size, patch=trunk.patch, dim=decoder_dim, depth=decoder_depth, heads=2)
    blocks = {f"decoder_{key}": torch.zeros(value.shape) for key, value in _on_meta(decoder).items() if key.startswith("blocks.")}
    pixels, positions = 3 * trunk.patch**2, encoder_weights(trunk)["pos_embed"].shape[1]
    return (
        encoder_weights(trunk)
        | final_norm(trunk)
        | {"mask_token": torch.zeros(1, 1, decoder_dim), "decoder_pos_embed": torch.zeros(1, positions, decoder_dim)}
        | _linear("decoder_embed", decoder_dim, trunk.dim)
        | blocks
        | _linear("decoder_norm", decoder_dim)
        | _linear("decoder_pred", pixels, decoder_dim)
    )


def dinov2_weights(trunk: TrunkConfig = TINY_DINO, *, swiglu_names: bool = False) -> Weights:
    """`RETFound_dinov2` (issue 46 lists the keys): a `backbone.` and the two heads of its pre-training."""
    backbone = encoder_weights(trunk) | final_norm(trunk) | {"mask_token": torch.zeros(1, trunk.dim)}
    if swiglu_names:
        backbone = {key.replace("mlp.fc1.", "mlp.w12.").replace("mlp.fc2.", "mlp.w3."): value for key, value in backbone.items()}
    heads = {
        key: value
        for head in ("dino_head", "ibot_head")
        for key, value in (
            _linear(f"{head}.mlp.0", 4, trunk.dim)
            | _linear(f"{head}.mlp.2", 4, 4)
            | _linear(f"{head}.mlp.4", 4, 4)
            | {f"{head}.last_layer.weight_g": torch.zeros(6, 1), f"{head}.last_layer.weight_v": torch.zeros(6, 4)}
        ).items()
    }
    return {f"backbone.{key}": value for key, value in backbone.items()} | heads


def fine_tuned_weights(trunk: TrunkConfig = TINY, *, classes: int = 5) -> Weights:
    """`checkpoint-best.pth` of RETFound's `main_finetune.py` with mean pooling: `fc_norm` for the final norm, and a head."""
    return encoder_weights(trunk) | final_norm(trunk, name="fc_norm") | a_head(trunk, classes=classes)


def timm_weights(trunk: TrunkConfig = TINY) -> Weights:
    """A published classifier of timm: class token, final norm, head."""
    return encoder_weights(trunk) | final_norm(trunk) | a_head(trunk, classes=1000)


def a_mae_file(folder: Path, weights: Weights | None = None) -> Path:
    return _saved(folder / "RETFound_mae.pth", _as_main_finetune_saves(mae_weights() if weights is None else weights))


def a_dinov2_file(folder: Path, weights: Weights | None = None) -> Path:
    return _saved(folder / "RETFound_dinov2.pth", {"teacher": dinov2_weights() if weights is None else weights})


def a_fine_tuned_file(folder: Path, weights: Weights | None = None) -> Path:
    return _saved(folder / "checkpoint-best.pth", _as_main_finetune_saves(fine_tuned_weights() if weights is None else weights))


def a_timm_file(folder: Path, weights: Weights | None = None) -> Path:
    return _saved(folder / "pytorch_model.bin", timm_weights() if weights is None else weights)


def _as_main_finetune_saves(weights: Weights) -> dict[str, object]:
    """With the optimiser, the scaler and the command line."""
    parameter = torch.nn.Parameter(torch.zeros(3))
    optimizer = torch.optim.AdamW([parameter])
    parameter.sum().backward()
    optimizer.step()
    args = argparse.Namespace(lr=1e-3, model="RETFound_mae", output_dir="somewhere/output")
    return {"model": weights, "optimizer": optimizer.state_dict(), "epoch": 799, "scaler": {"scale": 65536.0}, "args": args}


def _saved(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def _linear(name: str, outputs: int, *inputs: int) -> Weights:
    return {f"{name}.weight": torch.zeros(outputs, *inputs), f"{name}.bias": torch.zeros(outputs)}


def _on_meta(trunk: TrunkConfig) -> Weights:
    with torch.device("meta"):
        return build_model(trunk, class_count=1).trunk.state_dict()
