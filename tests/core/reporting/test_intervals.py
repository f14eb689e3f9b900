"""Intervals against what textbooks and other programs give."""

from collections import Counter
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from eye_dx_core.reporting.daily.estimates import kappa_of, share_of, spread_of


def test_wilsons_interval_has_its_textbook_values():
    # Newcombe, Statistics in Medicine 1998, 17: 857-872, table I: 81 of 263 and 0 of 20.
    for hits, of, low, high in ((81, 263, 0.2553, 0.3662), (0, 20, 0.0, 0.1611)):
        share = share_of(hits, of)

        assert share is not None
        assert (share.low, share.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


def test_too_few_give_no_share_and_no_kappa():
    assert share_of(5, 19) is None
    assert kappa_of(Counter({(("A", "A"),): 25, (("N", "N"),): 24})) is None


@given(st.lists(st.integers(0, 30), min_size=9, max_size=9))
def test_kappa_is_that_of_another_program(counts: list[int]):
    cells = dict(zip(product("ADN", "ADN"), counts, strict=True))
    pairs = list(Counter(cells).elements())
    ours = kappa_of({(pair,): count for pair, count in cells.items() if count})

    if ours is not None:
        theirs = cohen_kappa_score([ai for ai, _ in pairs], [doctor for _, doctor in pairs], labels=list("ADN"))
        assert ours.value == pytest.approx(theirs, abs=1e-9)


def test_the_jackknife_comes_close_to_the_formula_for_independent_cases():
    # Fleiss, Cohen and Everitt, Psychological Bulletin 1969: for 60, 10, 10, 20 the standard error is 0.0910.
    kappa = kappa_of(Counter({(("A", "A"),): 60, (("A", "N"),): 10, (("N", "A"),): 10, (("N", "N"),): 20}))

    assert kappa is not None
    assert kappa.value == pytest.approx(0.5238, abs=1e-4)
    assert (kappa.high - kappa.low) / (2 * 1.96) == pytest.approx(0.091, abs=0.004)


def test_two_eyes_that_always_say_the_same_are_one_observation():
    one = {(("A", "A"),): 40, (("A", "N"),): 10, (("N", "N"),): 50}
    both = {pairs * 2: count for pairs, count in one.items()}

    alone, together = kappa_of(one), kappa_of(both)

    assert alone is not None
    assert together is not None
    assert together == alone


def test_percentiles_that_too_few_stand_behind_are_not_told():
    spread = spread_of(np.arange(50.0))

    assert spread is not None
    assert (spread.p90, spread.p99, spread.largest) == (44.1, None, 49)
    assert spread_of(np.empty(0)) is None
