"""Shares and agreement with what they may be by chance, and nothing where there are too few to say."""

from collections import Counter
from collections.abc import Mapping
from math import sqrt
from statistics import NormalDist

import numpy as np

from eye_dx_core.schema.frozen import Frozen

LEAST_FOR_A_SHARE, LEAST_FOR_KAPPA = 20, 50
"""With fewer, the interval is so wide that the number would only mislead."""
_Z = NormalDist().inv_cdf(0.975)

Pair = tuple[str, str]
"""What the AI said and what the doctor said, by code."""


class Estimate(Frozen):
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float

    def as_percent(self) -> str:
        """For a person: `12 % (9–16)`."""
        return f"{self.value:.0%} ({100 * self.low:.0f}–{100 * self.high:.0f})".replace("%", " %")

    def as_number(self) -> str:
        """For a person: `0.81 (0.74–0.88)`."""
        return f"{self.value:.2f} ({self.low:.2f}–{self.high:.2f})"


class Spread(Frozen):
    """How a figure spreads over the day's cases or eyes. Percentiles that too few stand behind are None."""

    count: int
    mean: float
    p10: float | None
    median: float
    p90: float | None
    p99: float | None
    largest: float


def spread_of(values: np.ndarray) -> Spread | None:
    """The spread of some values; None where there are none. A tenth needs ten values, a hundredth needs a hundred."""
    if not len(values):
        return None
    p10, median, p90, p99 = (float(one) for one in np.percentile(values, (10, 50, 90, 99)))
    return Spread(
        count=len(values),
        mean=float(values.mean()),
        p10=p10 if len(values) >= 10 else None,
        median=median,
        p90=p90 if len(values) >= 10 else None,
        p99=p99 if len(values) >= 100 else None,
        largest=float(values.max()),
    )


def share_of(hits: int, of: int) -> Estimate | None:
    """A share with Wilson's score interval (1927); None for fewer than `LEAST_FOR_A_SHARE`."""
    if of < LEAST_FOR_A_SHARE:
        return None
    share, spread = hits / of, _Z**2 / of
    middle = (share + spread / 2) / (1 + spread)
    reach = _Z * sqrt(share * (1 - share) / of + spread / (4 * of)) / (1 + spread)
    return Estimate(value=share, low=max(0.0, middle - reach), high=min(1.0, middle + reach))


def kappa_of(cases: Mapping[tuple[Pair, ...], int]) -> Estimate | None:
    """Cohen's kappa (1960) of AI and doctor, with a jackknife over cases: the two eyes of a patient are no two observations.

    Args:
        cases: the pairs of a case → how many cases have just these; equal cases need to be left out but once.

    Returns:
        None for fewer than `LEAST_FOR_KAPPA` cases, or where one of the two always says the same.
    """
    whole = Counter[Pair]()
    for pairs, count in cases.items():
        for pair in pairs:
            whole[pair] += count
    total, kappa = sum(cases.values()), _kappa(whole)
    if total < LEAST_FOR_KAPPA or kappa is None:
        return None
    left_out = [(_kappa(whole - Counter(pairs)), count) for pairs, count in cases.items()]
    if any(one is None for one, _ in left_out):
        return None
    middle = sum((one or 0.0) * count for one, count in left_out) / total
    error = sqrt((total - 1) / total * sum(count * ((one or 0.0) - middle) ** 2 for one, count in left_out))
    return Estimate(value=kappa, low=max(-1.0, kappa - _Z * error), high=min(1.0, kappa + _Z * error))


def _kappa(pairs: Counter[Pair]) -> float | None:
    total = pairs.total()
    if not total:
        return None
    said, confirmed = Counter[str](), Counter[str]()
    for (ai, doctor), count in pairs.items():
        said[ai] += count
        confirmed[doctor] += count
    by_chance = sum(said[code] * confirmed[code] for code in said) / total**2
    agreed = sum(count for (ai, doctor), count in pairs.items() if ai == doctor) / total
    return None if by_chance == 1 else (agreed - by_chance) / (1 - by_chance)
