"""When a version may be trusted: a pure rule that explains itself, and the acts of trusting and taking back."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime

from eye_dx_core.errors import NotFound, PromotionRefused
from eye_dx_core.registry.port import CANDIDATE, CHALLENGER, CHAMPION, PREVIOUS_CHAMPION, ModelRegistry, ModelVersion
from eye_dx_core.schema.frozen import Frozen


class PromotionRule(Frozen):
    """What a version must show on the locked test split."""

    recall_floor: float = 0.2
    """Recall of the worst class. Higher needs more test photographs per class than most collections have."""
    tolerance: float = 0.02
    """How much balanced accuracy may fall below the champion's: less than this is chance on a small test split."""


class Decision(Frozen):
    """Whether to promote, and why in words."""

    promote: bool
    reason: str


class Promoted(Frozen):
    """A version that became champion, and the rule's words about it."""

    version: ModelVersion
    decision: Decision


def decide_promotion(candidate: Mapping[str, float], champion: Mapping[str, float] | None, rule: PromotionRule) -> Decision:
    """Say whether a candidate's metrics earn trust, given the champion's (None when there is no champion yet)."""
    refusal = _find_refusal(candidate, champion, rule)
    if refusal is not None:
        return Decision(promote=False, reason=refusal)
    against = "no champion yet" if champion is None else f"the champion's {champion['balanced_accuracy']:.3f}"
    return Decision(promote=True, reason=f"balanced accuracy {candidate['balanced_accuracy']:.3f} against {against}")


def _find_refusal(candidate: Mapping[str, float], champion: Mapping[str, float] | None, rule: PromotionRule) -> str | None:
    bad = sorted(name for name, value in candidate.items() if not math.isfinite(value))
    if bad:
        return f"not a number: {', '.join(bad)}"
    missing = {"balanced_accuracy", "worst_recall", "chance"} - candidate.keys()
    if missing:
        return f"not measured: {', '.join(sorted(missing))}"
    score, worst = candidate["balanced_accuracy"], candidate["worst_recall"]
    if score <= candidate["chance"]:
        return f"balanced accuracy {score:.3f} is no better than chance ({candidate['chance']:.3f})"
    if worst < rule.recall_floor:
        return f"recall of the worst class {worst:.2f} is under {rule.recall_floor:.2f}"
    return _find_better_champion(candidate, champion, rule) if champion is not None else None


def _find_better_champion(candidate: Mapping[str, float], champion: Mapping[str, float], rule: PromotionRule) -> str | None:
    """On the same photographs, with what is hard for both taken out, if both could read them; else by their scores."""
    if candidate.get("against_champion_high", 0.0) < 0:
        low, high = candidate["against_champion_low"], candidate["against_champion_high"]
        return f"clearly worse than the champion on the same photographs: {candidate['against_champion']:+.3f} [{low:+.3f}, {high:+.3f}]"
    score = candidate["balanced_accuracy"]
    if score < champion["balanced_accuracy"] - rule.tolerance:
        return f"balanced accuracy {score:.3f} is worse than the champion's {champion['balanced_accuracy']:.3f}"
    return None


def promote(registry: ModelRegistry, version: str | None, *, reason: str, by: str, rule: PromotionRule | None = None) -> Promoted:
    """Make a version (default: the candidate) the champion; the former one keeps the alias `previous_champion`.

    Raises:
        PromotionRefused: the rule says no, in its own words, or no reason or name was given.
        NotFound: there is no such version, or no candidate.
    """
    _require(reason, by)
    chosen = registry.get_version(version) if version else registry.find_by_alias(CANDIDATE)
    if chosen is None:
        raise NotFound("there is no candidate: train one first")
    champion = registry.find_by_alias(CHAMPION)
    if champion is not None and champion.version == chosen.version:
        raise PromotionRefused(f"version {chosen.version} is champion already")
    decision = decide_promotion(chosen.metrics, champion.metrics if champion else None, rule or PromotionRule())
    if not decision.promote:
        raise PromotionRefused(decision.reason)
    registry.set_tags(chosen.version, _why("promoted", reason, by) | {"promoted.rule": decision.reason})
    if champion is not None:
        registry.set_alias(PREVIOUS_CHAMPION, champion.version)
    registry.set_alias(CHAMPION, chosen.version)
    return Promoted(version=registry.get_version(chosen.version), decision=decision)


def rollback(registry: ModelRegistry, *, reason: str, by: str) -> ModelVersion:
    """Give `champion` back to `previous_champion`, and the other way round, so that a rollback can be taken back.

    Raises:
        PromotionRefused: no reason or name was given.
        NotFound: there was no champion before this one.
    """
    _require(reason, by)
    champion, previous = registry.find_by_alias(CHAMPION), registry.find_by_alias(PREVIOUS_CHAMPION)
    if champion is None or previous is None:
        raise NotFound("there is no champion before this one to go back to")
    registry.set_tags(champion.version, _why("rolled_back", reason, by))
    registry.set_alias(CHAMPION, previous.version)
    registry.set_alias(PREVIOUS_CHAMPION, champion.version)
    return registry.get_version(previous.version)


def challenge(registry: ModelRegistry, version: str | None, *, reason: str, by: str) -> ModelVersion:
    """Make a version (default: the candidate) the challenger, who reads beside the champion in shadow mode.

    No rule is asked: whether a version may be trusted is what shadow mode is to show.

    Raises:
        PromotionRefused: no reason or name was given, or the version is the champion, or has its weights.
        NotFound: there is no such version, no candidate, or no champion to read beside.
    """
    _require(reason, by)
    chosen = registry.get_version(version) if version else registry.find_by_alias(CANDIDATE)
    if chosen is None:
        raise NotFound("there is no candidate: train one first")
    champion = registry.find_by_alias(CHAMPION)
    if champion is None:
        raise NotFound("there is no champion to read beside: promote one first")
    if champion.version == chosen.version:
        raise PromotionRefused(f"version {chosen.version} is the champion: it cannot challenge itself")
    if champion.checkpoint_sha256 == chosen.checkpoint_sha256:
        raise PromotionRefused(
            f"version {chosen.version} has the weights of the champion (version {champion.version}): they would always agree"
        )
    registry.set_tags(chosen.version, _why("challenges", reason, by))
    registry.set_alias(CHALLENGER, chosen.version)
    return registry.get_version(chosen.version)


def end_challenge(registry: ModelRegistry, *, reason: str, by: str) -> ModelVersion:
    """Take the alias from the challenger, who then reads nothing more; what it has read stays in the records.

    Raises:
        PromotionRefused: no reason or name was given.
        NotFound: there is no challenger.
    """
    _require(reason, by)
    challenger = registry.find_by_alias(CHALLENGER)
    if challenger is None:
        raise NotFound("there is no challenger")
    registry.set_tags(challenger.version, _why("challenge_ended", reason, by))
    registry.drop_alias(CHALLENGER)
    return registry.get_version(challenger.version)


def _require(reason: str, by: str) -> None:
    if not reason.strip() or not by.strip():
        raise PromotionRefused("a reason and the name of who decides are required")


def _why(act: str, reason: str, by: str) -> dict[str, str]:
    return {f"{act}.reason": reason, f"{act}.by": by, f"{act}.at": datetime.now(UTC).isoformat(timespec="seconds")}
