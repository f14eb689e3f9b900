"""A candidate against the champion on the same photographs."""

import numpy as np

from eye_dx_core.errors import BadDataset
from eye_dx_core.schema.frozen import Frozen
from eye_dx_core.training.evaluation import Answers
from eye_dx_core.training.metrics import measure
from eye_dx_core.training.resampling import interval, resample_patients


class Difference(Frozen):
    """Candidate minus champion, with the middle 95 % over resampled patients."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        verdict = "better" if self.low > 0 else "worse" if self.high < 0 else "no clear difference"
        return f"{self.value:+.3f} [{self.low:+.3f}, {self.high:+.3f}], {verdict}"


class Comparison(Frozen):
    """Balanced accuracy and the recall of every label that has photographs."""

    balanced_accuracy: Difference
    recall: dict[str, Difference]

    def as_metrics(self) -> dict[str, float]:
        """The numbers by name; promotion reads `against_champion_high`."""
        overall = self.balanced_accuracy
        return {"against_champion": overall.value, "against_champion_low": overall.low, "against_champion_high": overall.high}

    def sentences(self) -> tuple[str, ...]:
        """One for the whole, one for each label."""
        by_label = (f"recall of {code}: {one}" for code, one in self.recall.items())
        return (f"balanced accuracy: {self.balanced_accuracy}", *by_label)


def compare(candidate: Answers, champion: Answers) -> Comparison:
    """Paired: both are judged on the same resampled patients, so what is hard for both cancels out (Efron and Tibshirani 1993).

    Raises:
        BadDataset: they did not read the same photographs under the same labels.
    """
    codes = candidate.card.label_set.codes
    if codes != champion.card.label_set.codes or not np.array_equal(candidate.truth, champion.truth):
        raise BadDataset("candidate and champion answer with other labels, so they cannot be compared photograph by photograph")
    once, drawn = np.ones((1, len(candidate.truth))), resample_patients(candidate.patients)
    points, spreads = (
        [measure(one.truth, one.probabilities, weights, codes) for one in (candidate, champion)] for weights in (once, drawn)
    )

    def difference(name: str) -> Difference:
        low, high = interval(spreads[0][name] - spreads[1][name])
        return Difference(value=float(points[0][name][0] - points[1][name][0]), low=low, high=high)

    present = [code for code in codes if np.isfinite(points[0][f"recall_{code}"][0])]
    return Comparison(balanced_accuracy=difference("balanced_accuracy"), recall={code: difference(f"recall_{code}") for code in present})
