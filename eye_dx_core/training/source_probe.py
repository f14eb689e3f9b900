"""How much of a score the camera could explain: can the source be told from what the model sees, and the label from the source?

Where a class comes from one clinic, a model may learn the clinic's camera and be right for the wrong reason (Zech et al., PLOS
Medicine 2018). No measure on photographs of the same sources shows that.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from eye_dx_core.dataset.cache import Squares
from eye_dx_core.model.checkpoint import Checkpoint
from eye_dx_core.schema.frozen import Frozen
from eye_dx_core.training.precision import autocast

LARGEST_SAMPLE = 2000
"""Photographs that a linear probe learns from; more change its answer little and cost a pass through the trunk each."""
_BATCH = 32
Words = NDArray[np.str_]


class SourceProbe(Frozen):
    """What a linear probe on the model's pooled tokens finds on the locked test."""

    sources: int
    source_recall: float
    """Mean over the sources of the share of their photographs that the probe assigns to them; chance is 1 / sources."""
    label_recall: float
    """Mean over the labels of the share that is right when nothing but the probe's source is looked at.

    A balanced accuracy that is not clearly above it may be the camera's.
    """


def probe_sources(
    features: NDArray[np.float32],
    sources: Sequence[str],
    labels: Sequence[str],
    *,
    test_features: NDArray[np.float32],
    test_sources: Sequence[str],
    test_labels: Sequence[str],
) -> SourceProbe | None:
    """Learn the source on training photographs, (photo, dim) each, and look at test photographs; None with a single source."""
    taught, asked = np.array(sources), np.isin(test_sources, np.array(sources))
    if len(set(sources)) < 2 or len(set(np.array(test_sources)[asked].tolist())) < 2:
        return None
    probe = make_pipeline(StandardScaler(), RidgeClassifier(alpha=1.0, class_weight="balanced")).fit(features, taught)
    said = np.asarray(probe.predict(test_features[asked]))
    likeliest = _likeliest_labels(taught, np.array(labels))
    guessed = np.array([likeliest[source] for source in said])
    return SourceProbe(
        sources=len(set(sources)),
        source_recall=_mean_recall(np.array(test_sources)[asked], said),
        label_recall=_mean_recall(np.array(test_labels)[asked], guessed),
    )


def pooled_features(checkpoint: Checkpoint, squares: Squares) -> NDArray[np.float32]:
    """What the head sees of squares (photo, size, size, rgb): (photo, dim)."""
    model, preprocess = checkpoint.model, checkpoint.card.preprocess
    with torch.inference_mode(), autocast(model, "auto"):
        batches = [preprocess.to_batch(squares[start : start + _BATCH]) for start in range(0, len(squares), _BATCH)]
        return torch.cat([model.pool(model.features(batch)).float() for batch in batches]).numpy()


def _likeliest_labels(sources: Words, labels: Words) -> dict[str, str]:
    """Source → the label of whose photographs it holds the largest share, so that common labels have no advantage."""
    kinds = sorted(set(labels.tolist()))
    return {source: max(kinds, key=lambda kind: float((sources[labels == kind] == source).mean())) for source in set(sources.tolist())}


def _mean_recall(truth: Words, said: Words) -> float:
    return float(np.mean([(said[truth == one] == one).mean() for one in set(truth.tolist())]))
