"""Whether a day's photographs, and what the model said of them, are like those of the days before."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING

from eye_dx_core.reporting.daily.stability import Histogram, count_names, count_numbers, psi, psi_by_chance
from eye_dx_core.schema.frozen import Frozen

if TYPE_CHECKING:  # Dagster's definitions import the verdicts, and must not pay for pandas
    import pandas as pd

    from eye_dx_core.reporting.daily.frames import DayFrames

REFERENCE_DAYS = 28
"""Whole weeks, so that every day of the week counts alike."""
LEAST_REFERENCE_PHOTOS, LEAST_PHOTOS = 200, 50
"""With fewer, chance alone moves a tenth of the photographs."""
WATCH_ABOVE, DRIFT_ABOVE = 0.10, 0.25
"""The usual bands of the index (Siddiqi, Credit Risk Scorecards, 2006): no change to speak of, a small one, a shift."""


class DriftVerdict(StrEnum):
    """`NOT_ASSESSED` where there were too few photographs to tell."""

    STABLE = "stable"
    WATCH = "watch"
    DRIFT = "drift"
    NOT_ASSESSED = "not_assessed"


_VERDICTS = {
    DriftVerdict.STABLE: "stable 稳定", DriftVerdict.WATCH: "watch 关注", DriftVerdict.DRIFT: "**drift 漂移**",
    DriftVerdict.NOT_ASSESSED: "too few to tell 数量不足",
}  # fmt: skip


class DriftSubject(StrEnum):
    """What is compared."""

    QUALITY = "quality"
    CONCLUSIONS = "conclusions"
    CONFIDENCE = "confidence"
    DISTANCE = "distance"


class SubjectDrift(Frozen):
    """One subject on a day, against the days before."""

    subject: DriftSubject
    verdict: DriftVerdict = DriftVerdict.NOT_ASSESSED
    photos: int
    reference_photos: int
    psi: float | None = None
    """Population stability index; None where nothing was assessed."""
    stable_up_to: float | None = None
    """The index of an unchanged clinic with so many cases stays under it, and under `WATCH_ABOVE` nothing has changed to speak of."""
    grew_most: str | None = None
    """The value whose share grew most, with its share before and on the day."""

    def __str__(self) -> str:
        """For a person: what grew most, or why nothing can be said."""
        if self.psi is None:
            needed = f"{LEAST_PHOTOS} and {LEAST_REFERENCE_PHOTOS} are needed"
            return f"{self.subject} not assessed, too few: {self.photos} photographs, {self.reference_photos} before ({needed})"
        grown = "" if self.verdict is DriftVerdict.STABLE else f" ({self.grew_most})"
        return f"{self.subject} {self.verdict}, PSI {self.psi:.2f}{grown}"


class Drift(Frozen):
    """What one model version read on a day, against what it read in the `REFERENCE_DAYS` before."""

    model_version: str
    subjects: tuple[SubjectDrift, ...]

    @property
    def drifted(self) -> tuple[SubjectDrift, ...]:
        """The subjects that have shifted."""
        return tuple(one for one in self.subjects if one.verdict is DriftVerdict.DRIFT)


DRIFT_COLUMNS = ("subject", "verdict", "PSI", "stable up to", "photographs", "before", "grew most")


def drift_rows(drift: Drift) -> Iterator[tuple[object, ...]]:
    """A row of `DRIFT_COLUMNS` for each subject."""
    for one in drift.subjects:
        index, limit = ("—" if value is None else f"{value:.2f}" for value in (one.psi, one.stable_up_to))
        yield one.subject, _VERDICTS[one.verdict], index, limit, one.photos, one.reference_photos, one.grew_most or "—"


class Tally(Frozen):
    """How often one reader's photographs had each value of each subject, and in how many cases.

    Numbers are rounded, so that a tally does not grow with the cases.
    """

    model_version: str
    cases_read: int = 0
    names: dict[DriftSubject, dict[str, int]] = {}
    numbers: dict[DriftSubject, dict[float, int]] = {}
    cases: dict[DriftSubject, int] = {}

    def photos(self, subject: DriftSubject) -> int:
        """How many photographs had a value."""
        return sum(self.names.get(subject, {}).values()) + sum(self.numbers.get(subject, {}).values())


DayTally = dict[str, Tally]
"""A day's readings by checkpoint hash: it counts, and names nobody."""


