"""A key is dropped only when no database that shares its file needs it any more."""

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import SecretStr

from eye_dx_core import wiring
from eye_dx_core.errors import BadSettings
from eye_dx_core.queue.port import Message
from eye_dx_core.records.audit import AuditEvent
from eye_dx_core.rotation import forget_old_keys, rotate_key
from eye_dx_core.settings import Settings
from eye_dx_core.vault import new_key, read_keys, write_keys
from tests.builders import a_case

EVENT = AuditEvent(at=datetime(2026, 3, 2, tzinfo=UTC), actor="test", action="rotate_key", subject="vault")


@pytest.fixture
def here(tmp_path: Path) -> Settings:
    """One stored case and one waiting message, in SQLite under the state folder."""
    settings = Settings(state_dir=tmp_path)
    with closing(wiring.open_queue(settings)) as queue, closing(wiring.open_records(settings)) as records:
        records.add_case(a_case(), b"raw")
        queue.publish("waiting", Message(body=b"{}", message_id="m-1"))
    return settings


@pytest.fixture
def elsewhere(here: Settings, url: str) -> Settings:
    """Another installation with the same state folder, so with the same key file."""
    settings = here.model_copy(update={"records_url": SecretStr(url), "queue_url": SecretStr("memory://")})
    with closing(wiring.open_records(settings)) as records:
        records.add_case(a_case("case-2"), b"raw")
    return settings


def both_can_be_read(here: Settings, elsewhere: Settings) -> bool:
    with closing(wiring.open_queue(here)) as queue:
        waiting = queue.receive("waiting", limit=1)
    with closing(wiring.open_records(here)) as one, closing(wiring.open_records(elsewhere)) as other:
        return (one.get_case("case-1"), other.get_case("case-2"), len(waiting)) == (a_case(), a_case("case-2"), 1)


def actions(settings: Settings) -> list[str]:
    with closing(wiring.open_records(settings)) as records:
        return [entry.action for entry in records.audit()]


def test_a_key_that_another_database_needs_is_not_dropped(here: Settings, elsewhere: Settings):
    rotate_key(elsewhere, event=EVENT)

    with pytest.raises(BadSettings, match=r"no key was dropped: .* for /.*/data/records\.db and /.*/data/queue\.db, which .* not name"):
        forget_old_keys(elsewhere, event=EVENT)
    assert len(read_keys(here.vault_key_path)) == 2
    assert actions(elsewhere) == ["rotate_key"]
    assert both_can_be_read(here, elsewhere)


def test_what_the_refusal_advises_lets_the_old_keys_go(here: Settings, elsewhere: Settings):
    rotate_key(elsewhere, event=EVENT)

    rotate_key(here, event=EVENT)
    forget_old_keys(elsewhere, event=EVENT)

    assert len(read_keys(here.vault_key_path)) == 1
    assert both_can_be_read(here, elsewhere)


def test_a_queue_alone_can_need_an_old_key(here: Settings, elsewhere: Settings):
    rotate_key(elsewhere, event=EVENT)
    for file in here.data.glob("records.db*"):
        file.unlink()

    with pytest.raises(BadSettings, match=r"needed for /[^ ]*/data/queue\.db, which"):
        forget_old_keys(elsewhere, event=EVENT)


def test_what_no_key_of_the_file_opens_holds_no_key_back(here: Settings, elsewhere: Settings):
    write_keys(here.vault_key_path, [new_key()])
    other = elsewhere.model_copy(update={"records_url": SecretStr(f"sqlite:///{here.state / 'other.db'}")})

    rotate_key(other, event=EVENT)
    forget_old_keys(other, event=EVENT)

    assert len(read_keys(here.vault_key_path)) == 1


def test_a_database_that_cannot_be_looked_into_may_need_every_key(here: Settings, elsewhere: Settings):
    rotate_key(elsewhere, event=EVENT)
    (here.data / "records.db").write_bytes(b"no database" * 1000)

    with pytest.raises(BadSettings, match=r"whether /.*/data/records\.db needs an old one cannot be seen, as the database did not answer"):
        forget_old_keys(elsewhere, event=EVENT)


def test_records_of_a_cluster_may_need_an_old_key_until_its_variables_are_set(here: Settings):
    instance = here.dagster_home / "cluster" / "dagster.yaml"
    instance.parent.mkdir(parents=True)
    instance.touch()
    rotate_key(here, event=EVENT)

    with pytest.raises(BadSettings, match=r"no key was dropped: `make cluster` has run .* delete /.*/dagster_home/cluster$"):
        forget_old_keys(here, event=EVENT)
    assert len(read_keys(here.vault_key_path)) == 2

    instance.unlink()
    forget_old_keys(here, event=EVENT)
    assert len(read_keys(here.vault_key_path)) == 1
