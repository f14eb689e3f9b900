"""Whether a day's photographs, and what the model said of them, are like those of the days before."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum

from eye_dx_core.records.port import CaseRecord
from eye_dx_core.reporting.stability import Histogram, count_names, count_numbers, psi, psi_by_chance
from eye_dx_core.schema.diagnosis import PhotoPrediction
from eye_dx_core.schema.frozen import Frozen

REFERENCE_DAYS = 30
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


def measure_drift(records: Sequence[CaseRecord], before: Iterable[CaseRecord]) -> Drift | None:
    """Compare a day with the days before it; None when nothing was read on it.

    Args:
        records: the cases of the day.
        before: the cases of the `REFERENCE_DAYS` before; they are read once, and counted rather than kept.
    """
    readers = Counter(one.diagnosis.checkpoint_sha256 for one in records if one.diagnosis)
    if not readers:
        return None
    # A version may be promoted at noon: the day is compared for the one that read most of it.
    reader = readers.most_common(1)[0][0]
    version = next(one.diagnosis.model_version for one in records if one.diagnosis and one.diagnosis.checkpoint_sha256 == reader)
    day, reference = _Tally(records, reader), _Tally(before, reader)
    return Drift(model_version=version, subjects=tuple(_compare(subject, reference, day) for subject in DriftSubject))


class _Tally:
    """How often one reader's photographs had each value of each subject, and in how many cases.

    Numbers are rounded, so that the memory a tally takes does not grow with the days.
    """

    def __init__(self, records: Iterable[CaseRecord], reader: str) -> None:
        self.names: dict[DriftSubject, Counter[str]] = {subject: Counter() for subject in DriftSubject}
        self.numbers: dict[DriftSubject, Counter[float]] = {subject: Counter() for subject in DriftSubject}
        self.cases: Counter[DriftSubject] = Counter()
        for record in records:
            if record.diagnosis is not None and record.diagnosis.checkpoint_sha256 == reader:
                self._add([photo for eye in record.diagnosis.eyes for photo in eye.photos])

    def photos(self, subject: DriftSubject) -> int:
        """How many photographs had a value."""
        return self.names[subject].total() + self.numbers[subject].total()

    def _add(self, photos: Sequence[PhotoPrediction]) -> None:
        seen = [pair for photo in photos for pair in _values(photo)]
        for subject, value in seen:
            if isinstance(value, str):
                self.names[subject][value] += 1
            else:
                self.numbers[subject][value] += 1
        self.cases.update({subject for subject, _ in seen})


def _values(photo: PhotoPrediction) -> Iterator[tuple[DriftSubject, str | float]]:
    """What there is to compare: readings of earlier versions of Eye Dx have no quality and no distance."""
    yield DriftSubject.CONCLUSIONS, photo.conclusion or photo.outcome.value
    if photo.quality is not None:
        level, issues = photo.quality.level, photo.quality.issues
        yield DriftSubject.QUALITY, f"{level}, {issues[0]}" if issues else level.value
    if photo.confidence is not None:
        yield DriftSubject.CONFIDENCE, round(photo.confidence, 3)
    if photo.distance is not None:
        yield DriftSubject.DISTANCE, round(min(photo.distance, 99.0), 2)


def _compare(subject: DriftSubject, reference: _Tally, day: _Tally) -> SubjectDrift:
    counted = SubjectDrift(subject=subject, photos=day.photos(subject), reference_photos=reference.photos(subject))
    if counted.photos < LEAST_PHOTOS or counted.reference_photos < LEAST_REFERENCE_PHOTOS:
        return counted
    numbers = reference.numbers[subject]
    histogram = count_numbers(numbers, day.numbers[subject]) if numbers else count_names(reference.names[subject], day.names[subject])
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
