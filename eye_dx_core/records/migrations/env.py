"""Alembic's entry: the connection is given by `records.migrating`."""

from alembic import context

from eye_dx_core.records.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
