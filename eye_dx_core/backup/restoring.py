"""Puts a backup in the place of what is there, after everything about it was checked."""

import shutil
from pathlib import Path

from eye_dx_core import wiring
from eye_dx_core.backup import snapshot
from eye_dx_core.backup.parts import (
    ARTIFACTS,
    DAYS,
    KEY,
    MODELS,
    PAGES,
    BackupManifest,
    BrokenBackup,
    databases,
    disk_errors,
    files_and_folders,
    load_backup_manifest,
    stored_file,
    time_stamp,
)
from eye_dx_core.errors import BadSettings
from eye_dx_core.records.audit import AuditEvent
from eye_dx_core.schema.frozen import Frozen
from eye_dx_core.settings import Settings


class Restored(Frozen):
    """What was put in place, and where that lies which was there before."""

    manifest: BackupManifest
    aside: Path | None


def restore_backup(settings: Settings, backup: Path, *, event: AuditEvent, replace: bool) -> Restored:
    """Put a backup in place; nothing else may run meanwhile.

    Nothing is touched before every file was found as it was stored, SQLite finds the databases sound and the vault's key opens the
    records. What is in the way is moved aside and never deleted. When this is cut off while it moves, do it again with `replace`.

    Raises:
        BrokenBackup: the backup is not whole, or was changed.
        BadSettings: there are records and they are not to be replaced, the vault's key is missing or another one, or pages of the backup
            are to lie in an object store now.
    """
    manifest, in_the_way = load_backup_manifest(backup), [place for place in databases(settings).values() if place.exists()]
    if in_the_way and not replace:
        raise BadSettings(f"there are records or models already ({in_the_way[0]}): --replace moves them aside, and deletes nothing")
    _refuse_stores(settings, manifest)
    stage = settings.state / ".restoring"
    shutil.rmtree(stage, ignore_errors=True)  # of one that was cut off
    try:
        with disk_errors():
            _stage_checked(backup, manifest, stage)
            _prove_key(settings, stage)
            if (stage / MODELS).exists() and manifest.has_artifact_folder:
                now = files_and_folders(settings)[ARTIFACTS].as_uri()
                snapshot.move_artifacts(stage / MODELS, before=manifest.artifacts_uri, now=now)
            aside = _swap(_places(settings, manifest, stage), stage, settings.state / f"before-restore-{time_stamp(event.at)}")
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    records = wiring.open_records(settings)
    records.add_audit(event)
    records.close()
    return Restored(manifest=manifest, aside=aside)


def _refuse_stores(settings: Settings, manifest: BackupManifest) -> None:
    """Pages that this backup holds, and that lie in an object store now, would be put where nobody reads or erases them.

    MLflow's files may lie here all the same: its database, which comes with them, says so of each.
    """
    if settings.files_url is not None and {PAGES, DAYS} & set(manifest.parts):
        raise BadSettings("this backup holds files that EYE_DX_FILES_URL would keep in an object store: unset it to restore them here")


def _stage_checked(backup: Path, manifest: BackupManifest, stage: Path) -> None:
    """Copy the files beside the installation; what is checked is the copy, so nothing can change after the check."""
    stage.mkdir(mode=0o700, parents=True)
    for name, expected in manifest.files.items():
        copy = stage / name
        for folder in reversed(copy.relative_to(stage).parents[:-1]):
            (stage / folder).mkdir(mode=0o700, exist_ok=True)
        copy.touch(mode=0o600)
        try:
            shutil.copyfile(backup / name, copy)
        except FileNotFoundError:
            raise BrokenBackup(f"{name} is missing from the backup") from None
        if stored_file(copy) != expected:
            raise BrokenBackup(f"{name} was changed since the backup was made")
        if name.endswith(".db") and not snapshot.is_sound(copy):
            raise BrokenBackup(f"{name} is no sound database")


def _prove_key(settings: Settings, stage: Path) -> None:
    """Open the copy of the records with the key that will be there."""
    key_file = settings.vault_key_path
    if (stage / KEY).exists():
        key_file = stage / KEY
        key_file.chmod(0o600)
    if settings.vault_keys is None and not key_file.exists():
        raise BadSettings(f"the vault's key is not in this backup: put it to {key_file} first, chmod 600")
    staged = settings.model_copy(update={"state_dir": stage, "records_url": None, "vault_key_file": key_file})
    try:
        wiring.open_records(staged).close()
    except BadSettings as error:
        named = "EYE_DX_VAULT_KEYS" if settings.vault_keys is not None else str(key_file)
        raise BadSettings(f"the key in {named} does not open this backup's records ({error})") from None


def _places(settings: Settings, manifest: BackupManifest, stage: Path) -> dict[str, Path]:
    """Where each part goes. Weights that an older program left out may be needed still, so they stay where they are."""
    places = databases(settings) | files_and_folders(settings)
    if not manifest.has_artifact_folder:
        del places[ARTIFACTS]
    return places | ({KEY: settings.vault_key_path} if (stage / KEY).exists() else {})


def _swap(places: dict[str, Path], stage: Path, aside: Path) -> Path | None:
    """Move what is there aside and the checked copies into its place, one part after the other; where the old now lies."""
    for part, place in places.items():
        # SQLite would read a log that is left beside a database into it.
        for suffix in ("", "-wal", "-shm"):
            _move(place.with_name(place.name + suffix), aside / (part + suffix))
        _move(stage / part, place)
    return aside if aside.exists() else None


def _move(source: Path, to: Path) -> None:
    if source.exists():
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(source, to)
