"""What we need of the records for shadow mode: what a challenger may still read, and what it said; part of the port `Records`."""

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from eye_dx_core.schema.case import Case
from eye_dx_core.schema.shadow import ShadowReading

if TYPE_CHECKING:  # the port is made of this part of it
    from eye_dx_core.records.port import CaseRecord


class Shadows(Protocol):
    """Shadow readings lie apart from all else that is known of a case: no `CaseRecord` holds one.

    They go with their patient, when it is erased and when its identity is forgotten.
    """

    def cases_to_shadow(self, *, checkpoint_sha256: str, since: datetime, limit: int) -> tuple[Case, ...]:
        """Cases received since then that the champion has read and this checkpoint has not, the newest first.

        Those whose photographs were deleted are left out.
        """
        ...

    def add_shadow_reading(self, reading: ShadowReading) -> bool:
        """Store a challenger's word; False when this checkpoint has said something of the case already, or the case is gone."""
        ...

    def shadow_readings(self, *, checkpoint_sha256: str) -> "Iterator[tuple[CaseRecord, ShadowReading]]":
        """What this checkpoint said, with all that is known of each case, in the order in which it was said."""
        ...
