"""What a checkpoint must show before it becomes a candidate; each check is one claim."""

import math

import dagster as dg

from eye_dx_core.registry.port import CHAMPION, ModelRegistry
from eye_dx_core.settings import Settings
from eye_dx_dagster.defs.training.assets import checkpoint_evaluation
from eye_dx_dagster.defs.training.stored import load_metrics


@dg.asset_check(asset=checkpoint_evaluation, blocking=True)
def metrics_are_finite(settings: dg.ResourceParam[Settings]) -> dg.AssetCheckResult:
    """Every metric of the locked test split is a number."""
    bad = sorted(name for name, value in load_metrics(settings).items() if not math.isfinite(value))
    return dg.AssetCheckResult(passed=not bad, metadata={"not_finite": dg.MetadataValue.json(bad)})


@dg.asset_check(asset=checkpoint_evaluation, blocking=True)
def is_better_than_chance(settings: dg.ResourceParam[Settings]) -> dg.AssetCheckResult:
    """Balanced accuracy is above that of guessing among the tested classes."""
    metrics = load_metrics(settings)
    return dg.AssetCheckResult(
        passed=metrics["balanced_accuracy"] > metrics["chance"],
        metadata={"balanced_accuracy": metrics["balanced_accuracy"], "chance": metrics["chance"]},
    )


@dg.asset_check(asset=checkpoint_evaluation, blocking=True)
def promotion_rule_would_allow_it(settings: dg.ResourceParam[Settings], registry: dg.ResourceParam[ModelRegistry]) -> dg.AssetCheckResult:
    """Recall floor of the worst class, and not worse than the champion: the same pure rule that promotion uses."""
    from eye_dx_core.registry.promotion import PromotionRule, decide_promotion

    champion = registry.find_by_alias(CHAMPION)
    decision = decide_promotion(load_metrics(settings), champion.metrics if champion else None, PromotionRule())
    return dg.AssetCheckResult(passed=decision.promote, description=decision.reason, metadata={"reason": decision.reason})


CHECKS = [metrics_are_finite, is_better_than_chance, promotion_rule_would_allow_it]
