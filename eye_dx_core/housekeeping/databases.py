"""Gives back to the disk what deleted rows took in databases of SQLite, which otherwise keep it for later rows."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from eye_dx_core.errors import ServiceUnavailable
from eye_dx_core.schema.frozen import Frozen

WORTH_IT, SMALL = 0.2, 1_000_000
_WAIT_SECONDS = 5


class Compacted(Frozen):
    """What a look at one database came to."""

    was_worth_it: bool
    bytes_freed: int = 0


def compact(database: Path) -> Compacted:
    """Write a database anew without its empty pages, where they are more than a fifth of it, and let it count its rows for its plans.

    Others go on reading; writers wait for the moment it takes.

    Raises:
        ServiceUnavailable: somebody writes, or the disk has no room for a second copy; nothing was changed.
    """
    try:
        # A database of Dagster or MLflow that is not there must not be made by looking.
        address = f"{database.absolute().as_uri()}?mode=rw"
        with closing(sqlite3.connect(address, uri=True, timeout=_WAIT_SECONDS, isolation_level=None)) as connection:
            return _compact(database, connection)
    except sqlite3.Error as error:
        raise ServiceUnavailable(f"{database.name} was not compacted ({error.sqlite_errorname}): the next night tries again") from None


def _compact(database: Path, connection: sqlite3.Connection) -> Compacted:
    pages, empty, size = (int(connection.execute(f"PRAGMA {what}").fetchone()[0]) for what in ("page_count", "freelist_count", "page_size"))
    if pages * size < SMALL or empty < pages * WORTH_IT:
        return Compacted(was_worth_it=False)
    # The copy is written beside the database and then into its log of changes.
    if shutil.disk_usage(database.parent).free < 2 * (pages - empty) * size:
        raise ServiceUnavailable(f"{database.name} was not compacted: the disk has no room for its copies")
    connection.execute("PRAGMA secure_delete = ON")
    connection.execute("VACUUM")
    connection.execute("ANALYZE")
    # Until readers have gone, the log keeps the copy; whoever closes last empties it then.
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    after = int(connection.execute("PRAGMA page_count").fetchone()[0])
    return Compacted(was_worth_it=True, bytes_freed=(pages - after) * size)
