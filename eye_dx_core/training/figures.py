"""Pictures of an evaluation: confusion, ROC and precision–recall, reliability, risk against coverage."""

import io
from collections.abc import Iterator

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import precision_recall_curve, roc_curve

from eye_dx_core.training.evaluation import Answers, Evaluation
from eye_dx_core.training.metrics import at_own_shares

# Okabe and Ito's palette, told apart by colour-blind readers; labels beyond it repeat with another line style.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_STYLES = ("-", "--")


def evaluation_figures(answers: Answers, evaluation: Evaluation) -> dict[str, bytes]:
    """Name → PNG, small enough to be shown in place."""
    return {
        "confusion": confusion_figure(evaluation),
        "curves": curves_figure(answers),
        "reliability": reliability_figure(answers, evaluation),
        "risk_coverage": risk_coverage_figure(answers),
    }


def confusion_figure(evaluation: Evaluation) -> bytes:
    """Counts, shaded by the share of each label's photographs."""
    counted = np.array(evaluation.confusion)
    shares = counted / np.maximum(counted.sum(axis=1, keepdims=True), 1)
    side = 1.6 + 0.42 * len(evaluation.codes)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(evaluation.codes)), evaluation.codes, rotation=45)
    axes.set_yticks(range(len(evaluation.codes)), evaluation.codes)
    axes.set_xlabel("answer")
    axes.set_ylabel("truth")
    low, high = evaluation.intervals.get("balanced_accuracy", (float("nan"),) * 2)
    axes.set_title(f"balanced accuracy {evaluation.balanced_accuracy:.3f} [{low:.3f}, {high:.3f}]", fontsize=9)
    for (row, column), count in np.ndenumerate(counted):
        if count:
            axes.text(
                column, row, str(count), ha="center", va="center", fontsize=8, color="white" if shares[row, column] > 0.5 else "black"
            )
    return _png(figure)


def curves_figure(answers: Answers) -> bytes:
    """ROC and precision–recall of each label against the others."""
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    roc, precision = figure.subplots(1, 2)
    for place, code, colour, style in _lines(answers):
        is_true, scores = answers.truth == place, answers.probabilities[:, place]
        wrong, found, _ = roc_curve(is_true, scores)
        roc.plot(wrong, found, color=colour, linestyle=style, label=code, linewidth=1.2)
        precise, recalled, _ = precision_recall_curve(is_true, scores)
        precision.plot(recalled, precise, color=colour, linestyle=style, linewidth=1.2)
    roc.plot([0, 1], [0, 1], color="grey", linewidth=0.6)
    roc.set(xlabel="1 - specificity", ylabel="sensitivity", title="ROC")
    precision.set(xlabel="sensitivity", ylabel="precision", title="precision and recall", ylim=(0, 1.02))
    roc.legend(fontsize=7, frameon=False)
    return _png(figure)


def reliability_figure(answers: Answers, evaluation: Evaluation, *, bins: int = 10) -> bytes:
    """Share of right answers against confidence, with labels as common as here; a bar's number is how many photographs it is of."""
    shifted = at_own_shares(answers.truth, answers.probabilities, answers.card.deployment_prior)
    confidences, is_right = shifted.max(axis=1), shifted.argmax(axis=1) == answers.truth
    bin_of = np.minimum((confidences * bins).astype(int), bins - 1)
    figure = Figure(figsize=(4, 3.6), layout="constrained")
    axes = figure.subplots()
    for place in np.unique(bin_of):
        inside = bin_of == place
        bar = axes.bar((place + 0.5) / bins, is_right[inside].mean(), width=0.9 / bins, color=_COLOURS[0])
        axes.bar_label(bar, [str(int(inside.sum()))], fontsize=7)
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
    axes.set(xlabel="confidence", ylabel="share right", xlim=(0, 1), ylim=(0, 1.08))
    axes.set_title(f"calibration error {evaluation.ece:.3f}", fontsize=9)
    return _png(figure)


def risk_coverage_figure(answers: Answers) -> bytes:
    """Share of wrong answers if only the most confident ones were given."""
    order = np.argsort(-answers.probabilities.max(axis=1))
    wrong = (answers.probabilities.argmax(axis=1) != answers.truth)[order]
    given = np.arange(1, len(wrong) + 1)
    threshold = float((answers.probabilities.max(axis=1) >= answers.card.uncertain_below).mean())
    figure = Figure(figsize=(4, 3.2), layout="constrained")
    axes: Axes = figure.subplots()
    axes.plot(given / len(wrong), np.cumsum(wrong) / given, color=_COLOURS[0])
    axes.axvline(threshold, color=_COLOURS[1], linestyle="--", linewidth=1, label="answered by this checkpoint")
    axes.set(xlabel="share of photographs answered", ylabel="share of answers wrong", xlim=(0, 1.02), ylim=(0, None))
    axes.legend(fontsize=7, frameon=False)
    return _png(figure)


def _lines(answers: Answers) -> Iterator[tuple[int, str, str, str]]:
    """Labels that have photographs and are not alone, each with a line of its own."""
    present = [place for place in range(len(answers.card.label_set.codes)) if 0 < (answers.truth == place).mean() < 1]
    for number, place in enumerate(present):
        style = _STYLES[number // len(_COLOURS) % len(_STYLES)]
        yield place, answers.card.label_set.codes[place], _COLOURS[number % len(_COLOURS)], style


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return buffer.getvalue()
