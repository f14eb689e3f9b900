"""The figure of the daily report, as a small PNG."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

_INK, _AMBER, _GREY = "#0b5c6b", "#c98a2b", "#5d6b79"


@dataclass(frozen=True)
class DriftBar:
    """One subject's population stability index, and what it stays under while nothing changes."""

    subject: str
    psi: float
    stable_up_to: float


def draw_charts(title: str, conclusions: Mapping[str, int], confidence_histogram: Sequence[int], drift: Sequence[DriftBar]) -> bytes:
    """Bars of the conclusions by code, of the eyes by confidence in equal steps from 0 to 1, and of the drift."""
    figure = Figure(figsize=(12, 3.2), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    left, middle, right = figure.subplots(1, 3)
    figure.suptitle(title, fontsize=11)
    _draw_conclusions(left, conclusions)
    _draw_confidence(middle, confidence_histogram)
    _draw_drift(right, drift)
    content = BytesIO()
    canvas.print_png(content, metadata={"Software": None})
    return content.getvalue()


def _draw_conclusions(axes: Axes, conclusions: Mapping[str, int]) -> None:
    axes.set_title("AI conclusions per eye", fontsize=10)
    if not conclusions:
        _say_empty(axes, "none on this day")
        return
    keys = list(conclusions)[::-1]
    # What has no conclusion stands out: it waits for a person.
    bars = axes.barh(keys, [conclusions[key] for key in keys], color=[_INK if key.isupper() else _AMBER for key in keys])
    axes.bar_label(bars, padding=2, fontsize=8)
    axes.margins(x=0.12)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.xaxis.set_visible(False)


def _draw_confidence(axes: Axes, histogram: Sequence[int]) -> None:
    axes.set_title("Confidence of read eyes", fontsize=10)
    if not any(histogram):
        _say_empty(axes, "none on this day")
        return
    steps = len(histogram)
    axes.bar([(step + 0.5) / steps for step in range(steps)], histogram, width=0.9 / steps, color=_INK)
    axes.set_xlim(0, 1)
    axes.set_xlabel("confidence", fontsize=8)
    axes.set_ylabel("eyes", fontsize=8)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["top", "right"]].set_visible(False)


def _draw_drift(axes: Axes, drift: Sequence[DriftBar]) -> None:
    axes.set_title("Drift against the days before (PSI)", fontsize=10)
    if not drift:
        _say_empty(axes, "too few photographs to tell")
        return
    shown = drift[::-1]
    places = range(len(shown))
    bars = axes.barh(places, [one.psi for one in shown], color=[_AMBER if one.psi > one.stable_up_to else _INK for one in shown])
    axes.bar_label(bars, fmt="%.2f", padding=2, fontsize=8)
    axes.plot([one.stable_up_to for one in shown], places, linestyle="none", marker="|", markersize=18, color=_GREY)
    axes.set_yticks(places, [one.subject for one in shown])
    axes.margins(x=0.12)
    axes.set_xlim(left=0)
    axes.set_xlabel("the mark: what an unchanged clinic stays under", fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def _say_empty(axes: Axes, text: str) -> None:
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes, color=_GREY)
    axes.set_axis_off()
