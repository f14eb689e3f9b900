from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from eye_dx_core.errors import BadCheckpoint
from eye_dx_core.model.adapter import AdapterConfig
from eye_dx_core.model.checkpoint import CheckpointCard, calibrated, load_checkpoint, save_checkpoint
from eye_dx_core.model.pretrained import file_sha256
from eye_dx_core.model.reference import Reference
from eye_dx_core.model.trainable import names_that_learn
from eye_dx_core.model.vit import TRUNKS, FundusVit, TrunkConfig, build_model
from eye_dx_core.schema.condition import LABEL_SETS

TINY = TrunkConfig(name="tiny", image_size=32, patch=8, dim=24, depth=2, heads=2)
ADAPTERS = AdapterConfig(bottleneck=4)


def a_model() -> FundusVit:
    torch.manual_seed(3)
    model = build_model(TINY, class_count=8, adapters=ADAPTERS).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model


def a_card() -> CheckpointCard:
    return CheckpointCard(
        model_name="tiny-adapters",
        trunk=TINY,
        adapters=ADAPTERS,
        label_set=LABEL_SETS["eight"],
        preprocess=TINY.preprocess(),
        method="adapters",
        trunk_sha256="a" * 64,
        data_fingerprint="b" * 64,
        splits_fingerprint="c" * 64,
        training={"epochs": 1, "augmentation": {"flips": True}},
        training_counts=(1, 2, 3, 4, 5, 6, 7, 8),
        temperature=1.5,
        bias=(0.0,) * 8,
        log_prior=(0.0,) * 8,
        set_thresholds=(0.5,) * 8,
        set_coverage=0.9,
        uncertain_below=0.4,
        metrics={"calibration_error": 0.1},
        created_at=datetime(2026, 3, 2, 12, tzinfo=UTC),
        library_versions={"torch": "2"},
    )


@pytest.fixture
def folder(tmp_path) -> Path:
    save_checkpoint(tmp_path / "checkpoint", a_model(), a_card(), trunk=None)
    return tmp_path / "checkpoint"


def test_saved_and_loaded_gives_equal_logits_and_an_equal_card(tmp_path):
    photos, model = torch.randn(4, 3, 32, 32), a_model()

    sha256 = save_checkpoint(tmp_path, model, a_card(), trunk=None)
    checkpoint = load_checkpoint(tmp_path)

    assert torch.equal(checkpoint.model(photos), model(photos))
    assert not checkpoint.model.training
    assert checkpoint.sha256 == checkpoint.card.weights_sha256 == sha256
    assert checkpoint.card == a_card().model_copy(update={"weights_sha256": sha256})


