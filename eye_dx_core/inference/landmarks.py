"""Where the optic disc lies in a square."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from eye_dx_core.schema.frozen import Frozen


class Disc(Frozen):
    """The optic disc as found in a square, in field units (-1..1, x to the right, y down)."""

    x: float
    y: float


def find_disc(square: NDArray[np.uint8]) -> Disc | None:
    """The brightest compact spot of the square, or None when nothing stands out."""
    size = square.shape[0]
    light = square[..., :2].astype(np.float32).mean(axis=2)
    axis = (np.arange(size) + 0.5) / size * 2 - 1
    inside = axis[None, :] ** 2 + axis[:, None] ** 2 < 0.9
    # The black outside would make the rim look bright against its surroundings.
    light[~inside] = light[inside].mean()
    spots = gaussian_filter(light, size * 0.035) - gaussian_filter(light, size * 0.12)
    spread = float(spots[inside].std())
    down, across = np.unravel_index(int(np.where(inside, spots, -np.inf).argmax()), spots.shape)
    if spread < 1e-6 or float(spots[down, across]) < 3 * spread:
        return None
    return Disc(x=float(axis[across]), y=float(axis[down]))
