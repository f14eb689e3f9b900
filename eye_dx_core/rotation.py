"""Changes the key that seals the records, and seals everything anew."""

from eye_dx_core.queue.sql import SqlQueue
from eye_dx_core.records.audit import AuditEvent
from eye_dx_core.records.sql import SqlRecords
from eye_dx_core.settings import Settings
from eye_dx_core.vault import new_key, read_keys, write_keys
from eye_dx_core.wiring import open_queue, open_records


def rotate_key(settings: Settings, *, event: AuditEvent) -> int:
    """Seal everything with a new key, then drop the old ones; return how many contents were sealed.

    Keys in `EYE_DX_VAULT_KEYS` are yours to change: put a new one first, rotate, then remove the others. A rotation that was
    cut off leaves both keys in place, so everything can still be read, and the next one finishes it.
    """
    if settings.vault_keys is None:
        write_keys(settings.vault_key_path, [new_key(), *read_keys(settings.vault_key_path)])
    queue, records = open_queue(settings), open_records(settings)
    try:
        resealed = sum(part.reseal() for part in (queue, records) if isinstance(part, SqlQueue | SqlRecords))
        records.add_audit(event)
    finally:
        records.close()
        queue.close()
    if settings.vault_keys is None:
        write_keys(settings.vault_key_path, read_keys(settings.vault_key_path)[:1])
    return resealed
