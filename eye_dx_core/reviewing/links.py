"""Links by which a patient opens the own report: a secret that says nothing, of which only a hash is kept."""

import hashlib
import secrets
from datetime import datetime, timedelta

from eye_dx_core.errors import NotFound
from eye_dx_core.records.audit import AuditEvent
from eye_dx_core.records.desk import PatientLink
from eye_dx_core.records.port import Records


def make_link(records: Records, case_id: str, *, valid: timedelta, now: datetime, event: AuditEvent) -> str:
    """Make a link to the report of a case; return the token that opens it. It is kept nowhere.

    Raises:
        NotFound: there is no such case, or it has no report yet.
    """
    token = secrets.token_urlsafe(32)
    records.add_link(PatientLink(token_sha256=_hash(token), case_id=case_id, made_at=now, expires_at=now + valid), event=event)
    return token


def open_link(records: Records, token: str, *, now: datetime) -> str:
    """The case whose report a token opens.

    Raises:
        NotFound: there is no such link, or it is over; the text does not say which.
    """
    link = records.find_link(_hash(token))
    if link is None or link.revoked_at is not None or link.expires_at <= now:
        raise NotFound("this link opens nothing (any more)")
    return link.case_id


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
