"""Changes the key that seals the records, and seals everything anew."""

from eye_dx_core.errors import BadSettings
from eye_dx_core.queue.sql import SqlQueue
from eye_dx_core.records.audit import AuditEvent
from eye_dx_core.records.sql import SqlRecords
from eye_dx_core.settings import Settings
from eye_dx_core.vault import new_key, read_keys, write_keys
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
        BadSettings: the keys are in `EYE_DX_VAULT_KEYS`, where only you can drop them.
    """
    if settings.vault_keys is not None:
        raise BadSettings("the keys are in EYE_DX_VAULT_KEYS: remove the old ones there")
    resealed = _reseal(settings, event)
    write_keys(settings.vault_key_path, read_keys(settings.vault_key_path)[:1])
    return resealed


def _reseal(settings: Settings, event: AuditEvent) -> int:
    queue, records = open_queue(settings), open_records(settings)
    try:
        resealed = sum(part.reseal() for part in (queue, records) if isinstance(part, SqlQueue | SqlRecords))
        records.add_audit(event)
    finally:
        records.close()
        queue.close()
    return resealed
