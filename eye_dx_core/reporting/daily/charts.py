"""The figures of the daily report, as one PNG. Codes only: not every machine has Chinese fonts."""

from io import BytesIO

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from eye_dx_core.reporting.daily.agreement import Agreement, pairs_of
from eye_dx_core.reporting.daily.drift import Drift
from eye_dx_core.reporting.daily.places import Ungradable
from eye_dx_core.reporting.daily.report import DailyReport
from eye_dx_core.reporting.daily.times import DayTimes

_INK, _PALE, _AMBER, _GREY = "#0b5c6b", "#7fb3bd", "#c98a2b", "#5d6b79"
_TICKS = {1: "1 s", 60: "1 min", 3600: "1 h", 86_400: "1 d", 604_800: "1 week"}
_SHOWN_CAMERAS = 8


def daily_figures(report: DailyReport) -> tuple[bytes, bytes]:
    """Six panels as a small PNG for Dagster's event log, and as one that is sharp on paper."""
    figure = Figure(figsize=(13, 6.6), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    (conclusions, matrix, confidence), (times, cameras, drift) = figure.subplots(2, 3)
    _draw_conclusions(conclusions, report.conclusions)
    by_eye, by_case = report.agreement.by_eye, report.agreement.by_case
    _draw_matrix(matrix, by_eye if by_eye.compared >= by_case.compared else by_case)
    _draw_confidence(confidence, report.confidence_histogram)
    _draw_times(times, report.times)
    _draw_cameras(cameras, [one for one in report.cameras if one.rate][:_SHOWN_CAMERAS])
    _draw_drift(drift, report.drift)
    small = _print(canvas, 80)
    figure.set_layout_engine("none")  # what was found once stays; finding it is half of the time
    return small, _print(canvas, 180)


def _print(canvas: FigureCanvasAgg, dots_per_inch: int) -> bytes:
    content = BytesIO()
    canvas.figure.set_dpi(dots_per_inch)
    canvas.print_png(content, metadata={"Software": None})
    return content.getvalue()


def _draw_conclusions(axes: Axes, conclusions: dict[str, dict[str, int]]) -> None:
    if not _begin(axes, "AI conclusions, right and left eyes", is_empty=not conclusions):
        return
    keys = list(conclusions)[::-1]
    labels = [key.replace("_", " ") for key in keys]
    start = [0] * len(keys)
    for eye, colour in (("OD", _INK), ("OS", _PALE), ("unknown", _AMBER)):
        counts = [conclusions[key].get(eye, 0) for key in keys]
        if any(counts):
            axes.barh(labels, counts, left=start, color=colour, label=eye)
        start = [before + count for before, count in zip(start, counts, strict=True)]
    for place, total in enumerate(start):
        axes.text(total, place, f" {total}", va="center", fontsize=8)
    axes.margins(x=0.14)
    axes.legend(fontsize=8, frameon=False, loc="lower right")
    axes.xaxis.set_visible(False)
    axes.spines["bottom"].set_visible(False)


def _draw_matrix(axes: Axes, agreement: Agreement) -> None:
    if not _begin(axes, "AI (rows) against doctor (columns)", is_empty=not agreement.compared, text="nothing to compare"):
        return
    codes = list(pairs_of(agreement.matrix))
    rows = [code for code in codes if code in agreement.matrix]
    counts = [[agreement.matrix[ai].get(code, 0) for code in codes] for ai in rows]
    shares = [[count / max(sum(row), 1) for count in row] for row in counts]
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1.15, aspect="auto")
    for row, line in enumerate(counts):
        for column, count in enumerate(line):
            if count:
                colour = "white" if shares[row][column] > 0.6 else "black"
                axes.text(column, row, str(count), ha="center", va="center", fontsize=8, color=colour)
    axes.set_xticks(range(len(codes)), codes, fontsize=8)
    axes.set_yticks(range(len(rows)), rows, fontsize=8)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _draw_confidence(axes: Axes, histogram: tuple[int, ...]) -> None:
    if not _begin(axes, "Confidence of read eyes", is_empty=not any(histogram)):
        return
    steps = len(histogram)
    axes.bar([(step + 0.5) / steps for step in range(steps)], histogram, width=0.9 / steps, color=_INK)
    axes.set_xlim(0, 1)
    axes.set_ylabel("eyes", fontsize=8)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))


def _draw_times(axes: Axes, times: DayTimes) -> None:
    if not _begin(axes, "Time of each step: median, and up to 90 %", is_empty=not times.steps):
        return
    shown = list(times.steps.items())[::-1]
    for place, (_, spread) in enumerate(shown):
        middle, most = max(spread.median, 1.0), max(spread.p90 or spread.largest, 1.0)
        axes.plot([middle, most], [place, place], color=_PALE, linewidth=6, solid_capstyle="round")
        axes.plot(middle, place, marker="o", color=_INK, markersize=7)
    axes.set_xscale("log")
    axes.set_xlim(0.8, max(604_800.0, *(spread.largest for _, spread in shown)))
    axes.set_xticks(list(_TICKS))
    axes.minorticks_off()
    axes.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: _TICKS.get(round(seconds), "")))
    axes.set_yticks(range(len(shown)), [step.value for step, _ in shown], fontsize=8)
    axes.margins(y=0.15)


def _draw_cameras(axes: Axes, cameras: list[Ungradable]) -> None:
    if not _begin(axes, "Photographs not read, by camera (95 %)", is_empty=not cameras, text="too few photographs to tell"):
        return
    rates = [(one.place, one.rate) for one in cameras[::-1] if one.rate]
    for place, (_, rate) in enumerate(rates):
        axes.plot([100 * rate.low, 100 * rate.high], [place, place], color=_PALE, linewidth=6, solid_capstyle="round")
        axes.plot(100 * rate.value, place, marker="o", color=_INK, markersize=7)
    axes.set_yticks(range(len(rates)), [_short(name) for name, _ in rates], fontsize=8)
    axes.set_xlim(0, max(1.0, *(110 * rate.high for _, rate in rates)))
    axes.margins(y=0.15)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{share:g} %"))


def _draw_drift(axes: Axes, drift: Drift | None) -> None:
    measured = [(one.subject.value, one.psi, one.stable_up_to) for one in drift.subjects] if drift else []
    shown = [(name, index, limit) for name, index, limit in measured[::-1] if index is not None and limit is not None]
    if not _begin(axes, "Drift against the days before (PSI)", is_empty=not shown, text="too few photographs to tell"):
        return
    places = range(len(shown))
    bars = axes.barh(places, [index for _, index, _ in shown], color=[_AMBER if index > limit else _INK for _, index, limit in shown])
    axes.bar_label(bars, fmt="%.2f", padding=2, fontsize=8)
    axes.plot([limit for *_, limit in shown], places, linestyle="none", marker="|", markersize=18, color=_GREY)
    axes.set_yticks(places, [name for name, *_ in shown])
    axes.margins(x=0.12)
    axes.set_xlim(left=0)
    axes.set_xlabel("the mark: what an unchanged clinic stays under", fontsize=8)


def _begin(axes: Axes, title: str, *, is_empty: bool, text: str = "none on this day") -> bool:
    """Title and frame; an empty panel says why."""
    axes.set_title(title, fontsize=10, loc="left")
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    if is_empty:
        axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes, color=_GREY)
        axes.set_axis_off()
    return not is_empty


def _short(name: str) -> str:
    return name if len(name) <= 24 else f"{name[:23]}…"
