"""A tiny checkpoint with random weights for tests of what happens around a model."""

from pathlib import Path

import torch
from safetensors.torch import save_file

from eye_dx_core.model.adapter import AdapterConfig
from eye_dx_core.model.checkpoint import CheckpointCard, save_checkpoint
from eye_dx_core.model.pretrained import file_sha256
from eye_dx_core.model.reference import Reference
from eye_dx_core.model.vit import TrunkConfig, build_model
from eye_dx_core.schema.condition import LABEL_SETS
from tests.builders import NOON

TINY = TrunkConfig(name="tiny", image_size=64, patch=16, dim=24, depth=2, heads=2)
ADAPTERS = AdapterConfig(bottleneck=4)


def a_reference(*, unit: float = 1.0) -> Reference:
    """Training photographs that the tiny model saw around the origin; the larger the unit, the nearer all others are."""
    axes = torch.eye(TINY.dim)[:, :4]
    return Reference(torch.zeros(1, TINY.dim), axes, torch.ones(4), torch.tensor(1.0), torch.tensor(unit))


def a_checkpoint(
    folder: Path,
    *,
    label_set: str = "eight",
    seed: int = 3,
    uncertain_below: float = 0.0,
    reference: Reference | None = None,
    trunk: TrunkConfig = TINY,
) -> Path:
    torch.manual_seed(seed)
    labels = LABEL_SETS[label_set]
    model = build_model(trunk, class_count=len(labels.codes), adapters=ADAPTERS).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    trunk_file = folder.with_name(f"{folder.name}.trunk.safetensors")
    save_file({name: value for name, value in model.trunk.state_dict().items() if ".adapter_" not in name}, trunk_file)
    card = CheckpointCard(
        model_name=f"{trunk.name}-adapters",
        trunk=trunk,
        adapters=ADAPTERS,
        label_set=labels,
        preprocess=trunk.preprocess(),
        method="adapters",
        trunk_sha256=file_sha256(trunk_file),
        data_fingerprint="b" * 64,
        splits_fingerprint="c" * 64,
        training={"epochs": 1},
        training_counts=(1,) * len(labels.codes),
        temperature=1.0,
        bias=(0.0,) * len(labels.codes),
        log_prior=(0.0,) * len(labels.codes),
        set_thresholds=(0.5,) * len(labels.codes),
        set_coverage=0.9,
        uncertain_below=uncertain_below,
        metrics={},
        created_at=NOON,
        library_versions={},
    )
    save_checkpoint(folder, model, card, trunk=trunk_file, reference=reference)
    return folder
