"""`eye-dx backup` and `eye-dx restore`: a copy of what must not be lost, made while everything goes on, and the way back."""

from pathlib import Path
from typing import Annotated

import typer

from eye_dx_cli.records import audit_event
from eye_dx_cli.serving import alone
from eye_dx_cli.showing import console
from eye_dx_core.settings import Settings, get_settings


def backup(
    folder: Annotated[Path, typer.Argument(file_okay=False, help="Folder of the backups; each becomes a folder in it, named by its time.")],
    with_key: Annotated[bool, typer.Option("--with-key", help="Include the vault's key: whoever finds the backup can read it.")] = False,  # noqa: FBT002
) -> None:
    """Back up queue, records, models, pages and settings while everything goes on (SQLite only).

    Not in it: the vault's key (see --with-key), photographs, what is prepared from them, Dagster's history of runs, and object stores.
    It holds patients' data: records and messages are sealed, but delivered pages are not.
    """
    from eye_dx_core.backup.making import make_backup
    from eye_dx_core.backup.parts import kept_elsewhere, load_backup_manifest

    settings = get_settings()
    made = make_backup(settings, folder, event=audit_event("backup", "records", {"with_key": int(with_key)}), with_key=with_key)
    files = load_backup_manifest(made).files.values()
    console.print(f"backed up {len(files)} files, {sum(file.size for file in files) / 1e6:.1f} MB, to {made}", soft_wrap=True)
    console.print("Not in it: photographs, and Dagster's history of runs. Names stand in the open in its pages.", soft_wrap=True)
    for what, place in kept_elsewhere(settings):
        advice = "Let the bucket keep old versions, or copy it elsewhere." if place.startswith("s3://") else "Copy that too."
        console.print(f"Not in it: {what}, in {place}. {advice}", soft_wrap=True)
    if not with_key:
        console.print(
            f"Not in it: the vault's key. Without {_key_place(settings)} nobody can read it; keep that elsewhere.", soft_wrap=True
        )


def restore(
    folder: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="The backup: a folder named by its time.")],
    replace: Annotated[bool, typer.Option("--replace", help="Move what is there aside; nothing is deleted.")] = False,  # noqa: FBT002
) -> None:
    """Put a backup in place. Nothing else may run meanwhile; everything is checked before anything is touched."""
    from eye_dx_core.backup.restoring import restore_backup

    settings = get_settings()
    with alone(settings):
        restored = restore_backup(settings, folder, event=audit_event("restore", "records", {"backup": folder.name}), replace=replace)
    console.print(f"restored the state of {restored.manifest.made_at:%Y-%m-%d %H:%M:%S %Z} ({len(restored.manifest.files)} files)")
    if restored.aside is not None:
        console.print(f"what was there lies in {restored.aside}: it holds patients' data; delete it when it is not needed", soft_wrap=True)
    console.print("Who was erased after the backup was made is back, and has to be erased again.", soft_wrap=True)


def _key_place(settings: Settings) -> str:
    return "the keys in EYE_DX_VAULT_KEYS" if settings.vault_keys is not None else str(settings.vault_key_path)


def register(app: typer.Typer) -> None:
    """Add the commands to the root command."""
    app.command()(backup)
    app.command()(restore)
