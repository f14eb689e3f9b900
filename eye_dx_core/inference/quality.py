"""A first gate before the model: pictures that nobody could read.

Blur is left to the model and the doctor, because a cloudy lens, which is a finding, looks the same.
"""

import numpy as np
from numpy.typing import NDArray

# On phantoms and on real photographs of five sources: exposure defects fall far outside, under 2 % of the real ones do.
_TOO_DARK, _TOO_BRIGHT_SHARE, _LIT_SHARE = 28.0, 0.5, 0.55


def find_quality_problem(square: NDArray[np.uint8]) -> str | None:
    """Why a square (size, size, rgb) cannot be read: `too_dark`, `too_bright`, `field_cut`; None when it can."""
    size = square.shape[0]
    axis = (np.arange(size) + 0.5) / size * 2 - 1
    inside = square[axis[None, :] ** 2 + axis[:, None] ** 2 < 0.92]
    brightest = inside.max(axis=1)
    if float(np.percentile(brightest, 90)) < 2 * _TOO_DARK and float(brightest.mean()) < _TOO_DARK:
        return "too_dark"
    if float((inside[:, 1] >= 250).mean()) > _TOO_BRIGHT_SHARE or float((inside.min(axis=1) >= 235).mean()) > _TOO_BRIGHT_SHARE / 2:
        return "too_bright"
    if float((brightest > 12).mean()) < _LIT_SHARE:
        return "field_cut"
    return None
