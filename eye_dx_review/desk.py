"""What the desk works with, given by whoever starts it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from eye_dx_core.casework import ReportOutlet
from eye_dx_core.inference.intake import PhotoIntake
from eye_dx_core.records.audit import AuditEvent
from eye_dx_core.records.port import Records


@dataclass(frozen=True)
class Desk:
    """Ports and the clinic's choices."""

    records: Records
    photos: PhotoIntake
    reports: ReportOutlet
    """Where the pages of reports lie, and how they are made."""
    cookie_key: bytes = field(repr=False)
    now: Callable[[], datetime]
    lease: timedelta = timedelta(minutes=10)
    idle: timedelta = timedelta(minutes=30)
    link_valid: timedelta = timedelta(days=30)
    is_blind_first: bool = False
    needs_two: bool = False
    is_https: bool = False
    dagster: str = ""
    mlflow: str = ""
    """Addresses of the two UIs, for links."""

    @property
    def timezone(self) -> ZoneInfo:
        """Of the clinic."""
        return self.reports.timezone

    def event(self, actor: str, action: str, subject: str, **details: int | str) -> AuditEvent:
        """What somebody does, for the audit log."""
        return AuditEvent(at=self.now(), actor=actor, action=action, subject=subject, details=details)
