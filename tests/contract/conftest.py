"""Records in every adapter, and the URL of an empty database of each kind."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from eye_dx_core.records.memory import MemoryRecords
from eye_dx_core.records.port import Records
from tests.services import open_records, own_postgres


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.service)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/records.db"
        return
    with own_postgres() as postgres:
        yield postgres


@pytest.fixture(params=["memory", "sqlite", pytest.param("postgresql", marks=pytest.mark.service)])
def records(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Records]:
    if request.param == "memory":
        yield MemoryRecords()
        return
    if request.param == "sqlite":
        opened = open_records(f"sqlite:///{tmp_path}/records.db")
        yield opened
        opened.close()
        return
    with own_postgres(migrated=True) as postgres:
        opened = open_records(postgres)
        yield opened
        opened.close()
