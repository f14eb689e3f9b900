import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from eye_dx_core.errors import BadCheckpoint, BadSettings
from eye_dx_core.model.converting import TrunkNote, convert_trunk
from eye_dx_core.model.layouts import LayoutKind
from eye_dx_core.model.pretrained import file_sha256, load_trunk, trunk_shape_of
from eye_dx_core.model.vit import TRUNKS, FundusVit, TrunkConfig, build_model
from tests.foreign_weights import (
    TINY,
    TINY_DINO,
    a_dinov2_file,
    a_fine_tuned_file,
    a_mae_file,
    a_timm_file,
    dinov2_weights,
    encoder_weights,
    fine_tuned_weights,
    mae_weights,
)


@pytest.fixture(autouse=True)
def _tiny_trunks(monkeypatch: pytest.MonkeyPatch) -> None:
    for trunk in (TINY, TINY_DINO):
        monkeypatch.setitem(TRUNKS, trunk.name, trunk)


def a_model(trunk: TrunkConfig) -> FundusVit:
    torch.manual_seed(1)
    return build_model(trunk, class_count=3)


@pytest.mark.parametrize(
    ("a_file", "kind", "trunk"),
    [
        (a_mae_file, "retfound_mae", TINY),
        (a_dinov2_file, "retfound_dinov2", TINY_DINO),
        (a_fine_tuned_file, "fine_tuned", TINY),
        (a_timm_file, "timm", TINY),
    ],
)
def test_a_converted_file_loads_as_its_original_does(tmp_path, a_file: Callable[[Path], Path], kind: LayoutKind, trunk: TrunkConfig):
    original = a_file(tmp_path)

    note = convert_trunk(original, tmp_path / "deep" / "folder")

    converted = tmp_path / "deep" / "folder" / note.weights_file
    assert (note.trunk, note.source.kind, note.source.sha256) == (trunk.name, kind, file_sha256(original))
    assert trunk_shape_of(converted) == trunk
    one, other = a_model(trunk), a_model(trunk)
    load_trunk(one, original)
    source = load_trunk(other, converted)
    assert (source.kind, source.sha256, source.converted_from) == ("encoder", note.weights_sha256, note.source)
    assert all(torch.equal(value, other.state_dict()[key]) for key, value in one.state_dict().items())


def test_the_file_holds_the_trunk_alone_and_the_note_says_what_it_is(tmp_path):
    note = convert_trunk(a_mae_file(tmp_path), tmp_path / "to")

    with safe_open(tmp_path / "to" / "RETFound_mae.encoder.safetensors", framework="pt") as file:
        assert set(file.keys()) == set(encoder_weights())
    text = (tmp_path / "to" / "RETFound_mae.encoder.json").read_text(encoding="utf-8")
    assert TrunkNote.model_validate_json(text) == note
    assert "CC BY-NC 4.0" in json.loads(text)["licence"]
    assert str(tmp_path) not in text
    assert "somebody" not in text
    assert sorted(path.name for path in (tmp_path / "to").iterdir()) == ["RETFound_mae.encoder.json", "RETFound_mae.encoder.safetensors"]


def test_equal_files_convert_to_equal_bytes(tmp_path):
    original = a_mae_file(tmp_path)

    assert convert_trunk(original, tmp_path / "a").weights_sha256 == convert_trunk(original, tmp_path / "b").weights_sha256


def test_how_often_a_norm_ran_stays_with_the_weights_when_the_note_is_lost(tmp_path):
    note = convert_trunk(a_fine_tuned_file(tmp_path), tmp_path / "to", head_norm_repeats=2)
    (tmp_path / "to" / "checkpoint-best.encoder.json").unlink()

    source = load_trunk(a_model(TINY), tmp_path / "to" / note.weights_file)

    assert source.converted_from is not None
    assert source.converted_from.head_norm_repeats == 2
    assert "if these were RETFound's" in note.licence


