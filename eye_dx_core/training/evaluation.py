"""How a finished checkpoint reads photographs it has never seen, with intervals over patients."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from eye_dx_core.dataset.cache import Squares
from eye_dx_core.errors import BadDataset
from eye_dx_core.model.checkpoint import Checkpoint, CheckpointCard
from eye_dx_core.model.reference import UNLIKE_ABOVE
from eye_dx_core.schema.frozen import Frozen
from eye_dx_core.training import metrics
from eye_dx_core.training.feeds import pool_squares
from eye_dx_core.training.resampling import interval, resample_patients

_BY_LABEL = ("recall", "specificity", "auroc", "auprc", "calibration_error")


@dataclass(frozen=True)
class Answers:
    """What a checkpoint says of photographs whose labels are known."""

    card: CheckpointCard
    truth: NDArray[np.int64]
    """Position of each photograph's label, (photo,)."""
    probabilities: NDArray[np.float64]
    """Calibrated, (photo, class), under the card's prior."""
    patients: tuple[str, ...]
    sources: tuple[str, ...]
    distances: NDArray[np.float64] | None = None
    """How unlike the training photographs each is, (photo,); None where the checkpoint does not know."""


class Evaluation(Frozen):
    """Measures on one set of photographs. A label without a photograph has None, and counts nowhere.

    `intervals` has the middle 95 % over resampled patients for every measure that has one. `constant_accuracy` is what always
    answering the most common label would get: accuracy below it is worth nothing.
    """

    codes: tuple[str, ...]
    counts: dict[str, int]
    patients: int
    recall: dict[str, float | None]
    specificity: dict[str, float | None]
    auroc: dict[str, float | None]
    auprc: dict[str, float | None]
    worst_recall: float
    balanced_accuracy: float
    chance: float
    macro_f1: float
    weighted_f1: float
    macro_auroc: float
    macro_auprc: float
    mcc: float
    ece: float
    """Of the top answer, with labels as common as among these photographs."""
    calibration_error: dict[str, float | None]
    """The same for each label against the others."""
    accuracy: float
    constant_accuracy: float
    dr_kappa: float | None
    """Quadratic kappa of the grades of retinopathy, where the label set has them."""
    uncertain_share: float
    """Photographs that the checkpoint would answer with `uncertain`."""
    accuracy_when_certain: float
    """Of the others, the share that was right; 0 when there are none."""
    unlike_share: float | None = None
    """Photographs that it would answer with `uncertain` because they are unlike those it learnt from: false alarms, all of them."""
    set_coverage: float
    """Photographs whose label is in their answer set."""
    set_size: float
    """Labels in an answer set, on average."""
    by_source: dict[str, dict[str, float]]
    """Source → photographs, accuracy and balanced accuracy over the labels it has."""
    intervals: dict[str, tuple[float, float]]
    confusion: tuple[tuple[int, ...], ...]
    """Rows are the truth, columns the answers, both in the order of `codes`."""

    def as_metrics(self) -> dict[str, float]:
        """The numbers by name, for a tracker; `recall_<code>` and the like where there were photographs, `_low` and `_high`."""
        nested = {"codes", "counts", *_BY_LABEL, "by_source", "intervals", "confusion"}
        single = {name: float(value) for name, value in self.model_dump(exclude=nested).items() if value is not None}
        by_label = {f"{name}_{code}": value for name in _BY_LABEL for code, value in getattr(self, name).items() if value is not None}
        bounds = {f"{name}_{end}": value for name, pair in self.intervals.items() for end, value in zip(("low", "high"), pair, strict=True)}
        return single | by_label | bounds | {"photographs": float(sum(self.counts.values()))}


def answer(checkpoint: Checkpoint, squares: Squares, labels: Sequence[str], *, patients: Sequence[str], sources: Sequence[str]) -> Answers:
    """Let a checkpoint read squares (photo, size, size, rgb) of known label, patient and source.

    Raises:
        BadDataset: there is no photograph, or a label is not in the checkpoint's label set.
    """
    codes = checkpoint.card.label_set.codes
    unknown = sorted(set(labels) - set(codes))
    if unknown or not labels:
        raise BadDataset(f"labels that the checkpoint does not know: {', '.join(unknown)}" if unknown else "no photograph to evaluate on")
    pooled = pool_squares(checkpoint.model, squares, checkpoint.card.preprocess)
    with torch.inference_mode():
        logits = checkpoint.model.logits_from_pooled(pooled)
    return Answers(
        card=checkpoint.card,
        truth=np.array([codes.index(label) for label in labels], dtype=np.int64),
        probabilities=checkpoint.probabilities(logits).double().numpy(),
        distances=checkpoint.reference.distances(pooled).numpy() if checkpoint.reference else None,
        patients=tuple(patients),
        sources=tuple(sources),
    )


