"""The clinic's day in numbers: how many, what was found, whether doctor and AI agree, how long it took, what got stuck."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from statistics import mean, median, quantiles

from eye_dx_core.records.port import CaseRecord, Rejection
from eye_dx_core.reporting.agreement import decide_agreement
from eye_dx_core.reporting.daily_charts import DriftBar, draw_charts
from eye_dx_core.reporting.drift import DRIFT_COLUMNS, REFERENCE_DAYS, Drift, drift_rows, measure_drift
from eye_dx_core.schema.condition import LABELS
from eye_dx_core.schema.diagnosis import EyeDiagnosis, Outcome
from eye_dx_core.schema.frozen import Frozen

_CONFIDENCE_BINS = 10


class Spread(Frozen):
    """How a figure spreads over the day's cases or eyes."""

    mean: float
    p10: float
    median: float
    p90: float
    largest: float


class DailyReport(Frozen):
    """One day of the clinic. It counts, and names nobody.

    Conclusions are counted per eye by label code, `uncertain` or `not_assessed`; times run from the message's receipt.
    """

    day: date
    cases: int
    diagnosed: int
    reviewed: int
    reported: int
    eyes: int
    conclusions: dict[str, int]
    uncertain: int
    not_assessed: int
    not_assessed_reasons: dict[str, int]
    confidence: Spread | None
    confidence_histogram: tuple[int, ...]
    """Eyes by confidence in steps of a tenth, the lowest first."""
    compared: int
    agreed: int
    seconds_to_ai: Spread | None
    seconds_to_report: Spread | None
    written_by: dict[str, int]
    fallbacks: dict[str, int]
    undelivered: int
    dead_letters: dict[str, int]
    drift: Drift | None = None
    """Against the days before; None where nothing was read."""

    @property
    def agreement(self) -> float | None:
        """Share of compared cases in which doctor and AI agree; None when there was nothing to compare."""
        return self.agreed / self.compared if self.compared else None


def summarise_day(
    records: Iterable[CaseRecord], rejections: Sequence[Rejection], *, day: date, before: Iterable[CaseRecord] = ()
) -> DailyReport:
    """Count a day.

    Args:
        records: the cases received on that day; they are read once.
        rejections: the messages set aside on that day.
        day: local date, for the title.
        before: the cases of the days before, which the day's readings are compared with; they are read once and not kept.
    """
    kept = tuple(records)
    eyes = [eye for record in kept if record.diagnosis for eye in record.diagnosis.eyes]
    confidences = [eye.confidence for eye in eyes if eye.confidence is not None]
    agreements = [one for record in kept if (one := _agreement_of(record)) is not None]
    reports = [record.report for record in kept if record.report]
    return DailyReport(
        day=day,
        cases=len(kept),
        diagnosed=sum(record.diagnosis is not None for record in kept),
        reviewed=sum(record.review is not None for record in kept),
        reported=len(reports),
        eyes=len(eyes),
        conclusions=_counted(_conclusion_key(eye) for eye in eyes),
        uncertain=sum(eye.outcome is Outcome.UNCERTAIN for eye in eyes),
        not_assessed=sum(eye.outcome is Outcome.NOT_ASSESSED for eye in eyes),
        not_assessed_reasons=_counted(eye.reason or "unknown" for eye in eyes if eye.outcome is Outcome.NOT_ASSESSED),
        confidence=_spread(confidences),
        confidence_histogram=_histogram(confidences),
        compared=len(agreements),
        agreed=sum(agreements),
        seconds_to_ai=_spread([_seconds(one, one.diagnosis.diagnosed_at) for one in kept if one.diagnosis]),
        seconds_to_report=_spread([_seconds(one, one.report.written_at) for one in kept if one.report]),
        written_by=_counted(report.writer for report in reports),
        fallbacks=_counted(report.fallback_reason for report in reports if report.fallback_reason),
        undelivered=sum(message.sent_at is None for record in kept for message in record.outbox),
        dead_letters=_counted(one.reason for one in rejections),
        drift=measure_drift(kept, before),
    )


def _agreement_of(record: CaseRecord) -> bool | None:
    """The AI's word on the case against the doctor's; None where one of them has no conclusion."""
    if record.diagnosis is None or record.diagnosis.label is None or record.review is None:
        return None
    return decide_agreement(record.diagnosis.label, record.review.conclusion)


def _conclusion_key(eye: EyeDiagnosis) -> str:
    return eye.conclusion or eye.outcome.value


