"""The model card: what a version was made of, what it can do, and what it must not be used for (Mitchell et al., FAT* 2019)."""

from collections import Counter
from collections.abc import Sequence

from eye_dx_core.dataset.manifest import Manifest
from eye_dx_core.dataset.splitting import Split, Splits
from eye_dx_core.model.checkpoint import CheckpointCard
from eye_dx_core.model.layouts import LICENCE_NOTES
from eye_dx_core.model.weight_file import TrunkSource
from eye_dx_core.training.comparison import Comparison
from eye_dx_core.training.evaluation import Evaluation
from eye_dx_core.training.source_probe import SourceProbe

_SHIPPED_LICENCE = "Apache-2.0 (shipped with Eye Dx; pre-trained on drawings)"


def model_card(
    card: CheckpointCard,
    evaluation: Evaluation,
    manifest: Manifest,
    splits: Splits,
    *,
    has_seen_phantoms: bool,
    against: Comparison | None,
    probe: SourceProbe | None,
) -> str:
    """Markdown for whoever decides about the version. Holds counts and hashes, no file name and no patient."""
    parts = [
        f"# {card.model_name}, {card.created_at:%Y-%m-%d %H:%M} UTC",
        _use(evaluation, has_seen_phantoms=has_seen_phantoms),
        "## How well it reads the locked test",
        f"{sum(evaluation.counts.values())} photographs of {evaluation.patients} patients; in brackets 95 % intervals over patients.",
        _table(("measure", "value"), [(name, _with_interval(evaluation, name)) for name in _HEADLINES]),
        _table(
            ("label", "photographs", "sensitivity", "specificity", "AUROC"), [_label_row(evaluation, code) for code in evaluation.codes]
        ),
        _table(
            ("source", "photographs", "accuracy", "balanced accuracy"),
            [
                (source, int(one["photographs"]), _number(one["accuracy"]), _number(one["balanced_accuracy"]))
                for source, one in evaluation.by_source.items()
            ],
        ),
        _camera(evaluation, probe),
        "## Against the champion",
        "\n".join(f"- {line}" for line in against.sentences()) if against else "There was none that could be compared.",
        "## What it learnt from",
        _data(manifest, splits),
        "## How",
        _method(card),
    ]
    return "\n\n".join(parts) + "\n"


_HEADLINES = (
    "balanced_accuracy",
    "worst_recall",
    "macro_f1",
    "macro_auroc",
    "macro_auprc",
    "mcc",
    "accuracy",
    "constant_accuracy",
    "ece",
    "unlike_share",
)


def _use(evaluation: Evaluation, *, has_seen_phantoms: bool) -> str:
    lines = ["Meant for: a first reading of colour fundus photographs that a doctor reviews. Not a diagnosis by itself."]
    if has_seen_phantoms:
        lines.append("**Trained on phantoms (drawings): it shows that the platform works and must never read a patient.**")
    empty = [code for code, count in evaluation.counts.items() if not count]
    if empty:
        lines.append(f"Not tested at all: {', '.join(empty)}.")
    if len(evaluation.by_source) == 1:
        lines.append("All test photographs come from one source; how it reads another camera is not known.")
    lines.append("Labels without training photographs are never its answer.")
    return "\n\n".join(lines)


def _camera(evaluation: Evaluation, probe: SourceProbe | None) -> str:
    """What the probe means for whoever believes the score."""
    if probe is None:
        return "Whether the camera explains the score was not measured: there is a single source."
    return (
        f"Could the camera explain the score? A linear probe tells the source of {probe.source_recall:.0%} of the photographs "
        f"(by chance {1 / probe.sources:.0%}). Answering each with the label that its source is known for is right for "
        f"{probe.label_recall:.0%}, mean over the labels; the model is right for {evaluation.balanced_accuracy:.0%}."
    )


def _data(manifest: Manifest, splits: Splits) -> str:
    sources = sorted({row.source for row in manifest.rows})
    counted = Counter((row.label, row.source) for row in manifest.rows)
    rows = [(code, *(counted[code, source] for source in sources)) for code in manifest.label_set.codes]
    by_split = ", ".join(f"{split} {sum(splits.counts[split].values())}" for split in Split)
    notes = f"Photographs per split: {by_split}. Data fingerprint `{manifest.fingerprint[:16]}`, splits `{splits.fingerprint[:16]}`."
    if manifest.grade_zero_as_normal:
        notes += f" {manifest.grade_zero_as_normal} photographs of grade 0 count as normal."
    return _table(("label", *sources), rows) + "\n\n" + notes


def _method(card: CheckpointCard) -> str:
    training = card.training
    lines = [
        f"- method {card.method}, loss {training['loss']}, sampling {training['sampling']}, seed {training['seed']}",
        f"- trunk {card.trunk.name}, weights `{card.trunk_sha256[:16]}`, licence: {_licence(card)}",
        f"- temperature {card.temperature:.2f}; under {card.uncertain_below:.2f} `uncertain`; sets cover {card.set_coverage:.0%}",
        f"- calibration error {card.metrics['calibration_error_before']:.3f} before scaling, {card.metrics['calibration_error']:.3f} after",
    ]
    waivers = training.get("waivers")
    known = [one for one in waivers if isinstance(one, dict)] if isinstance(waivers, list) else []
    lines += [f"- waived: {one['claim']}, because: {one['reason']} ({one['by']})" for one in known]
    return "\n".join(lines)


def _licence(card: CheckpointCard) -> str:
    if card.trunk.name == "small":
        return _SHIPPED_LICENCE
    return LICENCE_NOTES[TrunkSource.model_validate(card.training["trunk_source"]).original.kind]


def _label_row(evaluation: Evaluation, code: str) -> tuple[object, ...]:
    recall = _with_interval(evaluation, f"recall_{code}", evaluation.recall[code])
    return code, evaluation.counts[code], recall, _number(evaluation.specificity[code]), _number(evaluation.auroc[code])


def _with_interval(evaluation: Evaluation, name: str, value: float | None = None) -> str:
    value = getattr(evaluation, name, value)
    bounds = evaluation.intervals.get(name)
    return _number(value) + (f" [{bounds[0]:.3f}, {bounds[1]:.3f}]" if bounds and value is not None else "")


def _number(value: float | None) -> str:
    return "not tested" if value is None else f"{value:.3f}"


def _table(head: tuple[str, ...], rows: Sequence[tuple[object, ...]]) -> str:
    lines = ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in (head, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])