def tally_of(frames: "DayFrames") -> DayTally:
    """Count a day's readings; the reader of most cases first."""
    cases = frames.cases.dropna(subset=["reader"])
    read = cases.groupby(["reader", "model_version"]).size().sort_values(ascending=False, kind="stable")
    photos = frames.photos.assign(reader=frames.cases["reader"].reindex(frames.photos["case"]).to_numpy())
    return {
        str(reader): _tally(photos[photos["reader"] == reader], version=str(version), cases_read=int(count))
        for (reader, version), count in read.items()  # pyright: ignore[reportGeneralTypeIssues]
    }


def _tally(photos: "pd.DataFrame", *, version: str, cases_read: int) -> Tally:
    """Readings of earlier versions of Eye Dx have no quality and no distance."""
    columns = {
        DriftSubject.QUALITY: photos["quality"],
        DriftSubject.CONCLUSIONS: photos["conclusion"].fillna(photos["outcome"]),
        DriftSubject.CONFIDENCE: photos["confidence"].round(3),
        DriftSubject.DISTANCE: photos["distance"].clip(upper=99.0).round(2),
    }
    named = (DriftSubject.QUALITY, DriftSubject.CONCLUSIONS)
    return Tally(
        model_version=version,
        cases_read=cases_read,
        names={subject: {str(name): int(n) for name, n in columns[subject].value_counts().items()} for subject in named},
        numbers={
            subject: {float(str(number)): int(n) for number, n in column.value_counts().items()}
            for subject, column in columns.items()
            if subject not in named
        },
        cases={subject: int(photos.loc[column.notna(), "case"].nunique()) for subject, column in columns.items()},
    )


def measure_drift(day: DayTally, before: Iterable[DayTally]) -> Drift | None:
    """Compare a day with the days before it; None when nothing was read on it.

    A version may be promoted at noon: the day is compared for the reader that read most of it.
    """
    if not day:
        return None
    reader, tally = next(iter(day.items()))
    reference = _sum([one[reader] for one in before if reader in one], tally.model_version)
    return Drift(model_version=tally.model_version, subjects=tuple(_compare(subject, reference, tally) for subject in DriftSubject))


def _sum(tallies: Sequence[Tally], version: str) -> Tally:
    names: dict[DriftSubject, Counter[str]] = {}
    numbers: dict[DriftSubject, Counter[float]] = {}
    cases = Counter[DriftSubject]()
    for tally in tallies:
        for subject, named in tally.names.items():
            names.setdefault(subject, Counter()).update(named)
        for subject, counted in tally.numbers.items():
            numbers.setdefault(subject, Counter()).update(counted)
        cases.update(tally.cases)
    return Tally.model_construct(
        model_version=version, cases_read=sum(one.cases_read for one in tallies), names=names, numbers=numbers, cases=cases
    )


def _compare(subject: DriftSubject, reference: Tally, day: Tally) -> SubjectDrift:
    counted = SubjectDrift(subject=subject, photos=day.photos(subject), reference_photos=reference.photos(subject))
    if counted.photos < LEAST_PHOTOS or counted.reference_photos < LEAST_REFERENCE_PHOTOS:
        return counted
    numbers = reference.numbers.get(subject)
    if numbers:
        histogram = count_numbers(numbers, day.numbers.get(subject, {}))
    else:
        histogram = count_names(reference.names.get(subject, {}), day.names.get(subject, {}))
    # The two eyes of a patient are alike, so what is independent is the case.
    chance = psi_by_chance(reference.cases[subject], day.cases[subject], bins=len(histogram))
    found, limit = psi(histogram), max(WATCH_ABOVE, chance)
    measured = {"psi": found, "stable_up_to": limit, "verdict": _verdict(found, limit), "grew_most": _grew_most(histogram)}
    return counted.model_copy(update=measured)


def _verdict(found: float, limit: float) -> DriftVerdict:
    """What chance explains is no drift, however large the index of a small day."""
    if found <= limit:
        return DriftVerdict.STABLE
    return DriftVerdict.DRIFT if found > DRIFT_ABOVE else DriftVerdict.WATCH


def _grew_most(histogram: Histogram) -> str:
    before, now = (sum(pair[place] for pair in histogram.values()) for place in (0, 1))
    shares = {name: (was / before, is_now / now) for name, (was, is_now) in histogram.items()}
    name, (was, is_now) = max(shares.items(), key=lambda item: item[1][1] - item[1][0])
    return f"{name}: {was:.0%} → {is_now:.0%}"
