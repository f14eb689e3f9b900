import numpy as np
import pytest
import torch

from eye_dx_core.errors import BadSettings
from eye_dx_core.model.preprocess import Preprocess


def a_preprocess(size: int = 32) -> Preprocess:
    return Preprocess(size=size, patch=16, mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 1.0))


def test_squares_become_a_normalised_batch_with_the_channels_first():
    squares = np.zeros((2, 32, 32, 3), np.uint8)
    squares[0, ..., 0] = 255

    batch = a_preprocess().to_batch(squares)

    assert batch.shape == (2, 3, 32, 32)
    assert batch[0, :, 5, 5].tolist() == [1.0, -1.0, 0.0]
    assert batch[1, :, 5, 5].tolist() == [-1.0, -1.0, 0.0]


def test_a_read_only_memory_map_is_fine(tmp_path):
    np.save(tmp_path / "squares.npy", np.full((1, 32, 32, 3), 7, np.uint8))

    batch = a_preprocess().to_batch(np.load(tmp_path / "squares.npy", mmap_mode="r"))

    assert torch.allclose(batch[0, 2], torch.tensor(7 / 255))


def test_255_pixels_are_refused():
    with pytest.raises(BadSettings, match="take 240 or 256"):
        a_preprocess(size=255)
