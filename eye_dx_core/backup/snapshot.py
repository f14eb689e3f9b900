"""Copies of SQLite databases that others go on writing."""

import sqlite3
from collections.abc import Generator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from eye_dx_core.errors import ServiceUnavailable

_WAIT_SECONDS = 30


def snapshot_flow(*, queue: Path, records: Path, to_queue: Path, to_records: Path) -> None:
    """Copy queue and records as they were at one moment.

    Two copies made one after the other would lose something, whichever came first. Queue first: a result that is published and
    marked as sent in between is in neither. Records first: a message that is stored and acknowledged in between is in neither.
    So the records are locked for the instant in which both views are taken, the queue's before the records'. While nothing can be
    stored or marked as sent, every message in flight is in at least one of them: a message is acknowledged only after its case is
    stored, and a result is marked as sent only after it is published. What is in both comes again as a repeat, which the records,
    and whoever receives our results, know by its id. The copying itself holds nobody up.
    """
    with ExitStack() as stack:
        lock, queue_view, records_view = (stack.enter_context(_opened(path)) for path in (records, queue, records))
        lock.execute("BEGIN IMMEDIATE")
        for view in (queue_view, records_view):
            _hold_view(view)
        lock.rollback()
        _write(queue_view, to_queue)
        _write(records_view, to_records)


def snapshot(source: Path, to: Path) -> None:
    """Copy one database as it is at one moment."""
    with _opened(source) as view:
        _hold_view(view)
        _write(view, to)


def is_sound(database: Path) -> bool:
    """Whether SQLite itself finds nothing wrong with a database."""
    try:
        with _opened(database) as connection:
            return connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    except ServiceUnavailable:
        return False


def artifact_places(models: Path) -> tuple[str, ...]:
    """Where MLflow's database says that the experiments keep their files which have any run or model."""
    used = "SELECT experiment_id FROM runs UNION SELECT experiment_id FROM logged_models"
    with _opened(models) as connection:
        rows = connection.execute(f"SELECT DISTINCT artifact_location FROM experiments WHERE experiment_id IN ({used})")  # noqa: S608
        return tuple(str(place) for (place,) in rows)


def move_artifacts(models: Path, *, before: str, now: str) -> None:
    """Tell MLflow's database that the files it names lie elsewhere; it keeps the whole address of each."""
    columns = (
        ("experiments", "artifact_location"),
        ("runs", "artifact_uri"),
        ("logged_models", "artifact_location"),
        ("model_versions", "storage_location"),
    )
    with _opened(models) as connection:
        connection.execute("BEGIN IMMEDIATE")
        for table, column in columns:
            # With the slash: a folder beside this one may begin with its name.
            held = f"substr({column} || '/', 1, :length + 1) = :before || '/'"
            moved = f"UPDATE {table} SET {column} = :now || substr({column}, :length + 1) WHERE {held}"  # noqa: S608
            connection.execute(moved, {"now": now, "before": before, "length": len(before)})
        connection.commit()


@contextmanager
def _opened(path: Path) -> Generator[sqlite3.Connection]:
    """A connection that never makes a database, and opens transactions only when told to."""
    try:
        with closing(
            sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=_WAIT_SECONDS, isolation_level=None)
        ) as opened:
            yield opened
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            raise ServiceUnavailable(f"no space is left on the disk for {path.name}") from None
        raise ServiceUnavailable(f"the database {path.name} did not answer ({type(error).__name__})") from None


def _hold_view(connection: sqlite3.Connection) -> None:
    """From the first read on, a transaction sees what it saw then, whatever others write."""
    connection.execute("BEGIN")
    connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()


def _write(view: sqlite3.Connection, to: Path) -> None:
    """SQLite's own backup, in one go, into a file that stands alone: without a log of changes beside it."""
    to.touch(mode=0o600)
    with _opened(to) as copy:
        view.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")
    view.rollback()
