"""How we open a database: durable, with short waits, and with errors that carry no values."""

import fcntl
import logging
import math
import re
import sqlite3
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Literal

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import DataError, DBAPIError, SQLAlchemyError
from sqlalchemy.schema import CreateSchema

from eye_dx_core.errors import ServiceUnavailable, Unstorable

_log = logging.getLogger(__name__)
_WRITE = "eye_dx_write"
_WAIT_SECONDS = 15
# A file that is opened needs its index of the log, a few kB beside it, before anything can be read.
_SQLITE_FULL = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE)
_POSTGRES_FULL = "53100"
# What PostgreSQL says to somebody who may not come in; the driver gives no code for it. In another language it stays "did not answer".
_REFUSALS = (
    (re.compile(r'database "[^"]*" does not exist'), "there is no database of that name, createdb makes one"),
    (
        re.compile(r'password authentication failed|no password supplied|role "[^"]*" does not exist'),
        "this user or its password is refused",
    ),
    (re.compile(r"pg_hba\.conf"), "this host may not come in, or only over TLS, see pg_hba.conf"),
    (re.compile(r"permission denied"), "the database must belong to this user, createdb --owner makes it so"),
)
# Numbers of PostgreSQL's advisory locks; any that nobody else uses.
_LOCK_NUMBERS = {"schema": 7_302_211, "registry": 7_302_212}


def open_engine(url: str) -> Engine:
    """Build an engine for SQLite (WAL, full sync, foreign keys) or PostgreSQL; it connects on first use."""
    if not url.startswith("sqlite"):
        return create_engine(url, hide_parameters=True, pool_pre_ping=True, connect_args={"connect_timeout": 5})
    engine = create_engine(url, hide_parameters=True, connect_args={"timeout": _WAIT_SECONDS})
    _make_for_owner_only(engine)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _make_for_owner_only(engine: Engine) -> None:
    """Make a new file before SQLite does, which would let others read it; the files of its log take the mode of this one."""
    if engine.url.database not in (None, "", ":memory:"):
        with suppress(OSError):  # it is there, or SQLite will say what is wrong
            Path(str(engine.url.database)).touch(mode=0o600, exist_ok=False)


@contextmanager
def writing(engine: Engine) -> Generator[Connection]:
    """One write transaction; on SQLite it takes the write lock at once, so two writers wait instead of failing later."""
    with engine.connect().execution_options(**{_WRITE: True}) as connection, connection.begin():
        yield connection


@contextmanager
def reading(engine: Engine) -> Generator[Connection]:
    """One consistent read."""
    with engine.connect() as connection, connection.begin():
        yield connection


@contextmanager
def one_at_a_time(engine: Engine, what: Literal["schema", "registry"], *, seconds: float = math.inf) -> Generator[None]:
    """A lock that dies with its holder, on a file beside SQLite's or PostgreSQL's advisory one; after so long it goes on without.

    Raises:
        ServiceUnavailable: the file cannot be opened.
    """
    if engine.dialect.name == "postgresql":
        number = {"number": _LOCK_NUMBERS[what]}
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            is_ours = _wait(lambda: bool(connection.execute(text("SELECT pg_try_advisory_lock(:number)"), number).scalar()), seconds)
            try:
                yield
            finally:
                if is_ours:
                    connection.execute(text("SELECT pg_advisory_unlock(:number)"), number)
        return
    database = engine.url.database
    if not database or database == ":memory:":
        yield
        return
    with _lock_file(Path(f"{database}.{what}.lock")) as lock:
        _wait(lambda: _flock(lock), seconds)
        yield


def _lock_file(path: Path) -> IO[str]:
    try:
        return path.open("w")
    except OSError as error:
        raise ServiceUnavailable(f"the lock {path.name} cannot be opened ({error.strerror})") from None


def _flock(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _wait(take: Callable[[], bool], seconds: float) -> bool:
    until = time.monotonic() + seconds
    while not take():
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
    return True


@contextmanager
def database_errors(what: str) -> Generator[None]:
    """Turn the database's errors into ours, without its text: that may hold addresses, passwords and values."""
    try:
        yield
    except DataError:
        raise Unstorable(f"the {what} cannot hold one of the values") from None
    except DBAPIError as error:
        if _is_disk_full(error.orig):
            raise ServiceUnavailable(f"no space is left on the disk of the {what}") from None
        refusal = next((ours for theirs, ours in _REFUSALS if theirs.search(str(error.orig))), None)
        said = f"cannot be used: {refusal}" if refusal else f"did not answer ({type(error.orig).__name__})"
        raise ServiceUnavailable(f"the {what} {said}") from None
    except SQLAlchemyError as error:
        raise ServiceUnavailable(f"the {what} did not answer ({type(error).__name__})") from None


def _is_disk_full(error: BaseException | None) -> bool:
    """SQLite and PostgreSQL each have a code for it; what they say beside it is not repeated."""
    return getattr(error, "sqlite_errorcode", None) in _SQLITE_FULL or getattr(error, "sqlstate", None) == _POSTGRES_FULL


def _prepare_sqlite(connection: Any, _record: object) -> None:  # noqa: ANN401 - the driver's own type
    # The driver must not open transactions by itself: `_begin_sqlite` says which kind it is.
    connection.isolation_level = None
    cursor = connection.cursor()
    # Deleted rows are overwritten: who was erased must not be found in free pages.
    for pragma in ("synchronous = FULL", "foreign_keys = ON", "secure_delete = ON", f"busy_timeout = {_WAIT_SECONDS * 1000}"):
        cursor.execute(f"PRAGMA {pragma}")
    _switch_to_wal(cursor)
    cursor.close()


def _switch_to_wal(cursor: sqlite3.Cursor) -> None:
    """Processes that open a new file together collide here, and for this one step SQLite itself does not wait."""
    until = time.monotonic() + _WAIT_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > until:
                raise
            time.sleep(0.01)
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    is_write = connection.get_execution_options().get(_WRITE, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if is_write else "BEGIN")


def forget_deleted_rows(engine: Engine) -> None:
    """Empty SQLite's log of changes, which still holds what was deleted; readers may delay that until the last has gone.

    PostgreSQL overwrites by its own vacuum.
    """
    if engine.dialect.name != "sqlite":
        return
    with database_errors("records"):
        connection = engine.raw_connection()
        try:
            is_busy, *_ = connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if is_busy:
                _log.warning("somebody reads the database: what was deleted leaves its log with the next write that finds nobody")
        finally:
            connection.close()


def make_database(url: str, *, schema: str) -> None:
    """Make the PostgreSQL database that a URL names, where it is missing, and a schema in it.

    Raises:
        ServiceUnavailable: PostgreSQL does not answer, or its user may not.
    """
    wanted = make_url(url)
    with database_errors("PostgreSQL server"):
        with _administering(wanted.set(database="postgres")) as connection:
            known = text("SELECT count(*) FROM pg_database WHERE datname = :name")
            if not connection.execute(known, {"name": wanted.database}).scalar():
                name = connection.dialect.identifier_preparer.quote(str(wanted.database))
                connection.exec_driver_sql(f"CREATE DATABASE {name}")
        with _administering(wanted) as connection:
            connection.execute(CreateSchema(schema, if_not_exists=True))


@contextmanager
def _administering(url: URL) -> Generator[Connection]:
    """Outside a transaction, as CREATE DATABASE demands."""
    engine = create_engine(url, isolation_level="AUTOCOMMIT", hide_parameters=True, connect_args={"connect_timeout": 5})
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()
