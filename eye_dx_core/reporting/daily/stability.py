"""Population stability: how far two samples of one quantity are apart, and how far they would be by chance."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from math import log, sqrt
from statistics import NormalDist

_BINS = 10
_CHANCE = 0.001
"""How often an unchanged population may be called changed."""

Histogram = dict[str, tuple[int, int]]
"""Bin → how often it was seen before, and now."""


def psi(histogram: Histogram) -> float:
    """Population stability index: the sum over the bins of (q - p) ln(q / p), p being the shares before and q those now.

    The symmetric divergence of Kullback and Leibler (1951), in the use of Siddiqi, Credit Risk Scorecards (2006). Half an
    observation is added to every bin (Krichevsky and Trofimov 1981), because an empty one would make it infinite.
    """
    p, q = (_shares([pair[place] for pair in histogram.values()]) for place in (0, 1))
    return sum((now - before) * log(now / before) for before, now in zip(p, q, strict=True))


def psi_by_chance(before: int, now: int, *, bins: int) -> float:
    """The index that two samples of one population stay under, but for one pair in a thousand.

    It is distributed as chi-square with `bins` - 1 degrees of freedom, times 1/before + 1/now (Yurdakul, Statistical Properties
    of Population Stability Index, Western Michigan University 2018); the quantile is that of Wilson and Hilferty (1931).

    Args:
        before: independent observations in the reference.
        now: the same in the other sample.
        bins: of both histograms.
    """
    degrees = max(bins - 1, 1)
    spread = 2 / (9 * degrees)
    quantile = degrees * (1 - spread + NormalDist().inv_cdf(1 - _CHANCE) * sqrt(spread)) ** 3
    return quantile * (1 / before + 1 / now)


def count_names(before: Mapping[str, int], now: Mapping[str, int]) -> Histogram:
    """One bin for each name that was seen."""
    return {name: (before.get(name, 0), now.get(name, 0)) for name in sorted({*before, *now})}


def count_numbers(before: Mapping[float, int], now: Mapping[float, int]) -> Histogram:
    """One bin for each tenth of the numbers before: fewer where many of them are equal."""
    edges = _tenths(before)
    names = [f"< {edges[0]:g}", *(f"{low:g} to {high:g}" for low, high in pairwise(edges)), f"≥ {edges[-1]:g}"]
    counts = [[0] * len(names), [0] * len(names)]
    for histogram, sample in zip(counts, (before, now), strict=True):
        for number, count in sample.items():
            histogram[bisect_right(edges, number)] += count
    return dict(zip(names, zip(*counts, strict=True), strict=True))


def _tenths(sample: Mapping[float, int]) -> list[float]:
    """Where the second to the last tenth of a sample begin."""
    numbers = sorted(sample)
    up_to = list(accumulate(sample[number] for number in numbers))
    return sorted({numbers[bisect_right(up_to, up_to[-1] * step / _BINS)] for step in range(1, _BINS)})


def _shares(counts: Sequence[int]) -> list[float]:
    total = sum(counts) + 0.5 * len(counts)
    return [(count + 0.5) / total for count in counts]