def test_saving_twice_gives_the_same_hash_and_leaves_two_files(tmp_path):
    assert save_checkpoint(tmp_path, a_model(), a_card(), trunk=None) == save_checkpoint(tmp_path, a_model(), a_card(), trunk=None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["card.json", "model.safetensors"]


def a_trunk(path: Path, model: FundusVit) -> Path:
    save_file({name: value for name, value in model.trunk.state_dict().items() if ".adapter_" not in name}, path)
    return path


@pytest.fixture
def beside_its_trunk(tmp_path) -> Path:
    """A checkpoint that holds what was learnt, and the trunk as a file of its own."""
    trunk = a_trunk(tmp_path / "trunk.safetensors", a_model())
    card = a_card().model_copy(update={"trunk_sha256": file_sha256(trunk)})
    save_checkpoint(tmp_path / "checkpoint", a_model(), card, trunk=trunk)
    return tmp_path / "checkpoint"


def test_a_checkpoint_holds_what_was_learnt_and_shares_its_trunk(beside_its_trunk):
    photos = torch.randn(4, 3, 32, 32)

    assert torch.equal(load_checkpoint(beside_its_trunk).model(photos), a_model()(photos))
    learnt = load_file(beside_its_trunk / "model.safetensors")
    assert all(name.startswith(("head.", "trunk.fc_norm.")) or ".adapter_" in name for name in learnt)
    assert (beside_its_trunk / "trunk.safetensors").samefile(beside_its_trunk.with_name("trunk.safetensors"))


def test_a_checkpoint_without_its_trunk_says_which_one_it_needs(beside_its_trunk):
    (beside_its_trunk / "trunk.safetensors").unlink()

    with pytest.raises(BadCheckpoint, match=r"trunk\.safetensors is missing: the checkpoint needs the trunk tiny, [0-9a-f]{12}"):
        load_checkpoint(beside_its_trunk)
    elsewhere = beside_its_trunk.with_name("trunk.safetensors")
    assert load_checkpoint(beside_its_trunk, trunk=elsewhere).card.trunk == TINY


def test_another_trunk_than_the_one_it_was_trained_on_is_refused(beside_its_trunk):
    torch.manual_seed(9)
    (beside_its_trunk / "trunk.safetensors").unlink()
    a_trunk(beside_its_trunk / "trunk.safetensors", build_model(TINY, class_count=8))

    with pytest.raises(BadCheckpoint, match="another one than the trunk tiny"):
        load_checkpoint(beside_its_trunk)


def a_reference(dim: int = 24) -> Reference:
    torch.manual_seed(4)
    axes = torch.linalg.qr(torch.randn(dim, 8))[0]
    return Reference(torch.randn(3, dim), axes, torch.rand(8) + 1, torch.tensor(0.5), torch.tensor(2.5))


def test_what_the_training_photographs_look_like_is_saved_and_bound_by_the_hash(tmp_path):
    pooled, known = torch.randn(5, 24), a_reference()

    with_it = save_checkpoint(tmp_path, a_model(), a_card(), trunk=None, reference=known)
    found = load_checkpoint(tmp_path)

    assert found.reference is not None
    assert torch.equal(found.reference.distances(pooled), known.distances(pooled))
    assert found.sha256 == with_it != save_checkpoint(tmp_path / "without", a_model(), a_card(), trunk=None)


def test_a_checkpoint_beside_its_trunk_keeps_its_reference(beside_its_trunk):
    card, trunk = load_checkpoint(beside_its_trunk).card, beside_its_trunk.with_name("trunk.safetensors")
    assert load_checkpoint(beside_its_trunk).reference is None  # as in checkpoints from before there was one

    save_checkpoint(beside_its_trunk, a_model(), card, trunk=trunk, reference=a_reference())

    photos = torch.randn(4, 3, 32, 32)
    assert load_checkpoint(beside_its_trunk).reference is not None
    assert torch.equal(load_checkpoint(beside_its_trunk).model(photos), a_model()(photos))


@pytest.mark.parametrize("drop", ["reference.unit", None])
def test_a_reference_that_is_not_whole_or_of_another_width_is_refused(tmp_path, drop):
    save_checkpoint(tmp_path, a_model(), a_card(), trunk=None, reference=a_reference(24 if drop else 16))
    kept = {name: value for name, value in load_file(tmp_path / "model.safetensors").items() if name != drop}
    save_file(kept, tmp_path / "model.safetensors")
    card = a_card().model_copy(update={"weights_sha256": file_sha256(tmp_path / "model.safetensors")})
    (tmp_path / "card.json").write_text(card.model_dump_json(), encoding="utf-8")

    with pytest.raises(BadCheckpoint, match=r"do not fit the card: axes, .* are no reference of 24 numbers"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize(("bottleneck", "megabytes"), [(8, 4), (64, 26)])
def test_adapters_of_a_full_size_trunk_are_a_small_file(tmp_path, bottleneck, megabytes):
    shape, adapters = TRUNKS["retfound_mae"], AdapterConfig(bottleneck=bottleneck)
    with torch.device("meta"):
        model = build_model(shape, class_count=8, adapters=adapters)
    for name in names_that_learn(model, "adapters"):
        owner, _, own = name.rpartition(".")
        setattr(model.get_submodule(owner), own, torch.nn.Parameter(torch.empty(model.get_parameter(name).shape)))
    trunk = tmp_path / "trunk.safetensors"
    trunk.write_bytes(b"stands for 1.2 GB")

    reference = Reference(torch.empty(8, 1024), torch.empty(1024, 64), torch.empty(64), torch.tensor(1.0), torch.tensor(1.0))
    card = a_card().model_copy(update={"trunk": shape, "adapters": adapters})
    save_checkpoint(tmp_path / "c", model, card, trunk=trunk, reference=reference)

    assert (tmp_path / "c" / "model.safetensors").stat().st_size <= megabytes * 1e6


def test_weights_of_another_card_are_refused(folder):
    weights = load_file(folder / "model.safetensors")
    save_file({name: value + 1 for name, value in weights.items()}, folder / "model.safetensors")

    with pytest.raises(BadCheckpoint, match=r"model\.safetensors is not the file that card\.json was written for"):
        load_checkpoint(folder)


@pytest.mark.parametrize("change", [{"head.weight": None}, {"surplus": torch.zeros(1)}])
def test_a_missing_or_unknown_key_is_refused(tmp_path, change):
    model = a_model()
    weights = {name: value for name, value in (model.state_dict() | change).items() if value is not None}
    save_checkpoint(tmp_path, model, a_card(), trunk=None)
    save_file(weights, tmp_path / "model.safetensors")
    card = a_card().model_copy(update={"weights_sha256": file_sha256(tmp_path / "model.safetensors")})
    (tmp_path / "card.json").write_text(card.model_dump_json(), encoding="utf-8")

    with pytest.raises(BadCheckpoint, match=rf"do not fit the card[\s\S]*{next(iter(change))}"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("name", ["card.json", "model.safetensors"])
def test_a_missing_or_cut_file_is_refused(folder, name):
    path = folder / name
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(BadCheckpoint, match=name):
        load_checkpoint(folder)

    path.unlink()
    with pytest.raises(BadCheckpoint, match=name):
        load_checkpoint(folder)


def test_a_card_with_a_size_that_does_not_fit_is_refused(folder):
    path = folder / "card.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"size": 32', '"size": 33'), encoding="utf-8")

    with pytest.raises(BadCheckpoint, match=r"card\.json"):
        load_checkpoint(folder)


def test_a_deployment_prior_shifts_the_answer_and_no_prior_is_an_even_one():
    logits = torch.tensor([[1.0, 1.0]])

    even = calibrated(logits, temperature=1.0, bias=(0.0, 0.0), log_prior=(0.0, 0.0))
    skewed = calibrated(logits, temperature=1.0, bias=(0.0, 0.0), log_prior=(0.0, 0.0), deployment_prior=(0.9, 0.1))

    assert even.tolist() == [[0.5, 0.5]]
    assert skewed[0].tolist() == pytest.approx([0.9, 0.1])


def test_a_training_prior_in_the_logits_is_taken_out():
    shares = torch.tensor([0.8, 0.2])

    answer = calibrated(shares.log()[None], temperature=1.0, bias=(0.0, 0.0), log_prior=tuple(shares.log().tolist()))

    assert answer[0].tolist() == pytest.approx([0.5, 0.5])
