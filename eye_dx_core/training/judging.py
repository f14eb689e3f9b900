"""From a checkpoint folder to its evaluation on the locked test, its figures and its model card."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eye_dx_core.dataset.cache import load_squares
from eye_dx_core.dataset.manifest import Manifest, ManifestRow
from eye_dx_core.dataset.phantom_folders import holds_phantoms
from eye_dx_core.dataset.splitting import Split, Splits
from eye_dx_core.model.checkpoint import Checkpoint, load_checkpoint
from eye_dx_core.training.comparison import Comparison, compare
from eye_dx_core.training.evaluation import Answers, answer, evaluate
from eye_dx_core.training.figures import evaluation_figures
from eye_dx_core.training.model_card import model_card
from eye_dx_core.training.source_probe import LARGEST_SAMPLE, SourceProbe, pooled_features, probe_sources

MODEL_CARD = "model_card.md"


@dataclass(frozen=True)
class Judgement:
    """What is known of a checkpoint after the locked test."""

    metrics: dict[str, float]
    figures: dict[str, bytes]
    """Name → PNG."""
    card: str
    """The model card, as Markdown."""

    def save(self, folder: Path) -> tuple[Path, ...]:
        """Write everything into a folder; the paths of what a person wants to look at."""
        (folder / "evaluation.json").write_text(json.dumps(self.metrics, indent=2), encoding="utf-8")
        (folder / MODEL_CARD).write_text(self.card, encoding="utf-8")
        pictures = tuple(folder / f"{name}.png" for name in self.figures)
        for path, figure in zip(pictures, self.figures.values(), strict=True):
            path.write_bytes(figure)
        return (folder / MODEL_CARD, *pictures)


def judge_checkpoint(
    folder: Path, *, champion: Path | None, photo_folder: Path, manifest: Manifest, splits: Splits, cache_folder: Path
) -> Judgement:
    """Let a checkpoint, and the champion beside it, read the locked test; the model card is left in the checkpoint's folder.

    A champion with another label set cannot be compared photograph by photograph, and the card says so.

    Raises:
        BadDataset: the test split is empty.
        BadCheckpoint: weights or card are damaged.
    """
    train, rows = (
        [row for row in manifest.rows if splits.assignment[row.photo_id] is split and row.duplicate_of is None]
        for split in (Split.TRAIN, Split.TEST)
    )
    checkpoint = load_checkpoint(folder)
    answers = _read(checkpoint, rows, photo_folder, cache_folder)
    evaluation = evaluate(answers)
    probe = _probe(checkpoint, train, rows, photo_folder, cache_folder)
    against = _against(answers, champion, rows, photo_folder, cache_folder)
    text = model_card(
        answers.card, evaluation, manifest, splits, has_seen_phantoms=holds_phantoms(photo_folder), against=against, probe=probe
    )
    (folder / MODEL_CARD).write_text(text, encoding="utf-8")
    return Judgement(
        metrics=evaluation.as_metrics()
        | (against.as_metrics() if against else {})
        | ({"source_recall": probe.source_recall, "label_recall_by_source": probe.label_recall} if probe else {}),
        figures=evaluation_figures(answers, evaluation),
        card=text,
    )


def _read(checkpoint: Checkpoint, rows: Sequence[ManifestRow], photo_folder: Path, cache_folder: Path) -> Answers:
    squares = load_squares(photo_folder, rows, size=checkpoint.card.preprocess.size, cache_folder=cache_folder)
    return answer(
        checkpoint,
        squares,
        [row.label for row in rows],
        patients=[row.patient_key for row in rows],
        sources=[row.source for row in rows],
    )


def _probe(
    checkpoint: Checkpoint, train: Sequence[ManifestRow], test: Sequence[ManifestRow], photo_folder: Path, cache_folder: Path
) -> SourceProbe | None:
    """Whether the camera alone could have given the score; nothing is read where there is a single source."""
    if len({row.source for row in train}) < 2:
        return None
    drawn = np.sort(np.random.default_rng(0).permutation(len(train))[:LARGEST_SAMPLE])
    sample, size = [train[place] for place in drawn], checkpoint.card.preprocess.size
    features, test_features = (
        pooled_features(checkpoint, load_squares(photo_folder, rows, size=size, cache_folder=cache_folder)) for rows in (sample, test)
    )
    return probe_sources(
        features,
        [row.source for row in sample],
        [row.label for row in sample],
        test_features=test_features,
        test_sources=[row.source for row in test],
        test_labels=[row.label for row in test],
    )


def _against(
    candidate: Answers, champion: Path | None, rows: Sequence[ManifestRow], photo_folder: Path, cache_folder: Path
) -> Comparison | None:
    if champion is None:
        return None
    known = load_checkpoint(champion)
    if known.card.label_set.codes != candidate.card.label_set.codes:
        return None
    return compare(candidate, _read(known, rows, photo_folder, cache_folder))
