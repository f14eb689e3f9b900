"""What we need of the records to keep, forget and account for what tells of persons; part of the port `Records`."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Protocol

from eye_dx_core.records.audit import AuditEntry, AuditEvent
from eye_dx_core.schema.case import Case


class Custody(Protocol):
    """Each method is one transaction: what it deletes and the audit entry that says so are stored together or not at all."""

    def get_raw_message(self, case_id: str) -> bytes:
        """The message of a case as it came.

        Raises:
            NotFound: there is no such case, or its message was dropped or erased.
        """
        ...

    def find_case_ids(self, *, patient_id: str) -> tuple[str, ...]:
        """The cases of a patient, oldest first."""
        ...

    def find_forgotten(self, case_ids: Sequence[str]) -> frozenset[str]:
        """Those of these cases that came here, and were erased since or lost their patient's identity. A case may name no patient."""
        ...

    def erase_patient(self, patient_id: str, event: AuditEvent) -> tuple[str, ...]:
        """Delete all that is known of a patient, and note it; return the ids of the cases.

        That their messages came stays known, so that a repeat revives nothing.
        """
        ...

    def find_identities_to_forget(self, *, unseen_since: datetime) -> tuple[str, ...]:
        """Ids of patients with an identity, without a screening since then, and with every screening read."""
        ...

    def forget_identity(self, patient_id: str, *, unseen_since: datetime, event: AuditEvent) -> bool:
        """Delete who a patient is, and with it messages, notes and locations of photographs, where names can stand; note it.

        False, and nothing is deleted, when the patient has come again meanwhile, or a screening was not read yet.
        """
        ...

    def cases_with_photos(self, *, before: datetime, limit: int) -> tuple[Case, ...]:
        """Diagnosed cases received before then whose photographs were not deleted, oldest first."""
        ...

    def mark_photos_deleted(self, case_ids: Sequence[str], event: AuditEvent) -> None:
        """Note that the photographs of these cases are deleted; their locations are deleted here."""
        ...

    def drop_raw_messages(self, *, before: datetime, event: AuditEvent) -> int:
        """Delete messages as they came of cases received before then; return how many, and note it if there were any."""
        ...

    def add_audit(self, event: AuditEvent) -> None:
        """Append to the audit log."""
        ...

    def audit(self) -> Iterator[AuditEntry]:
        """The audit log from its first entry on."""
        ...
