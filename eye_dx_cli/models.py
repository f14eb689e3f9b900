"""`eye-dx registry`: which versions there are, which is trusted, and the acts of trusting and taking back."""

from typing import Annotated

import typer

from eye_dx_cli.showing import console, show_json, show_table
from eye_dx_core import wiring
from eye_dx_core.registry.port import TRAINED_ON
from eye_dx_core.settings import get_settings

app = typer.Typer(help="List, promote, roll back and compare model versions.", no_args_is_help=True)

Reason = Annotated[str, typer.Option(help="Why; kept with the version.")]
By = Annotated[str, typer.Option(help="Who decided.")]


@app.command(name="list")
def list_versions(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:  # noqa: FBT002
    """Show all versions, newest first."""
    versions = wiring.open_registry(get_settings()).versions()
    if as_json:
        show_json([one.model_dump(mode="json") for one in versions])
        return
    rows = (
        (
            one.version,
            ", ".join(one.aliases),
            one.tags.get(TRAINED_ON),
            f"{one.metrics.get('balanced_accuracy', float('nan')):.3f}",
            one.checkpoint_sha256[:12],
        )
        for one in versions
    )
    show_table("Model versions", ("version", "aliases", "trained on", "balanced accuracy", "weights"), rows)


@app.command()
def promote(
    reason: Reason, by: By, version: Annotated[str | None, typer.Argument(help="Version; default is the candidate.")] = None
) -> None:
    """Make a version the champion, if the promotion rule allows it (exit code 1 and the reason if not)."""
    from eye_dx_core.registry import promotion

    promoted = promotion.promote(wiring.open_registry(get_settings()), version, reason=reason, by=by)
    console.print(f"version {promoted.version.version} is champion: {promoted.decision.reason}")


@app.command()
def challenge(
    reason: Reason, by: By, version: Annotated[str | None, typer.Argument(help="Version; default is the candidate.")] = None
) -> None:
    """Let a version read beside the champion, silently; EYE_DX_SHADOW=true switches it on, the asset shadow_report compares."""
    from eye_dx_core.registry import promotion

    settings = get_settings()
    challenger = promotion.challenge(wiring.open_registry(settings), version, reason=reason, by=by)
    hint = "" if settings.shadow else "; it reads nothing until EYE_DX_SHADOW=true"
    console.print(f"version {challenger.version} is the challenger{hint}")


@app.command()
def end_challenge(reason: Reason, by: By) -> None:
    """Let the challenger read no more; what it has read is kept."""
    from eye_dx_core.registry import promotion

    version = promotion.end_challenge(wiring.open_registry(get_settings()), reason=reason, by=by)
    console.print(f"version {version.version} is no challenger any more")


@app.command()
def rollback(reason: Reason, by: By) -> None:
    """Give the alias champion back to the version that had it before."""
    from eye_dx_core.registry import promotion

    version = promotion.rollback(wiring.open_registry(get_settings()), reason=reason, by=by)
    console.print(f"version {version.version} is champion again")
