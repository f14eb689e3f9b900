"""Changes the key that seals the records, and seals everything anew."""

from pathlib import Path

from eye_dx_core.errors import BadSettings, ServiceUnavailable
from eye_dx_core.queue.sql import SqlQueue
from eye_dx_core.records.audit import AuditEvent
from eye_dx_core.records.sql import SqlRecords
from eye_dx_core.records.sql_custody import needs_old_key
from eye_dx_core.settings import Settings
from eye_dx_core.vault import Vault, new_key, read_keys, write_keys
from eye_dx_core.wiring import open_queue, open_records


def rotate_key(settings: Settings, *, event: AuditEvent) -> int:
    """Seal everything with a new key; return how many contents were sealed. The old keys stay, for who still seals with them.

    Keys in `EYE_DX_VAULT_KEYS` are yours to change: put a new one first, then rotate. A rotation that was cut off leaves everything
    readable, and the next one finishes it.
    """
    if settings.vault_keys is None:
        write_keys(settings.vault_key_path, [new_key(), *read_keys(settings.vault_key_path)])
    return _reseal(settings, event)


def forget_old_keys(settings: Settings, *, event: AuditEvent) -> int:
    """Seal with the first key what others sealed meanwhile, then drop the others from the key file; backups made before need them.

    Raises:
        BadSettings: the keys are in `EYE_DX_VAULT_KEYS`, where only you can drop them; or another database of this state folder needs,
            or may need, an old key. Then nothing was changed.
    """
    if settings.vault_keys is not None:
        raise BadSettings("the keys are in EYE_DX_VAULT_KEYS: remove the old ones there, once every database that they seal was rotated")
    first, *old = read_keys(settings.vault_key_path)
    if old:
        _refuse_to_strand_files(settings, new=Vault([first]), old=Vault(old))
        _refuse_to_strand_cluster(settings)
    resealed = _reseal(settings, event)
    write_keys(settings.vault_key_path, [first])
    return resealed


def _refuse_to_strand_files(settings: Settings, *, new: Vault, old: Vault) -> None:
    """`make up` and `make cluster` share a key file, and only one of them is what these settings name."""
    named = {settings.queue_address, settings.records_address}
    others = [file for file in (settings.data / "records.db", settings.data / "queue.db") if f"sqlite:///{file}" not in named]
    stranded = [str(file) for file in others if file.is_file() and _needs(file, new=new, old=old)]
    if stranded:
        raise BadSettings(
            f"no key was dropped: an old one is needed for {' and '.join(stranded)}, which these settings do not name. Run `eye-dx vault"
            " rotate` without EYE_DX_RECORDS_URL and EYE_DX_QUEUE_URL, then this again as now; or move away what nobody needs any more"
        )


def _refuse_to_strand_cluster(settings: Settings) -> None:
    """Where the cluster's database is, only its variables say."""
    instance = settings.state / "dagster_home" / "cluster" / "dagster.yaml"
    if instance.exists() and not settings.records_address.startswith("postgresql"):
        raise BadSettings(
            "no key was dropped: `make cluster` has run on this state folder, and its records may need an old one. Run this again with"
            f" its EYE_DX_RECORDS_URL and EYE_DX_QUEUE_URL; or, if they are not needed any more, delete {instance.parent}"
        )


def _needs(database: Path, *, new: Vault, old: Vault) -> bool:
    try:
        return needs_old_key(database, new=new, old=old)
    except ServiceUnavailable as error:
        raise BadSettings(f"no key was dropped: whether {database} needs an old one cannot be seen, as {error}") from None


def _reseal(settings: Settings, event: AuditEvent) -> int:
    queue, records = open_queue(settings), open_records(settings)
    try:
        resealed = sum(part.reseal() for part in (queue, records) if isinstance(part, SqlQueue | SqlRecords))
        records.add_audit(event)
    finally:
        records.close()
        queue.close()
    return resealed
