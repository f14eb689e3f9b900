"""Whose file it is, what of it is the trunk, and that no key goes unnamed."""

import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from eye_dx_core.errors import BadCheckpoint
from eye_dx_core.model.layouts import Weights, check_weights, detect_layout, find_trunk, fold_keys, shapes_of, to_trunk_keys
from eye_dx_core.model.vit import TRUNKS, TrunkConfig, build_model
from tests.foreign_weights import TINY, a_head, dinov2_weights, encoder_weights, final_norm, fine_tuned_weights, mae_weights, timm_weights

ENCODER = encoder_weights()


@pytest.mark.parametrize(
    ("weights", "found_under", "kind"),
    [
        (ENCODER, None, "encoder"),
        (ENCODER | final_norm(name="fc_norm"), None, "encoder"),
        (mae_weights(), "model", "retfound_mae"),
        (dinov2_weights(), "teacher", "retfound_dinov2"),
        (fine_tuned_weights(), "model", "fine_tuned"),
        (fine_tuned_weights(), None, "fine_tuned"),
        (ENCODER | final_norm() | a_head(), "model", "fine_tuned"),
        (timm_weights(), None, "timm"),
        (timm_weights(), "state_dict", "timm"),
        (ENCODER | final_norm(), "model", "timm"),
        ({}, None, "encoder"),
    ],
)
def test_a_layout_is_told_by_its_keys(weights: Weights, found_under: str | None, kind: str):
    assert detect_layout(weights, found_under=found_under) == kind


@pytest.mark.parametrize("weights", [mae_weights(), dinov2_weights(TINY), dinov2_weights(TINY, swiglu_names=True), timm_weights()])
def test_every_layout_gives_the_same_trunk_under_the_same_names(weights: Weights):
    ours = to_trunk_keys(weights, detect_layout(weights))

    assert ours.keys() == ENCODER.keys()
    assert all(torch.equal(ours[key], ENCODER[key]) for key in ours)


def test_what_belongs_to_another_layout_is_not_dropped():
    assert "dino_head.mlp.0.bias" in to_trunk_keys(mae_weights() | {"dino_head.mlp.0.bias": torch.zeros(1)}, "retfound_mae")


def test_a_weight_under_an_old_and_a_new_name_is_refused():
    twice = dinov2_weights() | {"backbone.blocks.1.mlp.w3.bias": torch.zeros(24)}

    with pytest.raises(BadCheckpoint, match=r"twice.*: backbone\.blocks\.1\.mlp\.fc2\.bias, backbone\.blocks\.1\.mlp\.w3\.bias"):
        to_trunk_keys(twice, "retfound_dinov2")


@pytest.mark.parametrize("name", sorted(TRUNKS))
def test_every_trunk_is_found_by_its_weights(name: str):
    with torch.device("meta"):
        model = build_model(TRUNKS[name], class_count=2)

    assert find_trunk(shapes_of(model.trunk.state_dict())) == TRUNKS[name]


@pytest.mark.parametrize("weights", [{}, {"patch_embed.proj.weight": torch.zeros(3)}, ENCODER])
def test_weights_of_no_trunk_of_ours_find_none(weights: Weights):
    assert find_trunk(shapes_of(weights)) is None


def unfolded(text: str) -> set[str]:
    keys: set[str] = set()
    for one in re.split(r", (?![^{]*})", text):
        match = re.fullmatch(r"(.*)\{(.*)\}(.*)", one)
        if match is None:
            keys.add(one)
            continue
        for part in match[2].split(","):
            first, _, last = part.partition("-")
            keys |= {f"{match[1]}{number}{match[3]}" for number in range(int(first), int(last or first) + 1)}
    return keys


@given(
    st.sets(st.sampled_from(sorted(encoder_weights(TrunkConfig(name="t", image_size=16, patch=8, dim=2, depth=9, heads=1)))), min_size=1)
)
def test_a_folded_list_names_exactly_its_keys(keys: set[str]):
    assert unfolded(fold_keys(keys)) == keys


def test_keys_of_many_blocks_are_folded_into_one_name():
    keys = [f"blocks.{block}.ls1.gamma" for block in (0, 1, 2, 5, 7, 8)]

    assert fold_keys([*keys, "norm.bias", "blocks.3.mlp.fc1.bias"]) == "blocks.3.mlp.fc1.bias, blocks.{0-2,5,7-8}.ls1.gamma, norm.bias"
    assert fold_keys([]) == "nothing"


@given(
    missing=st.sets(st.sampled_from(sorted(ENCODER)), max_size=len(ENCODER) - 1),
    unexpected=st.sets(st.sampled_from(["a.b", "c", "blocks.7.x"])),
)
def test_every_missing_and_every_unexpected_key_is_named(missing: set[str], unexpected: set[str]):
    weights = {key: value for key, value in ENCODER.items() if key not in missing} | dict.fromkeys(unexpected, torch.zeros(1))
    if not missing | unexpected:
        check_weights(weights, shapes_of(ENCODER))
        return

    with pytest.raises(BadCheckpoint) as caught:
        check_weights(weights, shapes_of(ENCODER))

    named = dict(part.split(" ", 1) for part in str(caught.value).removeprefix("weights do not fit the trunk: ").split("; "))
    assert unfolded(named.get("missing", "")) - {""} == missing
    assert unfolded(named.get("unexpected", "")) - {""} == unexpected


def test_half_a_norm_is_a_missing_key():
    expected = shapes_of(ENCODER | final_norm(name="fc_norm"))
    check_weights(ENCODER, expected)

    with pytest.raises(BadCheckpoint, match=r"missing fc_norm\.bias$"):
        check_weights(ENCODER | {"fc_norm.weight": torch.ones(24)}, expected)


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"cls_token": torch.zeros(1, 1, 8)}, r"cls_token is \(1, 1, 8\) instead of \(1, 1, 24\)"),
        ({"cls_token": torch.zeros(1, 1, 24, dtype=torch.int8)}, "cls_token holds torch.int8"),
        ({"pos_embed": torch.zeros(1, 16, 24)}, "pos_embed has 16 positions"),
        ({"pos_embed": torch.zeros(1, 1, 24)}, "pos_embed has 1 positions"),
        ({"pos_embed": torch.zeros(24)}, r"pos_embed is \(24,\) instead of \(1, 17, 24\)"),
        # A gated MLP has the names of `w12` and `w3`, but not the shapes of a plain one.
        ({f"blocks.{n}.mlp.fc1.bias": torch.zeros(128) for n in (0, 1)}, r"blocks\.{0-1}\.mlp\.fc1\.bias is \(128,\) instead of \(96,\)"),
    ],
)
def test_a_wrong_shape_is_named(wrong: Weights, text: str):
    with pytest.raises(BadCheckpoint, match=text):
        check_weights(ENCODER | wrong, shapes_of(ENCODER))


def test_weights_of_another_trunk_of_ours_are_recognised():
    with torch.device("meta"):
        mae, dino = (build_model(TRUNKS[name], class_count=1).trunk.state_dict() for name in ("retfound_mae", "retfound_dinov2"))

    with pytest.raises(
        BadCheckpoint, match=r"unexpected blocks\.{0-23}\.ls1\.gamma, .*; they look like those of the trunk retfound_dinov2"
    ):
        check_weights(dino, shapes_of(mae))
