"""The figure of the daily report, as a small PNG."""

from collections.abc import Mapping, Sequence
from io import BytesIO

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

_INK, _AMBER, _GREY = "#0b5c6b", "#c98a2b", "#5d6b79"


def draw_charts(title: str, conclusions: Mapping[str, int], confidence_histogram: Sequence[int]) -> bytes:
    """Bars of the conclusions by code, and of the eyes by confidence in equal steps from 0 to 1."""
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    figure.suptitle(title, fontsize=11)
    _draw_conclusions(left, conclusions)
    _draw_confidence(right, confidence_histogram)
    content = BytesIO()
    canvas.print_png(content, metadata={"Software": None})
    return content.getvalue()


def _draw_conclusions(axes: Axes, conclusions: Mapping[str, int]) -> None:
    axes.set_title("AI conclusions per eye", fontsize=10)
    if not conclusions:
        _say_empty(axes)
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
        _say_empty(axes)
        return
    steps = len(histogram)
    axes.bar([(step + 0.5) / steps for step in range(steps)], histogram, width=0.9 / steps, color=_INK)
    axes.set_xlim(0, 1)
    axes.set_xlabel("confidence", fontsize=8)
    axes.set_ylabel("eyes", fontsize=8)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["top", "right"]].set_visible(False)


def _say_empty(axes: Axes) -> None:
    axes.text(0.5, 0.5, "none on this day", ha="center", va="center", transform=axes.transAxes, color=_GREY)
    axes.set_axis_off()
