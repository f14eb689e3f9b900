"""Who is trusted, who waits and who was before, with what each was made of, as one table for whoever decides."""

from collections.abc import Sequence

from eye_dx_core.registry.port import DATA, MADE_BY, TRAINED_ON, ModelVersion

_HEAD = ("version", "role", "balanced accuracy", "trained on", "data", "code", "why")


def registry_table(versions: Sequence[ModelVersion]) -> str:
    """Markdown, one row per version, those with a role first."""
    in_order = sorted(versions, key=lambda one: not one.aliases)
    rows = [_HEAD, ("---",) * len(_HEAD), *(_row(one) for one in in_order)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)


def _row(one: ModelVersion) -> tuple[str, ...]:
    score = one.metrics.get("balanced_accuracy")
    return (
        one.version,
        ", ".join(one.aliases) or "–",
        "–" if score is None else f"{score:.3f}",
        one.tags.get(TRAINED_ON, "–"),
        one.tags.get(DATA, "–")[:12],
        one.tags.get(MADE_BY, "–")[:12],
        _why(one),
    )


_ACTS = ("challenges", "challenge_ended", "promoted", "rolled_back")


def _why(one: ModelVersion) -> str:
    """The words of the latest act on it, of promotion, rollback or challenge; of two in one second, the one that comes after the other."""
    acts = [(one.tags[f"{act}.at"], order, act) for order, act in enumerate(_ACTS) if f"{act}.at" in one.tags]
    if not acts:
        return "–"
    at, _, act = max(acts)
    return f"{act.replace('_', ' ')}: {one.tags[f'{act}.reason']} ({one.tags[f'{act}.by']}, {at[:10]})"
