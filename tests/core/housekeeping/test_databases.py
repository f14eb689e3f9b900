"""A database gives back what deleted rows took, only when that is much, and never at the cost of somebody who writes."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from eye_dx_core.errors import ServiceUnavailable
from eye_dx_core.housekeeping import databases
from eye_dx_core.housekeeping.databases import compact


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Three megabytes in a log of changes, as all of ours are kept."""
    path = tmp_path / "some.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY, content BLOB)")
        connection.executemany("INSERT INTO rows VALUES (?, ?)", [(number, bytes(3000)) for number in range(1000)])
    return path


def delete_rows(database: Path, below: int) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("DELETE FROM rows WHERE id < ?", (below,))


def test_a_database_with_many_empty_pages_shrinks_and_keeps_its_rows(database: Path):
    delete_rows(database, below=700)
    before = database.stat().st_size

    done = compact(database)

    assert done.was_worth_it
    assert done.bytes_freed == before - database.stat().st_size > before / 2
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT count(*), min(id) FROM rows").fetchone() == (300, 700)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_few_empty_pages_are_not_worth_it(database: Path):
    delete_rows(database, below=100)
    before = database.read_bytes()

    assert not compact(database).was_worth_it
    assert database.read_bytes() == before


def test_who_writes_is_left_alone(database: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(databases, "_WAIT_SECONDS", 0.1)
    delete_rows(database, below=700)
    with closing(sqlite3.connect(database, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("INSERT INTO rows VALUES (5000, x'00')")

        with pytest.raises(ServiceUnavailable, match=r"some.db was not compacted \(SQLITE_BUSY\): the next night tries again"):
            compact(database)

        writer.execute("COMMIT")
    assert compact(database).was_worth_it


def test_who_reads_goes_on_reading(database: Path):
    delete_rows(database, below=700)
    with closing(sqlite3.connect(database, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM rows").fetchone() == (300,)

        assert compact(database).was_worth_it

        assert reader.execute("SELECT count(*) FROM rows").fetchone() == (300,)


def test_a_database_that_is_not_there_is_not_made(tmp_path: Path):
    with pytest.raises(ServiceUnavailable, match="SQLITE_CANTOPEN"):
        compact(tmp_path / "none.db")

    assert not (tmp_path / "none.db").exists()
