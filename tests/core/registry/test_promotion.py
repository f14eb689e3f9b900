"""The promotion rule says no for each of its reasons, in words."""

import pytest

from eye_dx_core.registry.promotion import PromotionRule, decide_promotion

GOOD = {"balanced_accuracy": 0.8, "worst_recall": 0.5, "chance": 0.125}
RULE = PromotionRule()


@pytest.mark.parametrize(
    ("candidate", "champion", "words"),
    [
        (GOOD | {"macro_auroc": float("nan")}, None, "not a number: macro_auroc"),
        ({"balanced_accuracy": 0.9}, None, "not measured: chance, worst_recall"),
        (GOOD | {"balanced_accuracy": 0.125}, None, "no better than chance"),
        (GOOD | {"worst_recall": 0.1}, None, "recall of the worst class 0.10 is under 0.20"),
        (GOOD, GOOD | {"balanced_accuracy": 0.9}, "worse than the champion's 0.900"),
    ],
)
def test_a_weak_candidate_is_refused_with_the_reason(candidate: dict[str, float], champion: dict[str, float] | None, words: str):
    decision = decide_promotion(candidate, champion, RULE)

    assert not decision.promote
    assert words in decision.reason


@pytest.mark.parametrize("champion", [None, GOOD, GOOD | {"balanced_accuracy": 0.81}])
def test_a_candidate_that_is_as_good_as_the_champion_is_promoted(champion: dict[str, float] | None):
    assert decide_promotion(GOOD, champion, RULE).promote
