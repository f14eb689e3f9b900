"""Makes a backup while the installation goes on."""

import fcntl
import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from eye_dx_core import wiring
from eye_dx_core.backup import snapshot
from eye_dx_core.backup.parts import (
    ARTIFACTS,
    KEY,
    MANIFEST,
    MODELS,
    PARTS,
    QUEUE,
    RECORDS,
    BackupManifest,
    databases,
    disk_errors,
    files_and_folders,
    files_under,
    own_artifacts,
    stored_file,
    time_stamp,
)
from eye_dx_core.errors import BadSettings, NotFound
from eye_dx_core.records.audit import AuditEvent
from eye_dx_core.settings import Settings

_DRAFT = ".draft-"


def make_backup(settings: Settings, folder: Path, *, event: AuditEvent, with_key: bool) -> Path:
    """Make a backup in a new folder named by the event's time, for its owner's eyes only; return that folder.

    It is written under another name and renamed when it is whole, so what looks like a backup is one. The databases come first
    (see `snapshot_flow`), then the files: whatever a database names was written before it was named. Records and queued messages
    are sealed, and the key is left out unless it is asked for; delivered pages hold names in the open. Photographs, what can be made
    again from them, Dagster's history of runs, and what lies in an object store are not part of it.

    Raises:
        BadSettings: a database is not in SQLite, or the key is asked for and is not in a file.
        NotFound: there are no records to back up.
    """
    named = databases(settings)
    if not named[RECORDS].is_file():
        raise NotFound(f"there are no records at {named[RECORDS]}: is EYE_DX_STATE_DIR right?")
    if with_key and settings.vault_keys is not None:
        raise BadSettings("the vault's keys are in EYE_DX_VAULT_KEYS, not in a file: keep them yourself")
    with disk_errors(), _alone_in(folder):
        whole = folder / time_stamp(event.at)
        if whole.exists():
            raise BadSettings(f"there is a backup of this second already: {whole}")
        _note(settings, event)
        draft = folder / f"{_DRAFT}{whole.name}"
        draft.mkdir(mode=0o700)
        try:
            _fill(draft, settings, named, with_key=with_key)
            _write_manifest(draft, artifacts_uri=files_and_folders(settings)[ARTIFACTS].as_uri(), at=event.at)
            _flush_to_disk(draft)
            return draft.rename(whole)
        finally:
            shutil.rmtree(draft, ignore_errors=True)  # nothing is left of it when all went well


@contextmanager
def _alone_in(folder: Path) -> Generator[None]:
    """Hold the folder; drafts that are found then are those of backups that were cut off, and go."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BadSettings(f"another backup is being written to {folder}") from None
        for draft in folder.glob(f"{_DRAFT}*"):
            shutil.rmtree(draft)
        yield


def _note(settings: Settings, event: AuditEvent) -> None:
    """Write to the audit log before the copy, which so tells of itself; opening both also brings their schema up to date."""
    wiring.open_queue(settings).close()
    records = wiring.open_records(settings)
    records.add_audit(event)
    records.close()


def _fill(draft: Path, settings: Settings, named: dict[str, Path], *, with_key: bool) -> None:
    for part in named:
        (draft / part).parent.mkdir(parents=True, exist_ok=True)
    snapshot.snapshot_flow(queue=named[QUEUE], records=named[RECORDS], to_queue=draft / QUEUE, to_records=draft / RECORDS)
    if named[MODELS].is_file():
        snapshot.snapshot(named[MODELS], draft / MODELS)
    for part, place in files_and_folders(settings).items():
        _copy_part(place, draft / part)
    _add_earlier_artifacts(draft, own=own_artifacts(settings), now=files_and_folders(settings)[ARTIFACTS])
    if with_key:
        _copy_part(settings.vault_key_path, draft / KEY)


def _add_earlier_artifacts(draft: Path, *, own: Path, now: Path) -> None:
    """Lay what was registered before another folder was named beside the rest, and name it so.

    Nothing meets there: MLflow gives each run and model a folder of its own.
    """
    if own == now:
        return
    _copy_part(own, draft / ARTIFACTS)
    if (draft / MODELS).exists():
        snapshot.move_artifacts(draft / MODELS, before=own.as_uri(), now=now.as_uri())


def _copy_part(place: Path, to: Path) -> None:
    for path in files_under(place):
        target = to / path.relative_to(place) if path != place else to
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch(mode=0o600)
        try:
            shutil.copyfile(path, target)
        except FileNotFoundError:  # erased, or given its final name, since it was listed
            target.unlink()


def _write_manifest(draft: Path, *, artifacts_uri: str, at: datetime) -> None:
    files = {path.relative_to(draft).as_posix(): stored_file(path) for path in files_under(draft)}
    present = tuple(part for part in PARTS if (draft / part).exists())
    manifest = BackupManifest(eye_dx_version=version("eye-dx"), made_at=at, parts=present, artifacts_uri=artifacts_uri, files=files)
    (draft / MANIFEST).touch(mode=0o600)
    (draft / MANIFEST).write_text(manifest.model_dump_json(indent=1), encoding="utf-8")


def _flush_to_disk(draft: Path) -> None:
    """A power cut after the renaming must not leave a folder that looks whole."""
    for path in (draft, *draft.rglob("*")):
        opened = os.open(path, os.O_RDONLY)
        os.fsync(opened)
        os.close(opened)
