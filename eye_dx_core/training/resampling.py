"""Resampled patients, and the intervals that follow from them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000


def resample_patients(patients: Sequence[str], *, resamples: int = RESAMPLES, seed: int = 0) -> NDArray[np.float64]:
    """How often each photograph is drawn, (resample, photo): patients are drawn, so one's photographs come together.

    The cluster bootstrap (Field and Welsh, JRSS B 2007): photographs of one patient are alike, and drawn one by one they would
    make every interval too narrow.
    """
    keys, patient_of = np.unique(np.array(patients), return_inverse=True)
    drawn = np.random.default_rng(seed).multinomial(len(keys), np.full(len(keys), 1 / len(keys)), size=resamples)
    return drawn[:, patient_of].astype(np.float64)


def interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """The middle 95 % of resampled values; resamples in which the measure does not exist do not count."""
    known = values[np.isfinite(values)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)
