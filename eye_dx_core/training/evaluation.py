"""How a finished checkpoint reads photographs it has never seen."""

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from eye_dx_core.errors import BadDataset
from eye_dx_core.model.checkpoint import Checkpoint
from eye_dx_core.schema.frozen import Frozen
from eye_dx_core.training import metrics
from eye_dx_core.training.feeds import predict_logits


class Evaluation(Frozen):
    """Measures on one set of photographs. `recall` is None for a label without a photograph, and such labels count nowhere.

    `constant_accuracy` is what always answering the most common label would get: accuracy below it is worth nothing.
    """

    codes: tuple[str, ...]
    counts: dict[str, int]
    recall: dict[str, float | None]
    worst_recall: float
    balanced_accuracy: float
    chance: float
    macro_f1: float
    macro_auroc: float
    mcc: float
    ece: float
    accuracy: float
    constant_accuracy: float
    uncertain_share: float
    """Photographs that the checkpoint would answer with `uncertain`."""
    accuracy_when_certain: float
    """Of the others, the share that was right; 0 when there are none."""
    confusion: tuple[tuple[int, ...], ...]
    """Rows are the truth, columns the answers, both in the order of `codes`."""

    def as_metrics(self) -> dict[str, float]:
        """The numbers by name, for a tracker; `recall_<code>` where there were photographs."""
        single = self.model_dump(exclude={"codes", "counts", "recall", "confusion"})
        recalls = {f"recall_{code}": value for code, value in self.recall.items() if value is not None}
        return {name: float(value) for name, value in single.items()} | recalls | {"photographs": float(sum(self.counts.values()))}


def evaluate_checkpoint(checkpoint: Checkpoint, squares: NDArray[np.uint8], labels: Sequence[str]) -> Evaluation:
    """Read squares (photo, size, size, rgb) and compare with their labels, every label taken as equally common beforehand.

    Raises:
        BadDataset: there is no photograph, or a label is not in the checkpoint's label set.
    """
    codes = checkpoint.card.label_set.codes
    unknown = sorted(set(labels) - set(codes))
    if unknown or not labels:
        raise BadDataset(f"labels that the checkpoint does not know: {', '.join(unknown)}" if unknown else "no photograph to evaluate on")
    truth = np.array([codes.index(label) for label in labels], dtype=np.int64)
    logits = predict_logits(checkpoint.model, squares, checkpoint.card.preprocess)
    probabilities = checkpoint.probabilities(logits).double().numpy()
    return _evaluate(codes, truth, probabilities, uncertain_below=checkpoint.card.uncertain_below)


def _evaluate(
    codes: tuple[str, ...], truth: metrics.Indices, probabilities: metrics.Probabilities, *, uncertain_below: float
) -> Evaluation:
    answers = np.asarray(probabilities.argmax(axis=1), dtype=np.int64)
    counted = metrics.confusion(truth, answers, len(codes))
    recalls = metrics.recalls(counted)
    certain = probabilities.max(axis=1) >= uncertain_below
    return Evaluation(
        codes=codes,
        counts=dict(zip(codes, counted.sum(axis=1).tolist(), strict=True)),
        recall=dict(zip(codes, recalls, strict=True)),
        worst_recall=min(recall for recall in recalls if recall is not None),
        balanced_accuracy=metrics.balanced_accuracy(counted),
        chance=1 / sum(recall is not None for recall in recalls),
        macro_f1=metrics.macro_f1(truth, answers),
        macro_auroc=metrics.macro_auroc(truth, probabilities),
        mcc=metrics.matthews(truth, answers),
        ece=metrics.calibration_error(truth, probabilities),
        accuracy=float((answers == truth).mean()),
        constant_accuracy=float(counted.sum(axis=1).max() / len(truth)),
        uncertain_share=float(1 - certain.mean()),
        accuracy_when_certain=float((answers == truth)[certain].mean()) if certain.any() else 0.0,
        confusion=tuple(tuple(row) for row in counted.tolist()),
    )


def confusion_figure(evaluation: Evaluation) -> bytes:
    """The confusion matrix as a PNG: counts, shaded by the share of each label's photographs."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    counted = np.array(evaluation.confusion)
    shares = counted / np.maximum(counted.sum(axis=1, keepdims=True), 1)
    side = 1.6 + 0.42 * len(evaluation.codes)
    figure = Figure(figsize=(side, side), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(evaluation.codes)), evaluation.codes, rotation=45)
    axes.set_yticks(range(len(evaluation.codes)), evaluation.codes)
    axes.set_xlabel("answer")
    axes.set_ylabel("truth")
    axes.set_title(f"balanced accuracy {evaluation.balanced_accuracy:.3f} (chance {evaluation.chance:.3f})", fontsize=9)
    for (row, column), count in np.ndenumerate(counted):
        if count:
            axes.text(
                column, row, str(count), ha="center", va="center", fontsize=8, color="white" if shares[row, column] > 0.5 else "black"
            )
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
