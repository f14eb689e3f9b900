from typing import get_args

import numpy as np
import pytest
import torch

from eye_dx_core.dataset.augment import Augmentation, augment_batch
from eye_dx_core.training.losses import Loss, Objective, Sampling, log_shares
from eye_dx_core.training.schedule import learning_rate_at


def rate(step: int) -> float:
    return learning_rate_at(step, peak=1.0, warmup_steps=10, total_steps=110)


def test_the_rate_warms_up_to_its_peak_and_falls_to_nearly_nothing():
    assert [rate(0), rate(9), rate(10)] == pytest.approx([0.1, 1.0, 1.0])
    assert rate(60) == pytest.approx(0.505)
    assert 0 < rate(109) < 0.02
    assert rate(500) == rate(110) == pytest.approx(0.01)


def test_balanced_softmax_lets_the_shares_explain_themselves():
    silent = torch.zeros(100, 2, requires_grad=True)
    labels = torch.tensor([0] * 90 + [1] * 10)

    Objective("balanced_softmax", (90, 10))(silent, labels).backward()

    # Logits that say nothing are already right about the shares, so nothing pulls them to the common label.
    assert silent.grad is not None
    assert silent.grad.sum(dim=0).abs().max() < 1e-6


def test_cross_entropy_is_cross_entropy_and_contains_the_shares():
    logits, labels = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    objective = Objective("cross_entropy", (6, 3, 1))

    assert torch.allclose(objective(logits, labels), torch.nn.functional.cross_entropy(logits, labels))
    assert objective.contained_log_prior == pytest.approx(log_shares((6, 3, 1)))


def test_focal_takes_its_probability_from_the_unweighted_softmax():
    """Taken from the weighted loss, as once happened, the probability becomes p to the power of the weight."""
    logits = torch.tensor([[1.2, 0.3, -0.5]])
    objective = Objective("focal", (100, 10, 1))
    p = logits.softmax(dim=1)[0, 2]

    loss = objective(logits, torch.tensor([2]))

    assert loss == pytest.approx(float(objective.weights[2] * (1 - p) ** 2 * -p.log()), rel=1e-5)


@pytest.mark.parametrize("loss", get_args(Loss))
@pytest.mark.parametrize("sampling", get_args(Sampling))
def test_compensation_never_adds_up(loss: Loss, sampling: Sampling):
    objective = Objective(loss, (900, 90, 9, 0), sampling)

    felt = np.array(objective.drawn_shares) * np.array(objective.weights)
    assert felt.sum() == pytest.approx(1)
    if loss in ("weighted_cross_entropy", "focal"):
        assert felt == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0])
    if sampling == "balanced":
        assert objective.weights == pytest.approx((1, 1, 1, 0))
    assert objective.contained_log_prior[3] == 0


@pytest.mark.parametrize("loss", get_args(Loss))
def test_an_empty_label_takes_no_part(loss: Loss):
    logits = torch.randn(6, 3, requires_grad=True)

    value = Objective(loss, (40, 2, 0))(logits, torch.tensor([0, 0, 0, 1, 0, 1]))
    value.backward()

    assert value.isfinite()
    assert logits.grad is not None
    assert (logits.grad[:, 2] == 0).all()
    assert logits.grad.isfinite().all()


def some_photos() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    photos = torch.rand(8, 3, 32, 32, generator=generator)
    photos[:, :, :6] = 0
    return photos


def test_augmentation_is_reproducible_and_stays_within_range():
    one, same, other = (augment_batch(some_photos(), Augmentation(), torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))

    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert one.min() >= 0
    assert one.max() <= 1


def test_augmentation_of_nothing_changes_nothing():
    nothing = Augmentation(flips=False, rotation_degrees=0, brightness=0, contrast=0, saturation=0)

    assert torch.allclose(augment_batch(some_photos(), nothing, torch.Generator()), some_photos(), atol=1e-5)


def test_mirroring_keeps_every_pixel():
    mirror = Augmentation(flips=True, rotation_degrees=0, brightness=0, contrast=0, saturation=0)
    photos = some_photos()

    mirrored = augment_batch(photos, mirror, torch.Generator().manual_seed(3))

    ways = [photos, photos.flip(2), photos.flip(3), photos.flip(2, 3)]
    seen = {next(i for i, way in enumerate(ways) if torch.allclose(way[n], mirrored[n], atol=1e-4)) for n in range(len(photos))}
    assert len(seen) > 1


def test_black_surroundings_stay_black():
    colours = Augmentation(flips=False, rotation_degrees=0, brightness=0.3, contrast=0.3, saturation=0.3)

    assert augment_batch(some_photos(), colours, torch.Generator().manual_seed(4))[:, :, :6].abs().max() == 0


def test_each_photograph_is_changed_in_its_own_way():
    photos = torch.full((6, 3, 16, 16), 0.5)

    changed = augment_batch(photos, Augmentation(rotation_degrees=0), torch.Generator().manual_seed(5))

    assert len(np.unique(changed[:, 0, 8, 8].numpy().round(4))) == 6
