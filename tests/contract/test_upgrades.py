"""Databases of every released schema, upgraded to the present one: what the program of that time said of them is said still."""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

from eye_dx_core.errors import BadSettings
from eye_dx_core.queue.port import Message
from eye_dx_core.queue.sql import SqlQueue
from eye_dx_core.queue.topology import QueueNames
from eye_dx_core.records import migrating
from eye_dx_core.records.audit import verify_chain
from eye_dx_core.records.desk import WorkFilter
from eye_dx_core.records.engine import open_engine, reading, writing
from eye_dx_core.records.figures import figures_of
from eye_dx_core.records.port import Records
from eye_dx_core.records.sql import SqlRecords
from eye_dx_core.vault import Vault, new_key
from tests.builders import NOON, a_case
from tests.contract.released_records import EVER, FOLDER, build, files_of, told
from tests.services import A_KEY, open_queue, open_records

REVISIONS = [
    script.revision for script in reversed(list(ScriptDirectory(str(Path(migrating.__file__).parent / "migrations")).walk_revisions()))
]
KEPT = [file for revision in REVISIONS for file in files_of(revision)]


def load(file: Path) -> Mapping[str, Any]:
    return json.loads(file.read_text(encoding="utf-8"))


def said_still(then: object, now: object, where: str = "") -> list[str]:
    """Where the present program says something else than the one of that time did; what it says beyond that is new."""
    if isinstance(then, Mapping) and isinstance(now, Mapping):
        return [line for key, value in then.items() for line in said_still(value, now.get(key, "nothing"), f"{where}/{key}")]
    if isinstance(then, Sequence) and isinstance(now, Sequence) and not isinstance(then, str) and len(then) == len(now):
        return [line for place, value in enumerate(then) for line in said_still(value, now[place], f"{where}/{place}")]
    return [] if then == now else [f"{where}: {then!r} became {now!r}"]


@pytest.fixture(params=KEPT, ids=lambda file: file.stem)
def kept(request: pytest.FixtureRequest) -> Mapping[str, Any]:
    return load(request.param)


def upgraded(url: str, kept: Mapping[str, Any]) -> Records:
    engine = open_engine(url)
    build(engine, kept["revision"], kept)
    engine.dispose()
    return open_records(url)


def test_every_word_of_an_older_program_is_said_still(url: str, kept: Mapping[str, Any]):
    with closing(upgraded(url, kept)) as records:
        assert said_still(kept["told"], told_by(records, kept["revision"])) == []
        verify_chain(records.audit())


def told_by(records: Records, revision: str) -> dict[str, Any]:
    """The first schema kept no messages as they came, so none can be asked for."""
    return told(records, with_raw=revision > "0001")


def test_work_goes_on_where_it_was_left(url: str, kept: Mapping[str, Any]):
    """The case that waited is read, what was reviewed is written, what was not sent is sent; a new one comes."""
    with closing(upgraded(url, kept)) as records:
        assert [case.case_id for case in records.claim_undiagnosed(limit=9, lease_seconds=60)] == ["case-1"]
        assert [case.case_id for case in records.claim_unreported(limit=9, lease_seconds=60)] == ["case-3"]
        unsent = {message.message_id for message in records.claim_unsent(limit=20, lease_seconds=60)}
        assert {"ai-result-case-3", "ai-result-case-6", "report-case-4"} <= unsent
        assert "ai-result-case-4" not in unsent
        assert {item.case_id for item in records.work_list(WorkFilter(), now=NOON, limit=20).items} == {"case-2", "case-5", "case-6"}
        assert records.add_case(a_case("case-7"), b"new")
        assert not records.add_case(a_case("case-2"), b"as it came"), "a repeat of an old message makes no second case"
        identity = records.get_case("case-4").screening.patient
        assert identity is not None
        assert (identity.name, identity.phone) == ("测试甲", "13800138000")
        assert records.find_case_id(external_id="external-of-case-6", source_queues=["eye_dx_screenings"]) == "case-6"
        assert records.find_case_ids(patient_id="P2025001") == tuple(f"case-{number}" for number in (7, 1, 2, 3, 4, 5, 6))


