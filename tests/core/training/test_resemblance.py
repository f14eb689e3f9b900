"""How unlike the training photographs another one is, in units of photographs that were held out."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from eye_dx_core.dataset.field_of_view import crop_to_field
from eye_dx_core.dataset.phantom import PHANTOM_CODES, render_phantom
from eye_dx_core.model.pretrained import SHIPPED_TRUNK, load_trunk
from eye_dx_core.model.reference import Reference
from eye_dx_core.model.vit import TRUNKS, build_model
from eye_dx_core.schema.case import Laterality
from eye_dx_core.training.feeds import pool_squares
from eye_dx_core.training.resemblance import draw_evenly, fit_reference, upper_limit

LABELS = np.arange(120, dtype=np.int64) % 3


def a_cloud(count: int, *, seed: int) -> torch.Tensor:
    """Three labels with centres of their own, wide in two directions and narrow in all others."""
    rng = np.random.default_rng(seed)
    spread = np.r_[5.0, 3.0, np.full(78, 0.1)]
    centres = np.eye(3, 80) * 20
    return torch.from_numpy(centres[np.arange(count) % 3] + rng.normal(size=(count, 80)) * spread).float()


def a_reference(*, held_out: int = 200) -> Reference:
    found = fit_reference(a_cloud(120, seed=1), LABELS, a_cloud(held_out, seed=2))
    assert found is not None
    return found


def test_one_of_a_hundred_photographs_like_those_of_training_is_beyond_one():
    far = a_reference().distances(a_cloud(4000, seed=3)) > 1

    assert 0.002 < float(far.double().mean()) < 0.03


def test_what_differs_where_training_photographs_are_alike_is_far_and_where_they_vary_it_is_not():
    offset = torch.zeros(2, 80)
    offset[0, 79] = offset[1, 0] = 4.0  # the same step, across the cloud and along it

    odd, usual = a_reference().distances(a_cloud(1, seed=4) + offset).tolist()

    assert odd > 2
    assert usual < 1


def test_the_nearest_label_counts():
    between = torch.zeros(1, 80)
    between[0, 1] = 20.0

    assert float(a_reference().distances(between)) < 1 < float(a_reference().distances(-between))


def test_a_distance_does_not_depend_on_the_batch():
    reference, photos = a_reference(), a_cloud(9, seed=5)

    alone = torch.cat([reference.distances(photo[None]) for photo in photos])

    assert torch.allclose(alone, reference.distances(photos), rtol=1e-9)


def test_fewer_axes_than_numbers_are_kept():
    assert a_reference().axes.shape == (80, 64)
    narrow = fit_reference(a_cloud(120, seed=1)[:, :24], LABELS, a_cloud(60, seed=2)[:, :24])
    assert narrow is not None
    assert narrow.axes.shape == (24, 23)


def test_with_too_few_held_out_photographs_nobody_knows_how_far_is_far():
    assert fit_reference(a_cloud(120, seed=1), LABELS, a_cloud(2, seed=2)) is None


def test_the_limit_is_an_order_statistic_where_there_are_enough_and_wider_the_fewer_there_are():
    distances = np.random.default_rng(6).lognormal(0, 0.3, 999)

    assert upper_limit(distances) == np.sort(distances)[989]
    few, fewer = (float(np.mean([upper_limit(part) for part in distances[:900].reshape(-1, size)])) for size in (30, 5))
    assert 2.0 < few < fewer  # the true one is exp(0.3 * 2.33) = 2.01


def test_at_most_so_many_are_drawn_and_rare_labels_whole():
    labels = np.array([0] * 50 + [1] * 6 + [2] * 30, dtype=np.int64)

    drawn = draw_evenly(labels, most=30)

    assert np.bincount(labels[drawn]).tolist() == [12, 6, 12]
    assert len(set(drawn.tolist())) == 30
    assert (draw_evenly(labels) == np.arange(86)).all()


@pytest.fixture(scope="module")
def squares() -> NDArray[np.uint8]:
    drawn = (render_phantom(code, eye=Laterality.RIGHT, seed=seed, size=96) for seed in range(2) for code in PHANTOM_CODES)
    return np.stack([crop_to_field(phantom.rgb, size=224) for phantom in drawn])


def test_noise_and_wrong_colours_are_farther_than_any_held_out_photograph(squares: NDArray[np.uint8]):
    model = build_model(TRUNKS["small"], class_count=8).eval()
    load_trunk(model, SHIPPED_TRUNK)
    noise = np.random.default_rng(7).integers(0, 256, squares[:2].shape, dtype=np.uint8)
    everything = np.concatenate([squares, noise, squares[:2, ..., ::-1]])
    pooled = pool_squares(model, everything, TRUNKS["small"].preprocess())

    reference = fit_reference(pooled[:16], np.zeros(16, dtype=np.int64), pooled[16:22])

    assert reference is not None
    held_out, odd = reference.distances(pooled[16:26]), reference.distances(pooled[26:])
    assert float(held_out.max()) < float(odd.min())