def evaluate(answers: Answers) -> Evaluation:
    """All measures of the answers, with intervals."""
    codes, truth, probabilities = answers.card.label_set.codes, answers.truth, answers.probabilities
    said = np.asarray(probabilities.argmax(axis=1), dtype=np.int64)
    prior = answers.card.deployment_prior
    point = metrics.measure_once(truth, probabilities, codes, prior=prior)
    spread = metrics.measure(truth, probabilities, resample_patients(answers.patients), codes, prior=prior)
    intervals = {name: interval(values) for name, values in spread.items() if np.isfinite(point[name])}
    counted = metrics.confusion(truth, said, len(codes))
    recalls = _by_label(point, "recall", codes)
    certain = probabilities.max(axis=1) >= answers.card.uncertain_below
    in_set = probabilities >= np.array([2.0 if one is None else one for one in answers.card.set_thresholds])
    single = ("balanced_accuracy", "macro_f1", "weighted_f1", "macro_auroc", "macro_auprc", "mcc", "ece", "accuracy")
    return Evaluation(
        codes=codes,
        counts=dict(zip(codes, counted.sum(axis=1).tolist(), strict=True)),
        patients=len(set(answers.patients)),
        recall=recalls,
        specificity=_by_label(point, "specificity", codes),
        auroc=_by_label(point, "auroc", codes),
        auprc=_by_label(point, "auprc", codes),
        calibration_error={
            code: value if recalls[code] is not None else None for code, value in _by_label(point, "calibration_error", codes).items()
        },
        worst_recall=min(recall for recall in recalls.values() if recall is not None),
        chance=1 / sum(recall is not None for recall in recalls.values()),
        **{name: point[name] for name in single},
        constant_accuracy=float(counted.sum(axis=1).max() / len(truth)),
        dr_kappa=_dr_kappa(answers),
        uncertain_share=float(1 - certain.mean()),
        accuracy_when_certain=float((said == truth)[certain].mean()) if certain.any() else 0.0,
        unlike_share=None if answers.distances is None else float((answers.distances > UNLIKE_ABOVE).mean()),
        set_coverage=float(in_set[np.arange(len(truth)), truth].mean()),
        set_size=float(in_set.sum(axis=1).mean()),
        by_source={source: _of_source(answers, source) for source in sorted(set(answers.sources))},
        intervals={name: pair for name, pair in intervals.items() if np.isfinite(pair).all()},
        confusion=tuple(tuple(row) for row in counted.tolist()),
    )


def _by_label(point: dict[str, float], name: str, codes: Sequence[str]) -> dict[str, float | None]:
    values = {code: point[f"{name}_{code}"] for code in codes}
    return {code: value if np.isfinite(value) else None for code, value in values.items()}


def _dr_kappa(answers: Answers) -> float | None:
    """Among photographs with a grade, the likeliest grade against the true one."""
    labels = answers.card.label_set.labels
    places = [place for place, label in enumerate(labels) if label.dr_grade is not None]
    if len(places) < 2:
        return None
    grades = np.array([-1 if label.dr_grade is None else int(label.dr_grade) for label in labels])
    graded = np.isin(answers.truth, places)
    if len(np.unique(answers.truth[graded])) < 2:
        return None
    said = np.array(places)[answers.probabilities[graded][:, places].argmax(axis=1)]
    return float(metrics.quadratic_kappa(grades[answers.truth[graded]], grades[said], np.ones((1, int(graded.sum()))))[0])


def _of_source(answers: Answers, source: str) -> dict[str, float]:
    own = np.array([one == source for one in answers.sources])
    found = metrics.measure_once(answers.truth[own], answers.probabilities[own], answers.card.label_set.codes)
    return {"photographs": float(own.sum())} | {name: found[name] for name in ("accuracy", "balanced_accuracy")}
