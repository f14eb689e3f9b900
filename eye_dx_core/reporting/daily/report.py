"""The clinic's day in numbers: how many, what was found, whether doctor and AI agree, how long it took, what got stuck."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date, datetime

import numpy as np
import pandas as pd
from pydantic import AwareDatetime

from eye_dx_core.records.port import Rejection
from eye_dx_core.reporting.daily.agreement import DayAgreement, measure_agreement
from eye_dx_core.reporting.daily.drift import DayTally, Drift, measure_drift, tally_of
from eye_dx_core.reporting.daily.estimates import Estimate, Spread, share_of, spread_of
from eye_dx_core.reporting.daily.frames import DayFrames, count_values
from eye_dx_core.reporting.daily.places import Ungradable, by_camera, by_site
from eye_dx_core.reporting.daily.times import DayTimes, measure_times
from eye_dx_core.schema.diagnosis import Outcome
from eye_dx_core.schema.frozen import Frozen

_CONFIDENCE_BINS = 20


class Deliveries(Frozen):
    """Messages of one type about the day's cases."""

    sent: int
    unsent: int


class DailyReport(Frozen):
    """One day of the clinic. It counts, and names nobody.

    Conclusions are counted per eye by label code, `uncertain` or `not_assessed`; times run from the message's receipt.
    """

    day: date
    at: AwareDatetime
    """When it was counted: what is overdue, unsent or not yet reviewed is so at this moment."""
    cases: int
    diagnosed: int
    reviewed: int
    reported: int
    eyes: int
    conclusions: dict[str, dict[str, int]]
    """Conclusion → eye (`OD`, `OS`, or `unknown`) → eyes; the most frequent first."""
    not_assessed_reasons: dict[str, int]
    uncertain_reasons: dict[str, int]
    ungradable: Estimate | None
    """Share of eyes that were not assessed."""
    confidence: Spread | None
    confidence_histogram: tuple[int, ...]
    """Eyes by confidence in steps of a twentieth, the lowest first."""
    cameras: tuple[Ungradable, ...]
    sites: tuple[Ungradable, ...]
    agreement: DayAgreement
    times: DayTimes
    written_by: dict[str, int]
    fallbacks: dict[str, int]
    guard: dict[str, int]
    guard_rules: dict[str, int]
    deliveries: dict[str, Deliveries]
    dead_letters: dict[str, int]
    drift: Drift | None = None
    """Against the days before; None where nothing was read."""

    def eyes_of(self, outcome: Outcome) -> int:
        """Eyes without a conclusion, for this reason."""
        return sum(self.conclusions.get(outcome.value, {}).values())

    @property
    def undelivered(self) -> int:
        """Messages that no broker has confirmed."""
        return sum(one.unsent for one in self.deliveries.values())


def count_day(
    frames: DayFrames, rejections: Sequence[Rejection], *, day: date, at: datetime, before: Iterable[DayTally] = ()
) -> DailyReport:
    """Count a day.

    Args:
        frames: the cases received on that day.
        rejections: the messages set aside on that day.
        day: local date, for the title.
        at: the moment for which overdue is told.
        before: what was read on the days before.
    """
    cases, eyes = frames.cases, frames.eyes
    confidences = eyes["confidence"].dropna().to_numpy()
    rules = cases["guard_rules"].dropna().str.split().explode()
    return DailyReport(
        day=day,
        at=at,
        cases=len(cases),
        diagnosed=_count(cases["diagnosed_at"]),
        reviewed=_count(cases["reviewed_at"]),
        reported=_count(cases["written_at"]),
        eyes=len(eyes),
        conclusions=_by_eye(eyes),
        not_assessed_reasons=_reasons(eyes, Outcome.NOT_ASSESSED),
        uncertain_reasons=_reasons(eyes, Outcome.UNCERTAIN),
        ungradable=share_of(int((eyes["outcome"] == Outcome.NOT_ASSESSED).sum()), len(eyes)),
        confidence=spread_of(confidences),
        confidence_histogram=tuple(int(one) for one in np.histogram(confidences, bins=_CONFIDENCE_BINS, range=(0, 1))[0]),
        cameras=by_camera(frames),
        sites=by_site(frames),
        agreement=measure_agreement(frames),
        times=measure_times(frames, at),
        written_by=count_values(cases["writer"].dropna()),
        fallbacks=count_values(cases["fallback_reason"].dropna()),
        guard=count_values(cases["guard"].dropna()),
        guard_rules=count_values(rules),
        deliveries=_deliveries(frames.deliveries),
        dead_letters=dict(sorted(Counter(one.reason for one in rejections).items(), key=lambda item: (-item[1], item[0]))),
        drift=measure_drift(tally_of(frames), before),
    )


def _count(column: pd.Series) -> int:
    return int(column.notna().sum())


def _by_eye(eyes: pd.DataFrame) -> dict[str, dict[str, int]]:
    keys, sides = eyes["conclusion"].fillna(eyes["outcome"]), eyes["eye"].fillna("unknown")
    return {key: dict(sorted(count_values(sides[keys == key]).items())) for key in count_values(keys)}


def _reasons(eyes: pd.DataFrame, outcome: Outcome) -> dict[str, int]:
    return count_values(eyes.loc[eyes["outcome"] == outcome, "reason"].fillna("unknown"))


def _deliveries(deliveries: pd.DataFrame) -> dict[str, Deliveries]:
    kinds = sorted(count_values(deliveries["type"]))
    sent = {kind: deliveries.loc[deliveries["type"] == kind, "sent_at"].notna() for kind in kinds}
    return {kind: Deliveries(sent=int(are_sent.sum()), unsent=int((~are_sent).sum())) for kind, are_sent in sent.items()}
