import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from eye_dx_core.errors import BadCheckpoint
from eye_dx_core.model.adapter import AdapterConfig
from eye_dx_core.model.layouts import LayoutKind, Weights
from eye_dx_core.model.pretrained import SHIPPED_TRUNK, file_sha256, load_trunk, trunk_shape_of
from eye_dx_core.model.vit import TRUNKS, FundusVit, TrunkConfig, build_model
from eye_dx_core.model.weight_file import SOURCE_FIELD
from tests.foreign_weights import (
    TINY,
    TINY_DINO,
    a_dinov2_file,
    a_fine_tuned_file,
    a_head,
    a_mae_file,
    a_timm_file,
    encoder_weights,
    final_norm,
    mae_weights,
)


def a_model(trunk: TrunkConfig = TINY, *, image_size: int | None = None) -> FundusVit:
    torch.manual_seed(1)
    return build_model(trunk, class_count=3, adapters=AdapterConfig(bottleneck=4), image_size=image_size).eval()


def an_encoder_file(folder: Path) -> Path:
    save_file(encoder_weights(), folder / "w.safetensors")
    return folder / "w.safetensors"


@pytest.mark.parametrize(
    ("a_file", "kind", "trunk"),
    [
        (an_encoder_file, "encoder", TINY),
        (a_mae_file, "retfound_mae", TINY),
        (a_dinov2_file, "retfound_dinov2", TINY_DINO),
        (a_fine_tuned_file, "fine_tuned", TINY),
        (a_timm_file, "timm", TINY),
    ],
)
def test_every_layout_fills_every_weight_of_the_trunk(tmp_path, a_file: Callable[[Path], Path], kind: LayoutKind, trunk: TrunkConfig):
    model, path = a_model(trunk), a_file(tmp_path)
    before = {key: value.clone() for key, value in model.state_dict().items()}

    source = load_trunk(model, path)

    assert (source.kind, source.sha256, source.head_norm_repeats) == (kind, file_sha256(path), None)
    loaded, published = model.trunk.state_dict(), encoder_weights(trunk)
    assert all(torch.equal(loaded[key], published[key]) for key in published)
    untouched = [key for key in before if key.startswith("head.") or ".adapter_" in key or (kind != "fine_tuned" and "fc_norm" in key)]
    assert all(torch.equal(model.state_dict()[key], before[key]) for key in untouched)


def test_a_fine_tuned_file_brings_its_norm_and_never_its_head(tmp_path):
    model = a_model()
    # As many classes as ours: no sign that they are the same in the same order.
    path = a_fine_tuned_file(tmp_path, encoder_weights() | final_norm(name="fc_norm") | a_head(classes=3))

    source = load_trunk(model, path, head_norm_repeats=2)

    assert source.head_norm_repeats == 2
    assert model.trunk.fc_norm.weight.tolist() == [2.0] * 24
    assert model.trunk.fc_norm.bias.tolist() == [3.0] * 24
    assert model.head.bias.abs().max() == 0


def test_repeats_of_a_norm_are_refused_for_weights_that_had_no_head(tmp_path):
    with pytest.raises(BadCheckpoint, match="is no fine-tuned checkpoint but retfound_mae"):
        load_trunk(a_model(), a_mae_file(tmp_path), head_norm_repeats=1)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("vit_tiny_patch16_224", TrunkConfig(name="t", image_size=32, patch=16, dim=192, depth=2, heads=3)),
        ("vit_small_patch14_dinov2", TrunkConfig(name="d", image_size=28, patch=14, dim=384, depth=2, heads=6, layer_scale=1e-5)),
    ],
)
def test_our_trunk_computes_what_timms_model_computes(tmp_path, theirs: str, ours: TrunkConfig):
    reference = timm.create_model(theirs, pretrained=False, img_size=ours.image_size, depth=2).eval()
    for parameter in reference.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    torch.save(reference.state_dict(), tmp_path / "timm.bin")
    model, photos = a_model(ours), torch.randn(2, 3, ours.image_size, ours.image_size)

    load_trunk(model, tmp_path / "timm.bin")

    with torch.inference_mode():
        assert torch.allclose(reference.norm(model.features(photos)), reference.forward_features(photos), atol=1e-5)


def test_positions_are_resampled_for_another_size(tmp_path):
    model = a_model(image_size=48)
    published = encoder_weights()["pos_embed"]

    load_trunk(model, a_mae_file(tmp_path))

    assert model.trunk.pos_embed.shape == (1, 1 + 36, 24)
    assert torch.equal(model.trunk.pos_embed[:, 0], published[:, 0])
    assert model(torch.zeros(1, 3, 48, 48)).isfinite().all()


def test_even_positions_stay_even_when_resampled(tmp_path):
    model = a_model(image_size=64)

    load_trunk(model, a_mae_file(tmp_path, mae_weights() | {"pos_embed": torch.full((1, 17, 24), 0.5)}))

    assert torch.allclose(model.trunk.pos_embed, torch.tensor(0.5))


def test_a_missing_and_an_unknown_key_are_named(tmp_path):
    weights = mae_weights()
    weights["blocks.0.attn.qqq.weight"] = weights.pop("blocks.0.attn.qkv.weight")

    with pytest.raises(BadCheckpoint, match=r"missing blocks\.0\.attn\.qkv\.weight; unexpected blocks\.0\.attn\.qqq\.weight"):
        load_trunk(a_model(), a_mae_file(tmp_path, weights))