def _counted(keys: Iterable[str]) -> dict[str, int]:
    """Most frequent first, then by name, so that two runs write the same file."""
    return dict(sorted(Counter(keys).items(), key=lambda item: (-item[1], item[0])))


def _seconds(record: CaseRecord, until: datetime) -> float:
    return (until - record.case.received_at).total_seconds()


def _spread(values: Sequence[float]) -> Spread | None:
    if not values:
        return None
    tenths = quantiles(values, n=10, method="inclusive") if len(values) > 1 else [values[0]] * 9
    return Spread(mean=mean(values), p10=tenths[0], median=median(values), p90=tenths[8], largest=max(values))


def _histogram(confidences: Iterable[float]) -> tuple[int, ...]:
    counts = Counter(min(int(one * _CONFIDENCE_BINS), _CONFIDENCE_BINS - 1) for one in confidences)
    return tuple(counts[step] for step in range(_CONFIDENCE_BINS))


def daily_markdown(report: DailyReport) -> str:
    """The day as a page of tables."""
    if report.cases == 0 and not report.dead_letters:
        return f"# Diagnosis report of {report.day}\n\nNo case was received on this day. 当日没有病例。\n"
    parts = [f"# Diagnosis report of {report.day}", _table(("figure", "value"), _figures(report))]
    conclusions = [(f"{_name_zh(key)} (`{key}`)", count) for key, count in report.conclusions.items()]
    for title, head, rows in (
        ("AI conclusions per eye", "conclusion", conclusions),
        ("Why eyes were not assessed", "reason", list(report.not_assessed_reasons.items())),
        ("Reports by writer", "writer", list(report.written_by.items())),
        ("Why the template wrote instead of the language model", "reason", list(report.fallbacks.items())),
        ("Dead letters", "reason", list(report.dead_letters.items())),
    ):
        if rows:
            parts += [f"## {title}", _table((head, "count"), rows)]
    if report.drift:
        title = f"## Drift 漂移: model version {report.drift.model_version}, this day against the {REFERENCE_DAYS} days before"
        parts += [title, _table(DRIFT_COLUMNS, drift_rows(report.drift))]
    return "\n\n".join(parts) + "\n"


def _figures(report: DailyReport) -> list[tuple[str, object]]:
    agreement = "nothing to compare" if report.agreement is None else f"{report.agreement:.0%} ({report.agreed} of {report.compared})"
    confidence = report.confidence
    return [
        ("cases received", report.cases),
        ("diagnosed / reviewed / reported", f"{report.diagnosed} / {report.reviewed} / {report.reported}"),
        ("eyes read", report.eyes),
        ("not assessed / uncertain (eyes)", f"{report.not_assessed} / {report.uncertain}"),
        ("confidence, mean (10 %–90 %)", f"{confidence.mean:.2f} ({confidence.p10:.2f}–{confidence.p90:.2f})" if confidence else "—"),
        ("doctor agrees with AI", agreement),
        ("message to AI result, median / longest", _times(report.seconds_to_ai)),
        ("message to report, median / longest", _times(report.seconds_to_report)),
        ("undelivered messages", report.undelivered),
        ("dead letters", sum(report.dead_letters.values())),
    ]


def _times(spread: Spread | None) -> str:
    return f"{spread.median:.0f} s / {spread.largest:.0f} s" if spread else "—"


def _name_zh(key: str) -> str:
    return LABELS[key].name_zh if key in LABELS else {"uncertain": "不确定"}.get(key, "未能评估")


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    return "\n".join(lines + [f"| {' | '.join(_cell(value) for value in row)} |" for row in rows])


def _cell(value: object) -> str:
    """Reasons come from outside: a pipe or a line break in one must not break the table."""
    return " ".join(str(value).replace("|", "\\|").split())


def daily_figure(report: DailyReport) -> bytes:
    """The day as a PNG: conclusions per eye and how confident the model was. Codes only: not every machine has Chinese fonts."""
    title = f"{report.day}: {report.cases} cases, {report.eyes} eyes"
    return draw_charts(title, report.conclusions, report.confidence_histogram, _drift_bars(report.drift))


def _drift_bars(drift: Drift | None) -> list[DriftBar]:
    measured = [(one.subject.value, one.psi, one.stable_up_to) for one in drift.subjects] if drift else []
    return [DriftBar(subject, index, limit) for subject, index, limit in measured if index is not None and limit is not None]
