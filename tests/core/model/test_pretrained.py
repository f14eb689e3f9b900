import argparse
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from eye_dx_core.errors import BadCheckpoint
from eye_dx_core.model.adapter import AdapterConfig
from eye_dx_core.model.pretrained import Weights, file_sha256, load_trunk, shipped_trunk
from eye_dx_core.model.vit import TRUNKS, FundusVit, TrunkConfig, build_model

TINY = TrunkConfig(name="tiny", image_size=32, patch=8, dim=24, depth=2, heads=2)


def a_model(*, image_size: int | None = None) -> FundusVit:
    torch.manual_seed(1)
    return build_model(TINY, class_count=3, adapters=AdapterConfig(bottleneck=4), image_size=image_size).eval()


def mae_weights() -> Weights:
    """The keys of a RETFound MAE file: an encoder with its own norm, no fc_norm, and a decoder."""
    torch.manual_seed(2)
    encoder = build_model(TINY, class_count=3).trunk.state_dict()
    weights = {key: torch.randn_like(value) for key, value in encoder.items() if not key.startswith("fc_norm.")}
    extra = ("norm.weight", "norm.bias", "mask_token", "decoder_pos_embed", "decoder_embed.weight", "decoder_blocks.0.norm1.weight")
    return weights | {key: torch.zeros(24) for key in extra}


def a_mae_file(folder: Path, weights: Weights) -> Path:
    path = folder / "RETFound_mae.pth"
    torch.save({"model": weights, "optimizer": {}, "epoch": 799, "args": argparse.Namespace(lr=1e-3)}, path)
    return path


def test_a_retfound_file_fills_every_weight_of_the_trunk(tmp_path):
    model, weights = a_model(), mae_weights()

    source = load_trunk(model, a_mae_file(tmp_path, weights))

    assert source.kind == "retfound_mae"
    assert source.sha256 == file_sha256(tmp_path / "RETFound_mae.pth")
    loaded = model.trunk.state_dict()
    assert all(torch.equal(loaded[key], weights[key]) for key in loaded if ".adapter_" not in key and "fc_norm" not in key)


def test_a_safetensors_encoder_is_read_too_with_its_norm(tmp_path):
    weights = mae_weights() | {"fc_norm.weight": torch.full((24,), 2.0), "fc_norm.bias": torch.ones(24)}
    save_file({key: value for key, value in weights.items() if "decoder" not in key and key != "mask_token"}, tmp_path / "w.safetensors")
    model = a_model()

    assert load_trunk(model, tmp_path / "w.safetensors").kind == "encoder"
    assert model.trunk.fc_norm.weight.tolist() == [2.0] * 24


def test_a_head_for_other_classes_is_dropped(tmp_path):
    model = a_model()
    head = model.head.weight.clone()

    load_trunk(model, a_mae_file(tmp_path, mae_weights() | {"head.weight": torch.zeros(1000, 24), "head.bias": torch.zeros(1000)}))

    assert torch.equal(model.head.weight, head)


def test_positions_are_resampled_for_another_size(tmp_path):
    model = a_model(image_size=48)

    load_trunk(model, a_mae_file(tmp_path, mae_weights()))

    assert model.trunk.pos_embed.shape == (1, 1 + 36, 24)
    assert model(torch.zeros(1, 3, 48, 48)).isfinite().all()


def test_a_missing_and_an_unknown_key_are_named(tmp_path):
    weights = mae_weights()
    weights["blocks.0.attn.qqq.weight"] = weights.pop("blocks.0.attn.qkv.weight")

    with pytest.raises(BadCheckpoint, match=r"missing blocks\.0\.attn\.qkv\.weight; unexpected blocks\.0\.attn\.qqq\.weight"):
        load_trunk(a_model(), a_mae_file(tmp_path, weights))


def test_a_file_that_would_load_nothing_is_refused(tmp_path):
    with pytest.raises(BadCheckpoint, match=r"missing blocks.* and \d+ more; unexpected other"):
        load_trunk(a_model(), a_mae_file(tmp_path, {"other": torch.zeros(1)}))


def test_a_trunk_of_another_shape_is_refused(tmp_path):
    with pytest.raises(BadCheckpoint, match=r"cls_token is \(1, 1, 8\) instead of \(1, 1, 24\)"):
        load_trunk(a_model(), a_mae_file(tmp_path, mae_weights() | {"cls_token": torch.zeros(1, 1, 8)}))


class _Bomb:
    def __reduce__(self):
        return (print, ("executed",))


def test_a_pickle_that_would_execute_code_is_refused_unexecuted(tmp_path, capsys):
    path = tmp_path / "evil.pth"
    torch.save({"model": {}, "args": _Bomb()}, path)

    with pytest.raises(BadCheckpoint, match=r"evil\.pth cannot be read as weights"):
        load_trunk(a_model(), path)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("content", [b"", b"not weights", b"\x00" * 64])
@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_a_damaged_file_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)

    with pytest.raises(BadCheckpoint, match="cannot be read as weights"):
        load_trunk(a_model(), tmp_path / name)


def test_a_file_without_the_key_model_is_refused(tmp_path):
    torch.save({"teacher": {}}, tmp_path / "dino.pth")

    with pytest.raises(BadCheckpoint, match="no weights under the key `model`"):
        load_trunk(a_model(), tmp_path / "dino.pth")


def test_the_shipped_trunk_fits_and_is_small_and_is_the_file_its_card_describes():
    import json

    model = build_model(TRUNKS["small"], class_count=8, adapters=AdapterConfig())
    with shipped_trunk() as path:
        source = load_trunk(model, path)
        card = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        assert path.stat().st_size <= 12 * 2**20

    assert card["sha256"] == source.sha256
    assert card["first_seed"] >= 10_000_000
    assert TrunkConfig.model_validate(card["trunk"]) == TRUNKS["small"]
