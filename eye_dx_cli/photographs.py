"""Commands on training photographs: phantoms, dataset report, checks."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import ValidationError
from rich.progress import Progress

from eye_dx_cli.showing import console, show_json, show_table
from eye_dx_core.errors import BadSettings
from eye_dx_core.schema.condition import LABEL_SETS, LabelSet
from eye_dx_core.settings import get_settings

if TYPE_CHECKING:  # scipy and numpy are for those who look at photographs
    from eye_dx_core.dataset.checks import Finding

dataset_app = typer.Typer(help="The training photographs.", no_args_is_help=True)
_LABEL_SET_BY_COUNT = {2: "screen", 8: "eight", 12: "twelve", 13: "thirteen"}


def phantoms(
    folder: Annotated[Path, typer.Argument(help="Where to write the class folders.")],
    seed: Annotated[int, typer.Option(help="Equal seeds give equal pictures.")] = 0,
) -> None:
    """Write a phantom dataset: drawn, not photographed. It shows that the platform works, not that a model is good."""
    from eye_dx_core.dataset.phantom_folders import write_phantom_dataset

    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("drawing phantoms", total=None)
        write_phantom_dataset(folder, seed=seed, progress=lambda done, total: progress.update(task, completed=done, total=total))
    console.print(f"phantoms are in {folder}", soft_wrap=True)


@dataset_app.command(name="report")
def dataset_report(
    folder: Annotated[Path | None, typer.Argument(help="Class folders; default is the configured dataset.")] = None,
    label_set: Annotated[str | None, typer.Option(help="eight, twelve, thirteen or screen.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,  # noqa: FBT002
) -> None:
    """Count the photographs by class, say how uneven they are and what that calls for, and list what was refused."""
    from eye_dx_core.dataset.imbalance import analyse_imbalance
    from eye_dx_core.dataset.scanning import scan_photos

    settings = get_settings()
    manifest = scan_photos(folder or settings.training_photos, label_set=label_set_of(label_set or settings.label_set))
    report = analyse_imbalance(manifest.counts)
    if as_json:
        show_json({"imbalance": report.model_dump(mode="json"), "refused": [one.model_dump(mode="json") for one in manifest.refused]})
        return
    show_table("Photographs by class", ("class", "photographs"), manifest.counts.items())
    console.print(f"severity {report.severity}: ratio {report.ratio:.1f}, Gini {report.gini:.2f}, entropy {report.entropy:.2f}")
    console.print(f"recommended: {report.recommendation}")
    if manifest.grade_zero_as_normal:
        console.print(f"[yellow]{manifest.grade_zero_as_normal} grade-0 photographs count as no retinopathy[/yellow]")
    show_table("Refused files", ("file", "reason"), ((one.path, one.reason) for one in manifest.refused))


@dataset_app.command(name="check")
def dataset_check(
    folder: Annotated[Path | None, typer.Argument(help="Class folders; default is the configured dataset.")] = None,
    label_set: Annotated[str | None, typer.Option(help="eight, twelve, thirteen or screen.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,  # noqa: FBT002
) -> None:
    """Look at every claim on the photographs and name what breaks it. Exit code 1 when training would be blocked."""
    findings, paths = _findings(folder, label_set)
    if as_json:
        show_json([one.model_dump(mode="json") | {"stops_training": one.stops_training} for one in findings])
    else:
        show_table("Claims on the photographs", ("claim", "", "offenders", "meaning"), (_claim_row(one) for one in findings))
        for one in findings:
            if not one.holds:
                named = list(one.offenders.items())
                show_table(one.claim, ("photograph", "why"), ((paths.get(key, key), _with_paths(why, paths)) for key, why in named[:20]))
                if len(named) > 20:
                    console.print(f"… and {len(named) - 20} more: --json lists all")
    if any(one.stops_training for one in findings):
        raise typer.Exit(1)


@dataset_app.command(name="waive")
def dataset_waive(
    claim: Annotated[str, typer.Argument(help="Claim, as `eye-dx dataset check` names it.")],
    reason: Annotated[str, typer.Option(help="Why training may go on; it is stored and travels in the checkpoint's card.")],
    by: Annotated[str, typer.Option(help="Who decides.")],
    folder: Annotated[Path | None, typer.Option(help="Class folders; default is the configured dataset.")] = None,
    label_set: Annotated[str | None, typer.Option(help="eight, twelve, thirteen or screen.")] = None,
) -> None:
    """Accept what breaks a blocking claim now. What breaks it later is not covered."""
    from eye_dx_core.dataset.waivers import Waiver, load_waivers, save_waivers

    findings, _ = _findings(folder, label_set)
    found = next((one for one in findings if one.claim == claim), None)
    if found is None or not found.stops_training:
        blocking = ", ".join(one.claim for one in findings if one.stops_training) or "nothing"
        raise BadSettings(f"{claim} does not block training; {blocking} does")
    try:
        waiver = Waiver(claim=claim, reason=reason, by=by, at=datetime.now(UTC), offenders=tuple(found.offenders))
    except ValidationError:
        raise BadSettings("--reason wants at least a few words, and --by a name") from None
    path = get_settings().waivers
    save_waivers((*load_waivers(path), waiver), path)
    console.print(f"{len(found.offenders)} offenders of {claim} are accepted")


def _findings(folder: Path | None, label_set: str | None) -> tuple[tuple["Finding", ...], dict[str, str]]:
    """What the checks find, and where each photograph lies, under the splits that `eye-dx train` makes."""
    from eye_dx_core.dataset.checks import check_dataset
    from eye_dx_core.dataset.scanning import scan_photos
    from eye_dx_core.dataset.splitting import split_by_patient
    from eye_dx_core.dataset.waivers import load_waivers

    settings = get_settings()
    manifest = scan_photos(folder or settings.training_photos, label_set=label_set_of(label_set or settings.label_set))
    findings = check_dataset(manifest, split_by_patient(manifest, seed=0), load_waivers(settings.waivers))
    refused = {f"refused {number}": one.path for number, one in enumerate(manifest.refused)}
    return findings, refused | {row.photo_id: row.path for row in manifest.rows}


def _with_paths(why: str, paths: dict[str, str]) -> str:
    """Photo ids as their paths: whoever sits here has the files before them."""
    return " ".join(paths.get(word, word) for word in why.split(" "))


def _claim_row(finding: "Finding") -> tuple[object, ...]:
    state = "holds" if finding.holds else "waived" if finding.waiver else "BLOCKS" if finding.is_blocking else "warns"
    return finding.claim, state, len(finding.offenders) or None, finding.meaning


def label_set_of(name: str | int) -> LabelSet:
    """A label set by its name, or by how many classes it has.

    Raises:
        BadSettings: there is none of that name or size.
    """
    known = _LABEL_SET_BY_COUNT.get(name) if isinstance(name, int) else name
    if known not in LABEL_SETS:
        raise BadSettings(f"unknown label set {name}: take one of {', '.join(LABEL_SETS)} (8, 12, 13 or 2 classes)")
    return LABEL_SETS[known]


def register(app: typer.Typer) -> None:
    """Add the commands on photographs to the root command."""
    app.command()(phantoms)
    app.add_typer(dataset_app, name="dataset")
