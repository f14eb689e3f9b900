"""Brings a database to the present schema, once, however many processes start together."""

from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text

from eye_dx_core.errors import BadSettings
from eye_dx_core.records.engine import one_at_a_time, reading, writing
from eye_dx_core.vault import Vault

# The newest revision under migrations/versions. A test compares it with what is there.
HEAD = "0007"


def upgrade_schema(engine: Engine, vault: Vault) -> None:
    """Run the missing migrations; a quick look when there are none. The vault seals what older schemas held open.

    Raises:
        BadSettings: a newer program has upgraded these records; nothing was changed.
    """
    if _is_current(engine):
        return
    with one_at_a_time(engine, "schema"):
        if not _is_current(engine):
            with writing(engine) as connection:
                run_migrations(connection, vault)


def _is_current(engine: Engine) -> bool:
    with reading(engine) as connection:
        found = find_revision(connection)
    if found is not None and found > HEAD:
        raise BadSettings(
            f"the records have schema {found}, newer than this program, which knows schemas up to {HEAD}:"
            " run the newer program, or put back the backup that was made before the upgrade"
        )
    return found == HEAD


def find_revision(connection: Connection) -> str | None:
    """The revision that the database has; None for one without a schema."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def run_migrations(connection: Connection, vault: Vault, *, to: str = HEAD) -> None:
    """Bring the schema to a revision."""
    # Only here: Alembic takes longer to import than a current schema takes to check.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes |= {"connection": connection, "vault": vault}
    command.upgrade(config, to)
