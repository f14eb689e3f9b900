"""`eye-dx diagnose`: read photographs that lie on this machine."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import track

from eye_dx_cli.showing import console, show_json, show_table
from eye_dx_core import wiring
from eye_dx_core.errors import BadSettings
from eye_dx_core.settings import get_settings

if TYPE_CHECKING:  # torch is for those who read photographs
    from eye_dx_core.inference.diagnosing import ReadPhoto
    from eye_dx_core.inference.predictor import Predictor
    from eye_dx_core.schema.diagnosis import PhotoPrediction

    _Shown = tuple[str, PhotoPrediction, Path | None]

_terminal = Console(stderr=True)


def diagnose(
    photos: Annotated[list[Path], typer.Argument(help="Photographs, or folders of them.")],
    checkpoint: Annotated[Path | None, typer.Option(help="Checkpoint folder; default is the champion.")] = None,
    evidence: Annotated[Path | None, typer.Option(help="Folder for pictures that show where each finding was seen.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,  # noqa: FBT002
) -> None:
    """Read photographs and say what each shows. Exit code 1 when one could not be read; the others still are."""
    from eye_dx_core.inference.diagnosing import predict_photos
    from eye_dx_core.inference.files import list_photo_files, readable
    from eye_dx_core.schema.diagnosis import Outcome

    predictor, files = _predictor(checkpoint), list(list_photo_files(photos))
    if not files:
        raise BadSettings("there are no files in what was named")
    read = predict_photos(files, predictor, photos=wiring.photo_intake(get_settings()))
    if evidence is not None:
        evidence.mkdir(parents=True, exist_ok=True)
    shown: list[_Shown] = []
    for (path, _), one in track(zip(files, read, strict=True), total=len(files), console=_terminal, transient=True, description="reading"):
        picture = _save_evidence(evidence, readable(path), one) if evidence is not None else None
        shown.append((readable(path), one.prediction, picture))
    if as_json:
        show_json([_as_json(*one) for one in shown])
    else:
        _show(shown)
    if any(one.outcome is Outcome.NOT_ASSESSED for _, one, _ in shown):
        raise typer.Exit(1)


def _predictor(checkpoint: Path | None) -> "Predictor":
    settings = get_settings()
    if checkpoint is not None:
        return wiring.open_predictor(checkpoint, settings)
    registry = wiring.open_registry(settings)
    champion = wiring.get_champion(registry)
    if champion.learnt_from_phantoms:
        said = f"Champion {champion.version} was trained on phantoms (drawings): its readings of real photographs mean nothing."
        typer.echo(said, err=True)
    return wiring.load_predictor(registry, champion, settings)


def _save_evidence(folder: Path, name: str, read: "ReadPhoto") -> Path | None:
    """The picture of where a finding was seen; None when nothing was localised."""
    from eye_dx_core.inference.overlay import save_overlay

    if read.prepared is None or read.prediction.evidence is None:
        return None
    picture = folder / f"{read.prediction.photo_id.zfill(5)}_{Path(name).stem}.png"
    save_overlay(read.prepared.square, read.prediction, picture)
    return picture


def _as_json(name: str, one: "PhotoPrediction", picture: Path | None) -> Mapping[str, object]:
    words = {"conclusion_zh": one.conclusion_zh, "conclusion_en": one.conclusion_en}
    return {"photo": name} | words | one.model_dump(mode="json") | ({"evidence_picture": str(picture)} if picture else {})


def _show(shown: "list[_Shown]") -> None:
    columns = ("photo", "eye", "quality", "conclusion", "confidence", "abnormal areas", "why not; notes")
    show_table("Readings (AI, not reviewed)", columns, (_row(name, one) for name, one, _ in shown))
    outcomes = Counter(one.outcome.value.replace("_", " ") for _, one, _ in shown)
    console.print(f"{len(shown)} photographs: " + ", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common()))
    for issue in sorted({issue for _, one, _ in shown if one.quality for issue in one.quality.issues}):
        console.print(f"{issue.value}: {issue.advice_zh} {issue.advice_en}")


def _row(name: str, one: "PhotoPrediction") -> tuple[object, ...]:
    issues = f" ({', '.join(one.quality.issues)})" if one.quality and one.quality.issues else ""
    return (
        Path(name).name,
        one.eye,
        f"{one.quality.level}{issues}" if one.quality else None,
        f"{one.conclusion_zh} / {one.conclusion_en}",
        None if one.confidence is None else f"{one.confidence:.2f}",
        "、".join(area.zone.name_zh for area in one.abnormal_areas) or None,
        ", ".join((*((one.reason,) if one.reason else ()), *one.notes)) or None,
    )


def register(app: typer.Typer) -> None:
    """Add the command to the root command."""
    app.command()(diagnose)
