"""How long each step of the day's cases took, and which of them no doctor looked at in time."""

from datetime import datetime
from enum import StrEnum

import pandas as pd

from eye_dx_core.reporting.daily.estimates import Spread, spread_of
from eye_dx_core.reporting.daily.frames import DayFrames
from eye_dx_core.schema.frozen import Frozen
from eye_dx_core.schema.routing import Urgency

_REPORT = "/report/"
"""In the type of every message that hands out a report."""


class Step(StrEnum):
    """From one thing that happened to the next; the last is from the message to the delivered report."""

    TO_AI = "message → AI result"
    TO_REVIEW = "AI result → review"
    TO_REPORT = "review → report"
    TO_DELIVERY = "report → delivery"
    WHOLE = "message → delivery"


_STEPS_ZH = {
    Step.TO_AI: "接收 → AI 结果", Step.TO_REVIEW: "AI 结果 → 医生复核", Step.TO_REPORT: "复核 → 报告",
    Step.TO_DELIVERY: "报告 → 送达", Step.WHOLE: "接收 → 送达",
}  # fmt: skip


class DueReviews(Frozen):
    """Cases of one urgency, by the AI's proposal, against the hours within which a doctor should have reviewed them."""

    urgency: Urgency
    cases: int
    in_time: int
    late: int
    """Reviewed, but after their time."""
    waiting: int
    """Not reviewed, and still in time."""
    overdue: int
    """Not reviewed, and their time is over."""


class DayTimes(Frozen):
    """Seconds by step, and the doctor's clock by urgency, the most urgent first."""

    steps: dict[Step, Spread]
    reviews: tuple[DueReviews, ...]

    @property
    def overdue(self) -> int:
        """Cases of any urgency that no doctor has looked at in time."""
        return sum(one.overdue for one in self.reviews)

    @property
    def overdue_urgent(self) -> int:
        """Those that the AI calls urgent or an emergency."""
        return sum(one.overdue for one in self.reviews if one.urgency.rank >= Urgency.URGENT.rank)


def step_zh(step: Step) -> str:
    """A step in Chinese."""
    return _STEPS_ZH[step]


def measure_times(frames: DayFrames, at: datetime) -> DayTimes:
    """Time the steps of a day's cases; what is overdue, as it stood at a moment."""
    cases, deliveries = frames.cases, frames.deliveries
    reports = deliveries[deliveries["type"].str.contains(_REPORT, regex=False).astype(bool)]
    delivered = reports.groupby("case")["sent_at"].max().reindex(cases.index)
    moments = {
        Step.TO_AI: (cases["received_at"], cases["diagnosed_at"]),
        Step.TO_REVIEW: (cases["diagnosed_at"], cases["reviewed_at"]),
        Step.TO_REPORT: (cases["reviewed_at"], cases["written_at"]),
        Step.TO_DELIVERY: (cases["written_at"], delivered),
        Step.WHOLE: (cases["received_at"], delivered),
    }
    # A review may come before the AI's word, and clocks of two machines differ: then it took no time.
    spreads = {step: spread_of((ended - begun).dropna().clip(lower=0).to_numpy()) for step, (begun, ended) in moments.items()}
    return DayTimes(
        steps={step: spread for step, spread in spreads.items() if spread is not None},
        reviews=tuple(due for urgency in reversed(Urgency) if (due := _due(cases[cases["urgency"] == urgency], urgency, at)).cases),
    )


def _due(cases: pd.DataFrame, urgency: Urgency, at: datetime) -> DueReviews:
    due_at = cases["received_at"] + 3600 * urgency.review_hours
    is_reviewed = cases["reviewed_at"].notna()
    in_time = int((cases["reviewed_at"] <= due_at).sum())
    waiting = int((~is_reviewed & (due_at >= at.timestamp())).sum())
    reviewed = int(is_reviewed.sum())
    return DueReviews(
        urgency=urgency,
        cases=len(cases),
        in_time=in_time,
        late=reviewed - in_time,
        waiting=waiting,
        overdue=len(cases) - reviewed - waiting,
    )
