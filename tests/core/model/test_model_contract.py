"""What every model of ours promises, whatever its trunk."""

import pytest
import torch

from eye_dx_core.errors import BadSettings
from eye_dx_core.model.adapter import Adapter, AdapterConfig
from eye_dx_core.model.trainable import Method, select_trainable
from eye_dx_core.model.vit import TRUNKS, FundusVit, TrunkConfig, build_model

TINY = TrunkConfig(name="tiny", image_size=32, patch=8, dim=24, depth=2, heads=2)


# DINOv2's blocks: every residual branch has a gain.
SCALED = TINY.model_copy(update={"name": "scaled", "layer_scale": 1e-5})


def a_model(*, adapters: bool = True, seed: int = 0, image_size: int | None = None, trunk: TrunkConfig = TINY) -> FundusVit:
    torch.manual_seed(seed)
    return build_model(trunk, class_count=3, adapters=AdapterConfig(bottleneck=4) if adapters else None, image_size=image_size).eval()


def some_photos(count: int = 6) -> torch.Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def train_steps(model: FundusVit, steps: int) -> torch.Tensor:
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=1e-2, weight_decay=0)
    labels = torch.arange(6) % 3
    for _ in range(steps):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(some_photos()), labels)
        loss.backward()
        optimizer.step()
    return (model(some_photos()).argmax(dim=1) == labels).float().mean()


@pytest.mark.parametrize("trunk", [TINY, SCALED])
def test_a_fresh_adapter_changes_nothing_bit_for_bit(trunk: TrunkConfig):
    plain, adapted = a_model(adapters=False, trunk=trunk), a_model(seed=5, trunk=trunk)
    adapted.load_state_dict(plain.state_dict(), strict=False)

    assert torch.equal(adapted(some_photos()), plain(some_photos()))


def test_an_adapter_refilled_by_an_initialiser_goes_back_to_changing_nothing():
    adapter, tokens = Adapter(8, 4), torch.randn(2, 5, 8)
    for parameter in adapter.parameters():
        torch.nn.init.normal_(parameter)

    adapter.init_weights()

    assert torch.equal(adapter(tokens), tokens)


@pytest.mark.parametrize("method", ["probe", "adapters", "full"])
@pytest.mark.parametrize("trunk", [TINY, SCALED])
def test_after_two_steps_all_that_learns_has_moved_and_nothing_else(method: Method, trunk: TrunkConfig):
    model = a_model(adapters=method == "adapters", trunk=trunk)
    learning = set(select_trainable(model, method))
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}

    train_steps(model, 2)

    moved = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    assert moved == learning


def test_adapter_tuning_learns_adapters_head_and_the_norm_before_it():
    names = select_trainable(a_model(), "adapters")

    assert {name.split(".")[-3] if ".adapter_" in name and name.count(".") > 4 else "" for name in names} >= {"adapter_mlp", ""}
    assert all(".adapter_" in name or name.startswith(("head.", "trunk.fc_norm.")) for name in names)
    assert sum(".adapter_attention." in name for name in names) == sum(".adapter_mlp." in name for name in names) == 2 * 5


def test_a_tiny_set_is_learnt():
    model = a_model()
    select_trainable(model, "adapters")

    assert train_steps(model, 60) == 1.0


def test_photographs_read_together_or_alone_give_the_same_logits():
    model, photos = a_model(), some_photos()
    train_steps(model, 2)

    with torch.inference_mode():
        alone = torch.cat([model(photo[None]) for photo in photos])
        assert torch.allclose(model(photos), alone, atol=1e-5)


def test_features_pool_and_head_are_the_whole_model():
    model, photos = a_model(), some_photos()

    tokens = model.features(photos)

    assert tokens.shape == (6, 1 + 16, 24)
    assert model.grid == (4, 4)
    assert torch.equal(model.head(model.pool(tokens)), model(photos))


def test_the_norm_before_the_head_is_applied_once():
    model, photos = a_model(), some_photos()
    torch.nn.init.normal_(model.trunk.fc_norm.weight)
    tokens = model.features(photos)

    assert torch.allclose(model.pool(tokens), model.trunk.fc_norm(tokens[:, 1:].mean(dim=1)))


def test_a_new_head_starts_nearly_silent():
    model = a_model()

    assert model.head.bias.abs().max() == 0
    assert 0 < model.head.weight.abs().max() < 1e-4


def test_a_size_that_patches_do_not_tile_is_refused_with_those_that_work():
    with pytest.raises(BadSettings, match=r"255 pixels .* 11\.4% of each would never be seen; take 240 or 256"):
        build_model(TRUNKS["retfound_mae"].model_copy(update={"depth": 1}), class_count=8, image_size=255)


def test_retfound_is_a_vit_large():
    with torch.device("meta"):
        model = build_model(TRUNKS["retfound_mae"].model_copy(update={"depth": 1}), class_count=8)

    assert model.trunk.blocks[0].attn.qkv.weight.shape == (3072, 1024)
    assert model.grid == (14, 14)


def test_retfound_dinov2_is_a_vit_large_of_smaller_patches_with_layer_scale():
    with torch.device("meta"):
        model = build_model(TRUNKS["retfound_dinov2"].model_copy(update={"depth": 1}), class_count=8)

    assert model.trunk.blocks[0].ls1.gamma.shape == (1024,)
    assert model.trunk.patch_embed.proj.weight.shape == (1024, 3, 14, 14)
    assert model.grid == (16, 16)
