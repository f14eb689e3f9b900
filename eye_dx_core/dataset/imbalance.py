"""How uneven the classes are, what that does to accuracy, and which loss and sampling it calls for."""

import io
import math
from collections.abc import Mapping
from enum import StrEnum
from typing import Literal

from matplotlib.figure import Figure

from eye_dx_core.errors import BadDataset
from eye_dx_core.schema.frozen import Frozen

_FEW = 20
"""Photographs below which a class cannot be split four ways and still be judged."""


class Severity(StrEnum):
    """By the ratio of the largest to the smallest class that has photographs."""

    NONE = "none"
    MILD = "mild"
    MODERATE = "moderate"
    SEVERE = "severe"
    EXTREME = "extreme"


_SEVERITY_FROM_RATIO = ((100.0, Severity.EXTREME), (20.0, Severity.SEVERE), (5.0, Severity.MODERATE), (1.5, Severity.MILD))


class ImbalanceReport(Frozen):
    """Counts and what follows from them. Ratio, Gini and entropy look at classes that have photographs."""

    counts: dict[str, int]
    ratio: float
    gini: float
    entropy: float
    effective_classes: float
    empty_classes: tuple[str, ...]
    small_classes: tuple[str, ...]
    severity: Severity
    accuracy_of_constant_answer: float
    """What always answering the largest class would score: plain accuracy below this is worthless."""
    recommended_loss: Literal["balanced_softmax", "cross_entropy"]
    recommended_sampling: Literal["natural"]
    recommendation: str


def analyse_imbalance(counts: Mapping[str, int]) -> ImbalanceReport:
    """Measure how uneven class counts are.

    ratio = n_max / n_min; Gini = Σ_i Σ_j |n_i - n_j| / (2 k Σ n) (0: even, towards 1: one class has all);
    entropy = -Σ p ln p / ln k (1: even); effective classes = exp(-Σ p ln p). The recommendation, natural sampling with
    balanced softmax, follows Ren et al. 2020 and Menon et al. 2021 (logit adjustment): consistent for balanced error,
    and the probabilities can be corrected exactly for any prior afterwards, which re-sampling and focal loss lose.

    Raises:
        BadDataset: there is no photograph at all.
    """
    present = [count for count in counts.values() if count]
    if not present:
        raise BadDataset("no class has a photograph")
    total, classes = sum(present), len(present)
    ratio = max(present) / min(present)
    bits = -sum(count / total * math.log(count / total) for count in present)
    severity = next((severity for least, severity in _SEVERITY_FROM_RATIO if ratio >= least), Severity.NONE)
    empty = tuple(name for name, count in counts.items() if not count)
    small = tuple(name for name, count in counts.items() if 0 < count < _FEW)
    loss = "cross_entropy" if severity is Severity.NONE else "balanced_softmax"
    return ImbalanceReport(
        counts=dict(counts),
        ratio=ratio,
        gini=sum(abs(one - other) for one in present for other in present) / (2 * classes * total),
        entropy=bits / math.log(classes) if classes > 1 else 0.0,
        effective_classes=math.exp(bits),
        empty_classes=empty,
        small_classes=small,
        severity=severity,
        accuracy_of_constant_answer=max(present) / total,
        recommended_loss=loss,
        recommended_sampling="natural",
        recommendation=_recommendation(loss, empty, small),
    )


def _recommendation(loss: str, empty: tuple[str, ...], small: tuple[str, ...]) -> str:
    sentences = [f"Train with {loss} and natural sampling; judge by balanced accuracy and the recall of each class."]
    if small:
        sentences.append(f"Collect more of {', '.join(small)}: under {_FEW} photographs its recall cannot be told.")
    if empty:
        sentences.append(f"{', '.join(empty)}: no photograph, so the model can never find it.")
    return " ".join(sentences)


def imbalance_markdown(report: ImbalanceReport) -> str:
    """The report as a page."""
    total = sum(report.counts.values())
    rows = "\n".join(f"| {name} | {count} | {count / total:.1%} |" for name, count in report.counts.items())
    return (
        f"**Severity: {report.severity}** (ratio {report.ratio:.1f}, Gini {report.gini:.2f}, entropy {report.entropy:.2f}, "
        f"{report.effective_classes:.1f} effective classes). Always answering the largest class would score "
        f"{report.accuracy_of_constant_answer:.1%} accuracy.\n\n{report.recommendation}\n\n"
        f"| class | photographs | share |\n|---|---:|---:|\n{rows}\n"
    )


def imbalance_figure(report: ImbalanceReport) -> bytes:
    """Counts per class on a logarithmic axis, as PNG; an empty class is written as 0."""
    figure = Figure(figsize=(6, 3.2), dpi=90, layout="constrained")
    axes = figure.subplots()
    names, counts = list(report.counts), list(report.counts.values())
    bars = axes.bar(names, [max(count, 0.7) for count in counts], color="#31688e")
    axes.bar_label(bars, [str(count) for count in counts], fontsize=8)
    axes.set_yscale("log")
    axes.set_ylim(0.7, max(counts) * 2.5)
    axes.set_xlabel("class")
    axes.set_ylabel("photographs")
    axes.set_title(f"{sum(counts)} photographs, imbalance {report.severity} (ratio {report.ratio:.0f})", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
