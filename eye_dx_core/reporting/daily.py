"""The clinic's day in numbers, from the records."""

import io
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date
from statistics import median, quantiles

from matplotlib.figure import Figure

from eye_dx_core.records.port import CaseRecord, Rejection
from eye_dx_core.schema.condition import LABELS
from eye_dx_core.schema.diagnosis import EyeDiagnosis, Outcome
from eye_dx_core.schema.frozen import Frozen


class Seconds(Frozen):
    """Waiting times of a day, in seconds; None when nothing was finished."""

    median: float | None
    longest: float | None


class DailyReport(Frozen):
    """One day by the local calendar, counted by when screenings were received."""

    day: date
    cases: int
    eyes: int
    conclusions: dict[str, int]
    """Eyes per label code."""
    uncertain_eyes: int
    not_assessed_eyes: int
    not_assessed_reasons: dict[str, int]
    confidence_quartiles: tuple[float, float, float] | None
    reviewed: int
    comparable: int
    agreed: int
    reported: int
    to_ai_result: Seconds
    to_report: Seconds
    undelivered: int
    dead_letters: dict[str, int]

    @property
    def agreement(self) -> float | None:
        """Share of comparable cases in which doctor and AI agree; None when there is none."""
        return self.agreed / self.comparable if self.comparable else None


def summarise_day(records: Iterable[CaseRecord], rejections: Sequence[Rejection], *, day: date) -> DailyReport:
    """Count a day. Doctor and AI agree when the doctor's conclusion names what the AI concluded for the case."""
    found = list(records)
    eyes = [eye for record in found if record.diagnosis for eye in record.diagnosis.eyes]
    confidences = sorted(eye.confidence for eye in eyes if eye.conclusion is not None and eye.confidence is not None)
    agreements = [agrees for record in found if (agrees := _agrees(record)) is not None]
    return DailyReport(
        day=day,
        cases=len(found),
        eyes=len(eyes),
        conclusions=dict(Counter(eye.conclusion for eye in eyes if eye.conclusion is not None).most_common()),
        uncertain_eyes=sum(eye.outcome is Outcome.UNCERTAIN for eye in eyes),
        not_assessed_eyes=sum(eye.outcome is Outcome.NOT_ASSESSED for eye in eyes),
        not_assessed_reasons=dict(Counter(_reason(eye) for eye in eyes if eye.outcome is Outcome.NOT_ASSESSED)),
        confidence_quartiles=_quartiles(confidences),
        reviewed=sum(record.review is not None for record in found),
        comparable=len(agreements),
        agreed=sum(agreements),
        reported=sum(record.report is not None for record in found),
        to_ai_result=_waits(
            (record.diagnosis.diagnosed_at - record.case.received_at).total_seconds() for record in found if record.diagnosis
        ),
        to_report=_waits((record.report.written_at - record.case.received_at).total_seconds() for record in found if record.report),
        undelivered=sum(message.sent_at is None for record in found for message in record.outbox),
        dead_letters=dict(Counter(one.reason for one in rejections)),
    )


def _agrees(record: CaseRecord) -> bool | None:
    """Whether the doctor's free text names the AI's conclusion; None when one of the two has not spoken."""
    if record.diagnosis is None or record.diagnosis.label is None or record.review is None:
        return None
    label, said = record.diagnosis.label, record.review.conclusion
    family = [one for one in LABELS.values() if one.condition is label.condition]
    names = {name for one in family for name in (one.name_zh, one.name_zh.split("（")[0], one.name_en)}
    return any(name in said for name in names) or (label.is_normal and "正常" in said)


def _reason(eye: EyeDiagnosis) -> str:
    return eye.reason or "unknown"


def _quartiles(values: Sequence[float]) -> tuple[float, float, float] | None:
    if not values:
        return None
    low, middle, high = quantiles(values, n=4, method="inclusive") if len(values) > 1 else [values[0]] * 3
    return low, middle, high


def _waits(seconds: Iterable[float]) -> Seconds:
    waits = list(seconds)
    return Seconds(median=median(waits), longest=max(waits)) if waits else Seconds(median=None, longest=None)


def daily_markdown(report: DailyReport) -> str:
    """The day as a page of tables."""
    if not report.cases and not report.dead_letters:
        return f"# {report.day}\n\nNo screening was received.\n"
    rows = [
        ("screenings received", report.cases),
        ("eyes read", report.eyes),
        ("eyes uncertain", report.uncertain_eyes),
        ("eyes not assessed", f"{report.not_assessed_eyes} {_in_words(report.not_assessed_reasons)}".strip()),
        ("confidence (quartiles)", _fixed(report.confidence_quartiles)),
        ("reviewed by a doctor", report.reviewed),
        ("doctor and AI agree", "–" if report.agreement is None else f"{report.agreed} of {report.comparable} ({report.agreement:.0%})"),
        ("reports written", report.reported),
        ("message to AI result, median / longest", f"{_seconds(report.to_ai_result.median)} / {_seconds(report.to_ai_result.longest)}"),
        ("message to report, median / longest", f"{_seconds(report.to_report.median)} / {_seconds(report.to_report.longest)}"),
        ("messages undelivered", report.undelivered),
        ("messages set aside", f"{sum(report.dead_letters.values())} {_in_words(report.dead_letters)}".strip()),
    ]
    conclusions = "".join(
        f"| {code} | {LABELS[code].name_zh} / {LABELS[code].name_en} | {count} |\n" for code, count in report.conclusions.items()
    )
    summary = "".join(f"| {name} | {value} |\n" for name, value in rows)
    return f"# {report.day}\n\n| | |\n|---|---|\n{summary}\n| code | AI conclusion | eyes |\n|---|---|---:|\n{conclusions}"


def _in_words(counts: dict[str, int]) -> str:
    return f"({', '.join(f'{count} {name}' for name, count in counts.items())})" if counts else ""


def _fixed(values: tuple[float, ...] | None) -> str:
    return " / ".join(f"{value:.2f}" for value in values) if values else "–"


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f} s"


def daily_figure(report: DailyReport) -> bytes:
    """Eyes per AI conclusion as PNG; codes, because a server may have no Chinese font."""
    counts = report.conclusions | {"uncertain": report.uncertain_eyes, "not assessed": report.not_assessed_eyes}
    figure = Figure(figsize=(6, 3), dpi=90, layout="constrained")
    axes = figure.subplots()
    bars = axes.bar(list(counts), list(counts.values()), color=["#31688e"] * len(report.conclusions) + ["#c9a227", "#8a8a8a"])
    axes.bar_label(bars, fontsize=8)
    axes.set_ylim(0, max([*counts.values(), 1]) * 1.15)
    axes.set_xlabel("AI conclusion")
    axes.set_ylabel("eyes")
    axes.set_title(f"{report.day}: {report.cases} screenings, {report.eyes} eyes", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
