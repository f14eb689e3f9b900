"""Who did what to the records: entries that each hold the hash of the one before, so that none can be changed unseen."""

import hashlib
import json
from collections.abc import Iterable

from pydantic import AwareDatetime

from eye_dx_core.errors import EyeDxError
from eye_dx_core.schema.frozen import Frozen

GENESIS = "0" * 64


class AuditEvent(Frozen):
    """What somebody did. `subject` is an opaque id; `details` counts and gives reasons, and names nobody."""

    at: AwareDatetime
    actor: str
    action: str
    subject: str
    details: dict[str, int | str] = {}


class AuditEntry(AuditEvent):
    """An event in its place: `entry_hash` is the SHA-256 of everything else here, the hash before it included."""

    position: int
    previous_hash: str
    entry_hash: str


class BrokenAudit(EyeDxError):
    """The audit log was changed from outside; the text names the first entry that does not fit."""


def chain(event: AuditEvent, *, position: int, previous_hash: str) -> AuditEntry:
    """The event as the entry at a position (counted from 1), after the entry with that hash."""
    entry_hash = _hash_of(event, position, previous_hash)
    return AuditEntry(**event.model_dump(), position=position, previous_hash=previous_hash, entry_hash=entry_hash)


def verify_chain(entries: Iterable[AuditEntry]) -> tuple[int, str]:
    """Number of entries and the last hash. Who keeps that hash elsewhere can also tell whether the end was cut off.

    Raises:
        BrokenAudit: an entry was changed, put in or taken out.
    """
    count, last = 0, GENESIS
    for count, entry in enumerate(entries, start=1):
        if (entry.position, entry.previous_hash) != (count, last) or entry.entry_hash != _hash_of(entry, count, last):
            raise BrokenAudit(f"the audit log was changed at or before entry {entry.position} ({entry.action}, {entry.at:%Y-%m-%d})")
        last = entry.entry_hash
    return count, last


def pseudonym(patient_id: str) -> str:
    """How the log names a patient: who knows the id can find the entry. It is no secret: ids can be tried out."""
    return "patient:" + hashlib.sha256(patient_id.encode()).hexdigest()[:32]


def _hash_of(event: AuditEvent, position: int, previous_hash: str) -> str:
    content = [position, previous_hash, event.at.timestamp(), event.actor, event.action, event.subject, event.details]
    return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
