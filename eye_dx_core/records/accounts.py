"""Who may work at the desk; part of the port `Records`."""

from enum import StrEnum
from typing import Protocol

from pydantic import AwareDatetime, Field

from eye_dx_core.errors import EyeDxError
from eye_dx_core.records.audit import AuditEvent
from eye_dx_core.schema.frozen import Frozen


class Role(StrEnum):
    """What somebody may do.

    Doctors review and sign; screeners see the list and the quality; auditors read everything and the audit log, and change
    nothing; admins manage users and links and see no patient.
    """

    DOCTOR = "doctor"
    SCREENER = "screener"
    AUDITOR = "auditor"
    ADMIN = "admin"


class User(Frozen):
    """Somebody who may log in. `session_epoch` grows when sessions must end: a new password, a new role, blocked."""

    user_name: str = Field(pattern=r"^[a-z][a-z0-9._-]{1,63}$")
    display_name: str = Field(min_length=1, max_length=64, repr=False)
    """As it stands in reports: 唐医生."""
    role: Role
    password_hash: str = Field(repr=False)
    """argon2id, in its own notation."""
    session_epoch: int = Field(default=1, ge=1)
    is_blocked: bool = False
    added_at: AwareDatetime

    def in_place_of(self, known: "User") -> "User":
        """This user, with the sessions of the one before ended."""
        return self.model_copy(update={"session_epoch": known.session_epoch + 1})


class UserExists(EyeDxError):
    """There is a user of that name already."""


class Accounts(Protocol):
    """Each method is one transaction with its audit entry."""

    def add_user(self, user: User, *, event: AuditEvent) -> None:
        """Add a user.

        Raises:
            UserExists: the name is taken.
        """
        ...

    def change_user(self, user: User, *, event: AuditEvent) -> None:
        """Put a user in the place of the one of that name, and end that one's sessions.

        Raises:
            NotFound: there is no such user.
        """
        ...

    def find_user(self, user_name: str) -> User | None:
        """The user of that name, or None."""
        ...

    def users(self) -> tuple[User, ...]:
        """All users by name."""
        ...
