"""How a recipe reads photographs of a source that it has never seen: one training per source, each without it."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from eye_dx_core.dataset.cache import load_squares
from eye_dx_core.dataset.manifest import Manifest
from eye_dx_core.dataset.splitting import leave_source_out
from eye_dx_core.dataset.waivers import Waiver
from eye_dx_core.errors import BadDataset
from eye_dx_core.model.checkpoint import load_checkpoint
from eye_dx_core.schema.frozen import Frozen
from eye_dx_core.training.config import TrainingConfig
from eye_dx_core.training.evaluation import Evaluation, answer, evaluate
from eye_dx_core.training.fine_tuning import train_checkpoint


class UnseenSource(Frozen):
    """How the photographs of one source are read by a model that learnt from all the others."""

    source: str
    photographs: int
    never_learnt: tuple[str, ...]
    """Labels that the source has and no other does: they cannot be answered, and count as wrong."""
    evaluation: Evaluation | None
    reason: str | None
    """Why there is no evaluation."""


def leave_one_source_out(
    *,
    folder: Path,
    photo_folder: Path,
    manifest: Manifest,
    config: TrainingConfig,
    trunk: Path | None,
    cache_folder: Path,
    waivers: Sequence[Waiver] = (),
) -> Iterator[UnseenSource]:
    """Train once per source without it and read its photographs; the arguments are those of `train_checkpoint`.

    A source without which nothing can be trained is reported with the reason, and the others still are measured.

    Raises:
        BadDataset: there is only one source.
    """
    sources = sorted({row.source for row in manifest.rows})
    if len(sources) < 2:
        raise BadDataset(f"all photographs come from one source ({sources[0] if sources else 'none'}): there is none to leave out")
    for number, source in enumerate(sources):
        splits = leave_source_out(manifest, source, seed=config.seed)
        rows = [row for row in manifest.rows if row.source == source and row.duplicate_of is None]
        target = folder / f"without-{number}"
        try:
            for _ in train_checkpoint(
                folder=target,
                photo_folder=photo_folder,
                manifest=manifest,
                splits=splits,
                config=config,
                trunk=trunk,
                cache_folder=cache_folder,
                waivers=waivers,
            ):
                pass
        except BadDataset as error:
            yield UnseenSource(source=source, photographs=len(rows), never_learnt=(), evaluation=None, reason=str(error))
            continue
        checkpoint = load_checkpoint(target)
        learnt = {code for code, count in zip(checkpoint.card.label_set.codes, checkpoint.card.training_counts, strict=True) if count > 0}
        squares = load_squares(photo_folder, rows, size=checkpoint.card.preprocess.size, cache_folder=cache_folder)
        answers = answer(
            checkpoint,
            squares,
            [row.label for row in rows],
            patients=[row.patient_key for row in rows],
            sources=[source] * len(rows),
        )
        yield UnseenSource(
            source=source,
            photographs=len(rows),
            never_learnt=tuple(sorted({row.label for row in rows} - learnt)),
            evaluation=evaluate(answers),
            reason=None,
        )