def test_the_day_is_counted_from_old_rows(url: str, kept: Mapping[str, Any]):
    """Figures came with a later schema: older cases get theirs when their day is read."""
    with closing(upgraded(url, kept)) as records:
        counted = records.day_figures(**EVER)

        assert counted == figures_of(records.case_records(**EVER))
        assert (len(counted.cases), records.count_diagnosed(**EVER)) == (6, 5)


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_stop_at_any_schema_on_the_way_loses_nothing(url: str, revision: str):
    """Also at one of which nothing was kept yet: it is reached from the newest before it."""
    file = [file for file in KEPT if file.stem <= f"{revision}-~"][-1]
    kept, engine = load(file), open_engine(url)
    build(engine, kept["revision"], kept)
    with writing(engine) as connection:
        migrating.run_migrations(connection, Vault([A_KEY]), to=revision)
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == revision
    engine.dispose()

    with closing(open_records(url)) as records:
        assert said_still(kept["told"], told_by(records, kept["revision"])) == []


def test_of_every_schema_something_is_kept_but_of_the_newest():
    """Before a migration is added: `python -m tests.contract.released_records`."""
    assert [revision for revision in REVISIONS[:-1] if not files_of(revision)] == []


def test_records_of_a_newer_program_are_refused_by_name_and_left_as_they_are(url: str):
    open_records(url).close()
    engine = open_engine(url)
    with writing(engine) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0999'"))

    with pytest.raises(BadSettings, match=rf"schema 0999, newer than this program, which knows schemas up to {migrating.HEAD}"):
        open_records(url)

    with reading(engine) as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == "0999"
    engine.dispose()


def test_a_migration_that_fails_halfway_leaves_the_schema_before_it(url: str):
    """With another key nothing that was sealed can be opened: the upgrade is refused, and with the right key it goes through."""
    kept, engine = load(files_of("0002")[-1]), open_engine(url)
    build(engine, "0002", kept)

    with pytest.raises(BadSettings), closing(SqlRecords(url, vault=Vault([new_key()]))):
        pass

    with reading(engine) as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == "0002"
        assert "users" not in inspect(connection).get_table_names()
    engine.dispose()
    with closing(open_records(url)) as records:
        assert said_still(kept["told"], told(records)) == []


# What waits there, in order, with how often it will have been handed out: the first program gave everything back last and counted it,
# the second gives back untouched what it was not meant to take.
WAITING = {
    "queue-1": [("m-0", "测试0", 2), ("m-1", "测试1", 2), ("m-2", "测试2", 2)],
    "queue-2": [("m-1", "测试1", 1), ("m-2", "测试2", 1), ("m-0", "测试0", 2)],
}


@pytest.fixture(params=sorted(WAITING))
def queue_kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def queue_url(queue_kind: str, url: str, tmp_path: Path) -> str:
    """The queue of an older program, as its tables stood on SQLite, or with the same columns on PostgreSQL."""
    with closing(sqlite3.connect(tmp_path / "kept.db")) as connection:
        connection.executescript((FOLDER / f"{queue_kind}.sql").read_text(encoding="utf-8"))
    kept, there, engine = sa.create_engine(f"sqlite:///{tmp_path}/kept.db"), sa.MetaData(), open_engine(url)
    there.reflect(kept)
    for column in (column for table in there.sorted_tables for column in table.columns):
        column.type = column.type.as_generic()
    with writing(engine) as connection, kept.connect() as old:
        there.create_all(connection)
        for table in there.sorted_tables:
            rows = old.execute(sa.select(table).order_by(table.c.position)).mappings()
            # A number that the database gives itself must go on from there.
            connection.execute(sa.insert(table), [{name: value for name, value in row.items() if name != "position"} for row in rows])
    kept.dispose()
    engine.dispose()
    return url


def test_messages_of_an_older_queue_are_handed_out_as_they_would_have_been(queue_kind: str, queue_url: str):
    names = QueueNames()
    with closing(open_queue(queue_url, names)) as queue:
        taken = [
            (one.message.message_id, one.message.body.decode(), one.delivery_count) for one in queue.receive(names.screenings, limit=9)
        ]
        claimed_then = queue.receive(names.reviews, limit=9)
        (dead,) = queue.dead_letters(limit=9)

        assert taken == WAITING[queue_kind]
        assert [(one.message.message_id, one.delivery_count) for one in claimed_then] == [("r-0", 2)]
        assert (dead.message.body, dead.queue, dead.reason) == (b"bad", names.screenings, "not JSON")

        queue.publish(names.screenings, Message(body=b"new", message_id="m-9"))
        assert queue.replay_dead_letters(limit=9) == 1
        assert [one.message.message_id for one in queue.receive(names.screenings, limit=9)] == ["m-9", "m-bad"]


def test_an_older_queue_is_not_opened_with_another_key_once_it_is_sealed(queue_url: str):
    open_queue(queue_url, QueueNames()).close()

    with pytest.raises(BadSettings):
        SqlQueue(queue_url, names=QueueNames(), vault=Vault([new_key()]))
