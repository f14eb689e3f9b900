"""Whether a day's readings are like those of the days before, and nothing said where there are too few."""

from collections.abc import Iterable, Iterator
from datetime import date

import numpy as np
import pytest

from eye_dx_core.records.figures import figures_of
from eye_dx_core.records.port import CaseRecord
from eye_dx_core.reporting.daily.charts import daily_figures
from eye_dx_core.reporting.daily.drift import DayTally, Drift, DriftSubject, DriftVerdict, SubjectDrift, measure_drift, tally_of
from eye_dx_core.reporting.daily.frames import frames_of
from eye_dx_core.reporting.daily.rendering import daily_markdown
from eye_dx_core.reporting.daily.report import count_day
from eye_dx_core.reporting.daily.stability import count_names, count_numbers, psi, psi_by_chance
from eye_dx_core.schema.diagnosis import AiDiagnosis, PhotoPrediction
from eye_dx_core.schema.quality import Quality, QualityIssue, QualityLevel
from tests.builders import NOON, a_case, a_diagnosis

GOOD, BLURRED = Quality(level=QualityLevel.GOOD), Quality(level=QualityLevel.USABLE, issues=(QualityIssue.BLURRED,))


def read_cases(
    count: int, *, seed: int, ill: float = 0.3, blurred: float = 0.1, sureness: float = 8.0, farness: float = 1.0, sha256: str = "f" * 64
) -> Iterator[CaseRecord]:
    """Cases of two photographs each, as a clinic with these habits would send them."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        case_id = f"case-{seed}-{number}"
        right, left = ("A" if rng.random() < ill else "N" for _ in range(2))
        diagnosis = a_diagnosis(case_id, right=right, left=left)
        eyes = tuple(
            eye.model_copy(update={"photos": tuple(_seen(photo, rng, blurred, sureness, farness) for photo in eye.photos)})
            for eye in diagnosis.eyes
        )
        yield CaseRecord(case=a_case(case_id), diagnosis=diagnosis.model_copy(update={"eyes": eyes, "checkpoint_sha256": sha256}))


def _seen(photo: PhotoPrediction, rng: np.random.Generator, blurred: float, sureness: float, farness: float) -> PhotoPrediction:
    quality = BLURRED if rng.random() < blurred else GOOD
    measured = {"confidence": float(rng.beta(sureness, 2)), "distance": farness * float(rng.lognormal(-0.7, 0.2)), "quality": quality}
    return photo.model_copy(update=measured)


def tally(records: Iterable[CaseRecord]) -> DayTally:
    return tally_of(frames_of(figures_of(records)))


def drift_between(day: Iterable[CaseRecord], before: Iterable[CaseRecord]) -> Drift | None:
    """The days before in two parts, as if they were two days."""
    whole = list(before)
    return measure_drift(tally(day), [tally(whole[::2]), tally(whole[1::2])])


def drift_of(drift: Drift | None, subject: DriftSubject) -> SubjectDrift:
    assert drift is not None
    return next(one for one in drift.subjects if one.subject is subject)


@pytest.mark.parametrize(
    ("before", "now", "known"),
    [
        ((500, 500), (500, 500), 0.0),
        ((5000, 5000), (6000, 4000), 0.0405),  # 0.1 ln(0.6/0.5) - 0.1 ln(0.4/0.5)
        ((9000, 1000), (5000, 5000), 0.8789),  # 0.4 ln 9
    ],
)
def test_the_index_has_its_textbook_values(before: tuple[int, int], now: tuple[int, int], known: float):
    assert psi({"a": (before[0], now[0]), "b": (before[1], now[1])}) == pytest.approx(known, abs=2e-3)


def test_an_empty_bin_gives_a_number():
    assert 1 < psi({"a": (100, 0), "b": (0, 100)}) < 20


def test_numbers_are_counted_in_the_tenths_of_those_before():
    before = {number / 100: 1 for number in range(100)}

    histogram = count_numbers(before, {0.05: 3, 0.95: 7, 7.0: 1, -1.0: 1})

    assert [was for was, _ in histogram.values()] == [10] * 10
    assert [now for _, now in histogram.values()] == [4, 0, 0, 0, 0, 0, 0, 0, 0, 8]
    assert next(iter(histogram)) == "< 0.1"
    assert list(histogram)[-1] == "≥ 0.9"


def test_equal_numbers_share_a_bin_and_leaving_them_is_seen():
    assert psi(count_numbers({1.0: 300}, {1.0: 60})) < 0.1
    assert psi(count_numbers({1.0: 300}, {0.4: 60})) > 1


def test_the_index_of_one_population_stays_under_what_chance_allows():
    rng, limit, over = np.random.default_rng(5), psi_by_chance(200, 50, bins=4), 0

    for _ in range(400):
        before, now = (dict(zip("abcd", rng.multinomial(size, [0.4, 0.3, 0.2, 0.1]).tolist(), strict=True)) for size in (200, 50))
        over += psi(count_names(before, now)) > limit

    assert over <= 4
    assert limit < psi(count_names({"a": 80, "b": 60, "c": 40, "d": 20}, {"a": 10, "b": 10, "c": 10, "d": 20}))


def test_a_day_like_those_before_is_stable_in_everything():
    drift = drift_between(read_cases(60, seed=1), read_cases(300, seed=2))

    assert drift is not None
    assert {one.verdict for one in drift.subjects} == {DriftVerdict.STABLE}
    assert drift.drifted == ()
    assert all(one.photos == 120 and one.reference_photos == 600 for one in drift.subjects)


@pytest.mark.parametrize(
    ("habit", "subject", "grown"),
    [
        ({"ill": 0.8}, DriftSubject.CONCLUSIONS, "A: 34% →"),
        ({"blurred": 0.5}, DriftSubject.QUALITY, "usable, blurred: 9% →"),
        ({"sureness": 3.0}, DriftSubject.CONFIDENCE, "<"),
        ({"farness": 1.5}, DriftSubject.DISTANCE, "≥"),
    ],
)
def test_what_changed_has_drifted_and_nothing_else(habit: dict[str, float], subject: DriftSubject, grown: str):
    drift = drift_between(read_cases(60, seed=1, **habit), read_cases(300, seed=2))

    assert drift is not None
    assert [one.subject for one in drift.drifted] == [subject]
    assert (drift.drifted[0].grew_most or "").startswith(grown)


def test_too_few_photographs_are_not_assessed():
    for day, before in ((20, 300), (60, 90)):
        drift = drift_between(read_cases(day, seed=1, ill=0.9), read_cases(before, seed=2))

        assert drift is not None
        assert {one.verdict for one in drift.subjects} == {DriftVerdict.NOT_ASSESSED}
        assert "too few" in str(drift.subjects[0])


def test_only_readings_of_the_same_weights_are_compared():
    today = [*read_cases(60, seed=1), *read_cases(20, seed=3, sha256="e" * 64)]

    drift = drift_between(today, read_cases(300, seed=2, sha256="e" * 64))

    assert drift_of(drift, DriftSubject.CONCLUSIONS).photos == 120
    assert drift_of(drift, DriftSubject.CONCLUSIONS).reference_photos == 0


def without_quality(diagnosis: AiDiagnosis) -> AiDiagnosis:
    eyes = (
        eye.model_copy(update={"photos": tuple(photo.model_copy(update={"quality": None}) for photo in eye.photos)})
        for eye in diagnosis.eyes
    )
    return diagnosis.model_copy(update={"eyes": tuple(eyes)})


def test_readings_from_before_quality_and_distance_were_stored_are_compared_by_what_they_have():
    old = [CaseRecord(case=a_case(f"case-{n}"), diagnosis=without_quality(a_diagnosis(f"case-{n}"))) for n in range(300)]

    drift = drift_between(read_cases(60, seed=1, ill=0.5), old)

    assert drift_of(drift, DriftSubject.QUALITY).verdict is DriftVerdict.NOT_ASSESSED
    assert drift_of(drift, DriftSubject.CONCLUSIONS).verdict is DriftVerdict.STABLE


def test_a_day_without_readings_has_no_drift():
    assert drift_between([CaseRecord(case=a_case())], read_cases(5, seed=1)) is None


def test_the_page_and_the_figure_show_the_drift():
    frames = frames_of(figures_of(read_cases(60, seed=1, ill=0.8)))
    report = count_day(frames, [], day=date(2026, 3, 2), at=NOON, before=[tally(read_cases(300, seed=2))])

    page = daily_markdown(report)

    assert "漂移 Drift: model version 3" in page
    assert "| conclusions | **drift 漂移** |" in page
    assert "| quality | stable 稳定 |" in page
    assert len(daily_figures(report)[0]) <= 100_000
