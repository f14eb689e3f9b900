"""How the language model's texts fared before the guard: counts over some reports, and whether somebody should look."""

from collections import Counter
from collections.abc import Iterable

from eye_dx_core.schema.frozen import Frozen
from eye_dx_core.schema.report import DiagnosisReport, GuardOutcome

_REFUSED_SHARE = 0.2
"""Above this the model, its prompt or the guard does not fit the work any more; the patients have a report all the same."""
_ENOUGH = 10
"""Of fewer texts no share is worth an alarm."""


class GuardCount(Frozen):
    """Outcomes and broken rules by code; reports that no language model was asked for are in neither."""

    outcomes: dict[GuardOutcome, int]
    rules: dict[str, int]
    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def asked(self) -> int:
        """Reports for which a language model was configured."""
        return sum(self.outcomes.values())

    @property
    def refused_share(self) -> float | None:
        """Refused texts as a share of those that came back; None where none came back."""
        judged = self.asked - self.outcomes.get(GuardOutcome.UNAVAILABLE, 0)
        return self.outcomes.get(GuardOutcome.REFUSED, 0) / judged if judged else None

    @property
    def needs_a_look(self) -> bool:
        """Whether too many texts were refused, or no endpoint answered at all."""
        silent = self.outcomes.get(GuardOutcome.UNAVAILABLE, 0)
        return self.asked >= _ENOUGH and (silent == self.asked or (self.refused_share or 0) > _REFUSED_SHARE)

    @property
    def reason(self) -> str:
        """The counts in words, the most broken rule first."""
        share = "none came back" if self.refused_share is None else f"{self.refused_share:.0%} refused"
        rules = ", ".join(f"{rule} {count}" for rule, count in sorted(self.rules.items(), key=lambda one: -one[1]))
        return f"{self.asked} reports asked of the language model, {share}{f': {rules}' if rules else ''}"

    @property
    def metadata(self) -> dict[str, float]:
        """Numbers by name, for whoever plots them; every outcome is there, so that none is missing on a quiet day."""
        counts: dict[str, float] = {f"guard_{outcome}": self.outcomes.get(outcome, 0) for outcome in GuardOutcome}
        counts |= {f"rule_{rule}": count for rule, count in sorted(self.rules.items())}
        share = {} if self.refused_share is None else {"guard_refused_share": round(self.refused_share, 3)}
        return counts | share | {"prompt_tokens": self.prompt_tokens, "completion_tokens": self.completion_tokens}


def count_outcomes(reports: Iterable[DiagnosisReport]) -> GuardCount:
    """Count what became of the language model's texts."""
    asked = [report for report in reports if report.guard is not None]
    return GuardCount(
        outcomes=dict(Counter(report.guard for report in asked if report.guard is not None)),
        rules=dict(Counter(rule for report in asked for rule in report.guard_rules)),
        prompt_tokens=sum(report.tokens.prompt for report in asked if report.tokens),
        completion_tokens=sum(report.tokens.completion for report in asked if report.tokens),
    )
