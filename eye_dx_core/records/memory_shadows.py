"""What a challenger said, in this process."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import datetime
from typing import TYPE_CHECKING

from eye_dx_core.schema.case import Case
from eye_dx_core.schema.shadow import ShadowReading

if TYPE_CHECKING:
    from eye_dx_core.records.memory import HeldCase
    from eye_dx_core.records.port import CaseRecord


class MemoryShadows(ABC):
    """The part `Shadows` of the port `Records`; `MemoryRecords` holds the cases."""

    _lock: AbstractContextManager[object]
    _held: "dict[str, HeldCase]"

    @abstractmethod
    def get_case_record(self, case_id: str) -> "CaseRecord":
        """See the port."""

    def cases_to_shadow(self, *, checkpoint_sha256: str, since: datetime, limit: int) -> tuple[Case, ...]:
        """See the port."""
        with self._lock:
            held = [one for one in self._held.values() if one.diagnosis and one.has_photos and one.case.received_at >= since]
            unread = [one for one in held if checkpoint_sha256 not in one.shadows]
            unread.sort(key=lambda one: (one.case.received_at, one.case.case_id), reverse=True)
            return tuple(self.get_case_record(one.case.case_id).case for one in unread[:limit])

    def add_shadow_reading(self, reading: ShadowReading) -> bool:
        """See the port."""
        with self._lock:
            held = self._held.get(reading.case_id)
            if held is None or held.is_erased or reading.checkpoint_sha256 in held.shadows:
                return False
            held.shadows[reading.checkpoint_sha256] = reading
            return True

    def shadow_readings(self, *, checkpoint_sha256: str) -> "Iterator[tuple[CaseRecord, ShadowReading]]":
        """See the port."""
        with self._lock:
            said = [one.shadows[checkpoint_sha256] for one in self._held.values() if checkpoint_sha256 in one.shadows]
            said.sort(key=lambda one: (one.read_at, one.case_id))
            found = [(self.get_case_record(one.case_id), one) for one in said]
        return iter(found)