def test_weights_that_share_memory_and_half_precision_are_kept(tmp_path):
    shared = torch.arange(48).half()
    weights = mae_weights() | {"blocks.0.norm1.weight": shared[:24], "blocks.0.norm2.weight": shared[:24]}

    note = convert_trunk(a_mae_file(tmp_path, weights), tmp_path / "to")

    with safe_open(tmp_path / "to" / note.weights_file, framework="pt") as file:
        assert torch.equal(file.get_tensor("blocks.0.norm2.weight"), shared[:24])


def test_a_bad_file_leaves_nothing_behind(tmp_path):
    weights = dinov2_weights() | {"backbone.register_tokens": torch.zeros(1, 4, 24)}

    with pytest.raises(BadCheckpoint, match=r"unexpected register_tokens$"):
        convert_trunk(a_dinov2_file(tmp_path, weights), tmp_path / "to")
    assert not (tmp_path / "to").exists()


def test_a_converted_file_is_not_converted_again(tmp_path):
    note = convert_trunk(a_mae_file(tmp_path), tmp_path)

    with pytest.raises(BadCheckpoint, match=r"^RETFound_mae\.encoder\.safetensors is converted already"):
        convert_trunk(tmp_path / note.weights_file, tmp_path)


def test_the_trunk_of_another_file_of_the_same_name_is_not_replaced(tmp_path):
    note = convert_trunk(a_fine_tuned_file(tmp_path), tmp_path)
    other = a_fine_tuned_file(tmp_path, fine_tuned_weights(classes=7))

    with pytest.raises(BadSettings, match=r"checkpoint-best\.encoder\.safetensors of another file already: name another folder"):
        convert_trunk(other, tmp_path)
    assert file_sha256(tmp_path / note.weights_file) == note.weights_sha256


def test_an_encoder_of_unknown_origin_gets_a_note_beside_the_untouched_original(tmp_path):
    save_file(encoder_weights(), tmp_path / "w.safetensors")
    before = file_sha256(tmp_path / "w.safetensors")

    note = convert_trunk(tmp_path / "w.safetensors", tmp_path)

    assert note.source.kind == "encoder"
    assert note.licence.startswith("not stated in the file")
    assert file_sha256(tmp_path / "w.safetensors") == before == note.source.sha256


def test_a_folder_that_cannot_be_written_is_named_without_its_path(tmp_path):
    (tmp_path / "to").write_text("a file")

    with pytest.raises(BadSettings, match="name a folder with room for it") as caught:
        convert_trunk(a_mae_file(tmp_path), tmp_path / "to")
    assert str(tmp_path) not in str(caught.value)


def test_a_write_that_fails_keeps_the_file_that_was_there(tmp_path, monkeypatch: pytest.MonkeyPatch):
    original = a_mae_file(tmp_path)
    note = convert_trunk(original, tmp_path)

    def no_space(*_args: object, **_named: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("eye_dx_core.model.converting.save_file", no_space)
    with pytest.raises(BadSettings):
        convert_trunk(original, tmp_path)
    assert file_sha256(tmp_path / note.weights_file) == note.weights_sha256


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "weights_of", "a_file", "size"),
    # The MAE's is timm's 303 301 632 of a ViT-L/16 without a head, less the final norm.
    [("retfound_mae", mae_weights, a_mae_file, 303_299_584), ("retfound_dinov2", dinov2_weights, a_dinov2_file, 303_225_856)],
)
def test_a_file_of_retfounds_full_size_is_converted_and_loaded(tmp_path, name: str, weights_of, a_file, size: int):
    trunk = TRUNKS[name]
    published = encoder_weights(trunk)
    original = a_file(tmp_path, weights_of(trunk))

    note = convert_trunk(original, tmp_path)

    converted = tmp_path / note.weights_file
    assert trunk_shape_of(converted) == trunk_shape_of(original) == trunk
    with torch.device("meta"):
        model = build_model(trunk, class_count=8)
    model.to_empty(device="cpu")
    load_trunk(model, converted)
    loaded = model.trunk.state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in published.items())
    assert sum(value.numel() for value in published.values()) == size
    assert converted.stat().st_size < 4 * size + 2**20