@pytest.mark.parametrize(
    ("weights", "text"),
    [
        ({"other": torch.zeros(1)}, "nothing would be loaded: .*; unexpected other"),
        # The seed's mistake: the weights lie one key deeper than where they are looked for.
        ({f"module.{key}": value for key, value in encoder_weights().items()}, r"nothing would be loaded: .*module\.blocks\.{0-1}"),
        (a_head(), "nothing would be loaded"),
    ],
)
def test_a_file_that_would_load_nothing_is_refused(tmp_path, weights: Weights, text: str):
    model = a_model()
    before = {key: value.clone() for key, value in model.state_dict().items()}

    with pytest.raises(BadCheckpoint, match=text):
        load_trunk(model, a_mae_file(tmp_path, weights))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"teacher": {}, "epoch": 3}, "no weights under `model`, `teacher`, `state_dict` or by themselves; it holds epoch, teacher"),
        ({"model": {1: torch.zeros(1)}}, "no weights"),
        ({}, "it holds nothing"),
        (torch.zeros(3), "it holds Tensor"),
    ],
)
def test_a_file_without_weights_says_what_it_holds(tmp_path, content: object, text: str):
    torch.save(content, tmp_path / "w.pth")

    with pytest.raises(BadCheckpoint, match=text):
        load_trunk(a_model(), tmp_path / "w.pth")


class _Bomb:
    def __init__(self, call: Callable[[str], object], argument: str) -> None:
        self.reduced = (call, (argument,))

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize(("call", "name"), [(print, "print"), (os.system, "posix.system"), (Path, "pathlib.*Path"), (eval, "eval")])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_would_execute_code_is_refused_unexecuted(tmp_path, capfd, call, name, zipped):
    path, witness = tmp_path / "evil.pth", tmp_path / "executed"
    argument = f"open({str(witness)!r}, 'w')" if call is eval else f"touch {witness}"
    torch.save({"model": encoder_weights(), "args": _Bomb(call, argument)}, path, _use_new_zipfile_serialization=zipped)

    with pytest.raises(BadCheckpoint, match=rf"^evil\.pth cannot be read as weights: it holds {name}, .* as safetensors$"):
        load_trunk(a_model(), path)
    assert capfd.readouterr().out == ""
    assert not witness.exists()


def test_a_file_from_before_torch_1_6_is_read(tmp_path):
    torch.save({"model": mae_weights()}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)

    assert load_trunk(a_model(), tmp_path / "old.pth").kind == "retfound_mae"


@pytest.mark.parametrize("content", [b"", b"not weights", b"\x00" * 64, b"PK\x03\x04", b"\x80\x02}q\x00."])
@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_a_damaged_file_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)

    with pytest.raises(BadCheckpoint, match=r"^w\.(pth|safetensors) cannot be read as weights") as caught:
        load_trunk(a_model(), tmp_path / name)
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize("a_file", [a_mae_file, an_encoder_file])
def test_a_file_cut_short_is_refused(tmp_path, a_file: Callable[[Path], Path]):
    path = a_file(tmp_path)
    path.write_bytes(path.read_bytes()[:-2000])

    with pytest.raises(BadCheckpoint, match="cannot be read as weights"):
        load_trunk(a_model(), path)


def test_a_header_that_is_not_ours_is_refused(tmp_path):
    save_file(encoder_weights(), tmp_path / "w.safetensors", metadata={SOURCE_FIELD: "{}"})

    with pytest.raises(BadCheckpoint, match="convert the original again"):
        load_trunk(a_model(), tmp_path / "w.safetensors")


def test_a_file_tells_which_trunk_it_needs(tmp_path, monkeypatch):
    for trunk in (TINY, TINY_DINO):
        monkeypatch.setitem(TRUNKS, trunk.name, trunk)

    assert trunk_shape_of(a_mae_file(tmp_path)) == TINY
    assert trunk_shape_of(a_fine_tuned_file(tmp_path)) == TINY
    assert trunk_shape_of(a_dinov2_file(tmp_path)) == TINY_DINO
    assert trunk_shape_of(SHIPPED_TRUNK) == TRUNKS["small"]


def test_a_file_for_no_trunk_of_ours_is_refused_with_its_keys(tmp_path):
    with pytest.raises(
        BadCheckpoint,
        match=r"fits none of our trunks \(small, retfound_mae, retfound_dinov2\): it has width 24, .*blocks\.{0-1}\.attn",
    ):
        trunk_shape_of(a_mae_file(tmp_path))


def test_a_file_of_no_vision_transformer_is_refused_as_such(tmp_path):
    with pytest.raises(BadCheckpoint, match=r"it has no patches and MLPs of a vision transformer; its weights are conv1\.weight"):
        trunk_shape_of(a_timm_file(tmp_path, {"conv1.weight": torch.zeros(1)}))


def test_the_shipped_trunk_fits_and_is_small_and_is_the_file_its_card_describes():
    model = build_model(TRUNKS["small"], class_count=8, adapters=AdapterConfig())
    source = load_trunk(model, SHIPPED_TRUNK)
    card = json.loads(SHIPPED_TRUNK.with_suffix(".json").read_text(encoding="utf-8"))

    assert SHIPPED_TRUNK.stat().st_size <= 12 * 2**20
    assert card["sha256"] == source.sha256
    assert card["first_seed"] >= 10_000_000
    assert TrunkConfig.model_validate(card["trunk"]) == TRUNKS["small"]
