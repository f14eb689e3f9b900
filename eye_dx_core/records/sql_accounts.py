"""Who may work at the desk, in SQLite or PostgreSQL."""

from sqlalchemy import Engine, insert, select, update
from sqlalchemy.exc import IntegrityError

from eye_dx_core.errors import NotFound
from eye_dx_core.records.accounts import User, UserExists
from eye_dx_core.records.audit import AuditEvent
from eye_dx_core.records.engine import database_errors, reading, writing
from eye_dx_core.records.sql_custody import append_audit
from eye_dx_core.records.tables import users
from eye_dx_core.vault import Vault


class SqlAccounts:
    """The part `Accounts` of the port `Records`."""

    _engine: Engine
    _vault: Vault

    def add_user(self, user: User, *, event: AuditEvent) -> None:
        """See the port."""
        with database_errors("records"):
            try:
                with writing(self._engine) as connection:
                    connection.execute(insert(users).values(user_name=user.user_name, sealed=self._vault.seal(user.model_dump_json())))
                    append_audit(connection, event)
            except IntegrityError:
                raise UserExists(f"there is a user {user.user_name} already") from None

    def change_user(self, user: User, *, event: AuditEvent) -> None:
        """See the port."""
        named = users.c.user_name == user.user_name
        with database_errors("records"), writing(self._engine) as connection:
            known = connection.execute(select(users.c.sealed).where(named).with_for_update()).scalar()
            if known is None:
                raise NotFound(f"there is no user {user.user_name}")
            anew = user.in_place_of(User.model_validate_json(self._vault.unseal(known)))
            connection.execute(update(users).where(named).values(sealed=self._vault.seal(anew.model_dump_json())))
            append_audit(connection, event)

    def find_user(self, user_name: str) -> User | None:
        """See the port."""
        with database_errors("records"), reading(self._engine) as connection:
            sealed = connection.execute(select(users.c.sealed).where(users.c.user_name == user_name)).scalar()
        return User.model_validate_json(self._vault.unseal(sealed)) if sealed else None

    def users(self) -> tuple[User, ...]:
        """See the port."""
        with database_errors("records"), reading(self._engine) as connection:
            rows = connection.execute(select(users.c.sealed).order_by(users.c.user_name)).scalars().all()
        return tuple(User.model_validate_json(self._vault.unseal(sealed)) for sealed in rows)
