"""A backup is whole, private and checked before anything is touched; what was there is moved aside."""

import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from eye_dx_core import wiring
from eye_dx_core.backup import snapshot
from eye_dx_core.backup.making import make_backup
from eye_dx_core.backup.parts import KEY, MANIFEST, BrokenBackup, kept_elsewhere, load_backup_manifest
from eye_dx_core.backup.restoring import Restored, restore_backup
from eye_dx_core.casework import report_page
from eye_dx_core.errors import BadSettings, EyeDxError, NotFound
from eye_dx_core.queue.port import Message
from eye_dx_core.records.audit import AuditEvent
from eye_dx_core.settings import Settings
from eye_dx_core.vault import new_key
from tests.builders import a_case, a_nested_body

AT = datetime(2026, 3, 2, 12, 30, tzinfo=UTC)
MOVED = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
)


def event(action: str, *, later: int = 0) -> AuditEvent:
    return AuditEvent(at=AT + timedelta(seconds=later), actor="test", action=action, subject="records")


def an_installation(folder: Path) -> Settings:
    """One stored case, one waiting message, a page and a day's report."""
    settings = Settings(state_dir=folder)
    for place, content in (
        (settings.data / report_page("case-1"), "测试甲"),
        (settings.data / "daily" / "2026-03-02.md", "one case"),
        (settings.state / "mlruns" / "artifacts" / "1" / "weights", "w"),
        (settings.dagster_home / "dagster.yaml", "telemetry: { enabled: false }"),
        (settings.waivers, "{}"),
    ):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(content, encoding="utf-8")
    (settings.report_folder / "case-9.draft").write_text("of a page that was cut off")
    with closing(wiring.open_queue(settings)) as queue, closing(wiring.open_records(settings)) as records:
        records.add_case(a_case(), b"raw")
        queue.publish(settings.queue_names.screenings, Message(body=a_nested_body(), message_id="m-waits"))
    return settings


def a_backup(settings: Settings, folder: Path, *, with_key: bool = False) -> Path:
    return make_backup(settings, folder, event=event("backup"), with_key=with_key)


def restore(settings: Settings, backup: Path, *, replace: bool = False) -> Restored:
    return restore_backup(settings, backup, event=event("restore", later=60), replace=replace)


def a_fresh_installation(folder: Path, *, key_of: Settings | None) -> Settings:
    settings = Settings(state_dir=folder)
    settings.data.mkdir(parents=True)
    if key_of is not None:
        settings.vault_key_path.write_text(key_of.vault_key_path.read_text())
        settings.vault_key_path.chmod(0o600)
    return settings


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_everything_that_must_not_be_lost_comes_back(tmp_path: Path):
    old = an_installation(tmp_path / "old")
    backup = a_backup(old, tmp_path / "backups")
    new = a_fresh_installation(tmp_path / "new", key_of=old)

    assert backup.name == "20260302T123000Z"
    assert restore(new, backup).aside is None

    with closing(wiring.open_queue(new)) as queue, closing(wiring.open_records(new)) as records:
        assert records.get_case("case-1") == a_case()
        assert records.get_raw_message("case-1") == b"raw"
        assert [entry.action for entry in records.audit()] == ["backup", "restore"]
        (waiting,) = queue.receive(new.queue_names.screenings, limit=10)
        assert waiting.message.message_id == "m-waits"
    assert (new.data / report_page("case-1")).read_text(encoding="utf-8") == "测试甲"
    for name in ("data/daily/2026-03-02.md", "mlruns/artifacts/1/weights", "dagster_home/dagster.yaml", "data/prepared/waivers.json"):
        assert (new.state / name).read_bytes() == (old.state / name).read_bytes()
    assert not (new.report_folder / "case-9.draft").exists()
    assert not (new.state / ".restoring").exists()


def in_stores(settings: Settings) -> Settings:
    return settings.model_copy(update={"files_url": "s3://clinic/files", "mlflow_artifacts": "s3://clinic/models"})


def test_what_lies_in_object_stores_is_left_out_and_told(tmp_path: Path):
    here = an_installation(tmp_path / "old")
    stored = in_stores(here)

    manifest = load_backup_manifest(a_backup(stored, tmp_path / "backups"))

    assert not [name for name in manifest.files if name.startswith(("data/reports", "data/daily"))]
    assert kept_elsewhere(stored) == (("reports and daily reports", "s3://clinic/files"),)
    assert kept_elsewhere(here) == ()


def test_of_mlflow_s_files_those_are_told_that_lie_elsewhere_and_no_others(tmp_path: Path):
    settings = in_stores(an_installation(tmp_path / "state"))
    own = (settings.state / "mlruns" / "artifacts").as_uri()
    places = {1: own, 2: "s3://clinic/models", 3: "s3://clinic/earlier", 4: "s3://clinic/without-runs", 5: f"{own}-of-another-year"}
    a_model_store(settings, places, runs=(1, 2, 3, 5))

    told = [place for what, place in kept_elsewhere(settings) if "weights" in what]
    assert told == [f"{own}-of-another-year", "s3://clinic/earlier", "s3://clinic/models"]

    a_model_store(settings, {1: "mlflow-artifacts:/1"}, runs=(1,))
    assert ("weights and figures of MLflow", "s3://clinic/models") in kept_elsewhere(settings)
    assert kept_elsewhere(Settings(state_dir=settings.state)) == ()


def a_model_store(settings: Settings, places: dict[int, str], *, runs: tuple[int, ...]) -> None:
    """As much of MLflow's database as says where its files are."""
    (settings.state / "mlruns" / "mlflow.db").unlink(missing_ok=True)
    with closing(sqlite3.connect(settings.state / "mlruns" / "mlflow.db")) as models, models:
        for table, column in MOVED:
            models.execute(f"CREATE TABLE {table} ({column} TEXT, experiment_id INTEGER)")
        models.executemany("INSERT INTO experiments VALUES (?, ?)", [(place, number) for number, place in places.items()])
        models.executemany("INSERT INTO runs VALUES (?, ?)", [(f"{places[one]}/run-{one}/artifacts", one) for one in runs])


def test_files_of_a_backup_are_not_restored_beside_a_store_where_nobody_would_erase_them(tmp_path: Path):
    old = an_installation(tmp_path / "old")
    backup = a_backup(old, tmp_path / "backups")
    fresh = in_stores(a_fresh_installation(tmp_path / "fresh", key_of=old))

    with pytest.raises(BadSettings, match="files that EYE_DX_FILES_URL would keep in an object store: unset it"):
        restore(fresh, backup)
    assert not fresh.report_folder.exists()


def test_weights_from_before_another_place_was_named_come_back_beside_the_others(tmp_path: Path):
    old = an_installation(tmp_path / "old")
    own, named = old.state / "mlruns" / "artifacts", old.state / "mlruns" / "artifacts-on-a-larger-disk"
    (named / "run-2" / "artifacts").mkdir(parents=True)
    (named / "run-2" / "artifacts" / "weights").write_text("later")
    (own / "run-1" / "artifacts").mkdir(parents=True)
    (own / "run-1" / "artifacts" / "weights").write_text("earlier")
    a_model_store(old, {1: own.as_uri(), 2: named.as_uri()}, runs=(1, 2))

    backup = a_backup(old.model_copy(update={"mlflow_artifacts": str(named)}), tmp_path / "backups")
    fresh = a_fresh_installation(tmp_path / "fresh", key_of=old)
    restore(fresh, backup)

    with closing(sqlite3.connect(fresh.state / "mlruns" / "mlflow.db")) as models:
        located = [
            Path(place.removeprefix("file://")) for (place,) in models.execute("SELECT artifact_uri FROM runs ORDER BY experiment_id")
        ]
    assert [(place / "weights").read_text() for place in located] == ["earlier", "later"]
    assert all(place.is_relative_to(fresh.state) for place in located)


def as_an_older_program(backup: Path) -> None:
    """With a bucket named, it left out the weights that lie here, and wrote the bucket into the list."""
    shutil.rmtree(backup / "mlruns" / "artifacts")
    whole = load_backup_manifest(backup)
    files = {name: file for name, file in whole.files.items() if not name.startswith("mlruns/artifacts")}
    parts = tuple(part for part in whole.parts if part != "mlruns/artifacts")
    older = whole.model_copy(update={"artifacts_uri": "s3://clinic/models", "files": files, "parts": parts})
    (backup / MANIFEST).write_text(older.model_dump_json(), encoding="utf-8")


def test_weights_that_an_older_program_left_out_of_a_backup_stay_where_they_are(tmp_path: Path):
    settings = an_installation(tmp_path / "state").model_copy(update={"mlflow_artifacts": "s3://clinic/models"})
    as_an_older_program(backup := a_backup(settings, tmp_path / "backups"))

    restore(settings, backup, replace=True)

    assert (settings.state / "mlruns" / "artifacts" / "1" / "weights").read_text() == "w"


@pytest.mark.parametrize("is_of_an_older_program", [False, True])
def test_addresses_of_a_store_stay_as_they_are_when_its_database_comes_back(tmp_path: Path, is_of_an_older_program: bool):  # noqa: FBT001
    old = in_stores(an_installation(tmp_path / "old"))
    with closing(sqlite3.connect(tmp_path / "old" / "mlruns" / "mlflow.db")) as models, models:
        for table, column in MOVED:
            models.execute(f"CREATE TABLE {table} ({column} TEXT)")
            models.execute(f"INSERT INTO {table} VALUES ('s3://clinic/models/1')")
    backup = a_backup(old, tmp_path / "backups")
    if is_of_an_older_program:
        as_an_older_program(backup)

    fresh = a_fresh_installation(tmp_path / "fresh", key_of=old)
    restore(fresh, backup)

    with closing(sqlite3.connect(fresh.state / "mlruns" / "mlflow.db")) as models:
        assert {models.execute(f"SELECT {column} FROM {table}").fetchone()[0] for table, column in MOVED} == {"s3://clinic/models/1"}


def test_a_backup_is_for_its_owner_only_and_holds_no_key_unless_asked(tmp_path: Path):
    settings = an_installation(tmp_path / "state")
    plain = a_backup(settings, tmp_path / "backups")
    keyed = a_backup(settings, tmp_path / "keyed", with_key=True)

    inside = [path for folder in (plain, keyed) for path in folder.rglob("*") if path.is_file()]
    assert [path for path in (plain, keyed) if path.stat().st_mode & 0o077] == []
    assert [path for path in inside if path.stat().st_mode & 0o077] == []
    assert not (plain / KEY).exists()
    key = settings.vault_key_path.read_text().strip().encode()
    assert not any(key in content for content in files_of(plain).values())
    assert (keyed / KEY).read_bytes().strip() == key

    fresh = a_fresh_installation(tmp_path / "fresh", key_of=None)
    restore(fresh, keyed)
    assert fresh.vault_key_path.read_bytes().strip() == key
    assert not fresh.vault_key_path.stat().st_mode & 0o077


def test_nothing_is_touched_without_the_key_of_the_backup(tmp_path: Path):
    backup = a_backup(an_installation(tmp_path / "old"), tmp_path / "backups")
    fresh = a_fresh_installation(tmp_path / "fresh", key_of=None)

    with pytest.raises(BadSettings, match=r"key is not in this backup: put it to .*vault\.key"):
        restore(fresh, backup)
    assert files_of(fresh.state) == {}

    fresh.vault_key_path.write_text(new_key())
    fresh.vault_key_path.chmod(0o600)
    before = files_of(fresh.state)
    with pytest.raises(BadSettings, match=r"the key in .*vault\.key does not open this backup's records"):
        restore(fresh, backup)
    assert files_of(fresh.state) == before


def test_a_flipped_byte_anywhere_is_noticed_before_anything_is_touched(tmp_path: Path):
    old = an_installation(tmp_path / "old")
    backup = a_backup(old, tmp_path / "backups")
    fresh = a_fresh_installation(tmp_path / "fresh", key_of=old)
    before = files_of(fresh.state)

    names = list(load_backup_manifest(backup).files)
    assert len(names) == 7
    for name in names:
        whole = (backup / name).read_bytes()
        place = len(whole) // 2
        (backup / name).write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(BrokenBackup, match=f"{name} was changed"):
            restore(fresh, backup)
        (backup / name).unlink()
        with pytest.raises(BrokenBackup, match=f"{name} is missing"):
            restore(fresh, backup)
        (backup / name).write_bytes(whole)

    assert files_of(fresh.state) == before
    restore(fresh, backup)


@pytest.mark.parametrize("name", ["../outside", "/outside", "data/../../outside"])
def test_a_manifest_that_points_outside_is_refused(tmp_path: Path, name: str):
    backup = a_backup(an_installation(tmp_path / "old"), tmp_path / "backups")
    text = (backup / MANIFEST).read_text(encoding="utf-8")
    (backup / MANIFEST).write_text(text.replace('"data/daily/2026-03-02.md"', f'"{name}"'), encoding="utf-8")

    with pytest.raises(BrokenBackup, match="damaged"):
        restore(Settings(state_dir=tmp_path / "fresh"), backup)


def test_a_folder_of_backups_names_the_newest(tmp_path: Path):
    backup = a_backup(an_installation(tmp_path / "old"), tmp_path / "backups")

    with pytest.raises(BrokenBackup, match=f"the newest one below it is {backup}"):
        load_backup_manifest(tmp_path / "backups")


def test_what_is_there_is_kept_unless_it_is_to_be_replaced_and_then_moved_aside(tmp_path: Path):
    settings = an_installation(tmp_path / "state")
    backup = a_backup(settings, tmp_path / "backups")
    with closing(wiring.open_records(settings)) as records:
        records.add_case(a_case("case-2"), b"raw")
    (settings.data / report_page("case-2")).write_text("later")
    (settings.data / "records.db-wal").write_bytes(b"left by a crash")

    with pytest.raises(BadSettings, match="--replace"):
        restore(settings, backup)
    aside = restore(settings, backup, replace=True).aside

    assert aside == settings.state / "before-restore-20260302T123100Z"
    with closing(wiring.open_records(settings)) as records, pytest.raises(NotFound):
        records.get_case("case-2")
    assert not (settings.data / report_page("case-2")).exists()
    assert (aside / "data/reports/case-2.html").read_text() == "later"
    assert (aside / "data/records.db-wal").read_bytes() == b"left by a crash"
    moved = settings.model_copy(update={"records_url": SecretStr(f"sqlite:///{aside}/data/records.db")})
    with closing(wiring.open_records(moved)) as records:
        assert records.get_case("case-2") == a_case("case-2")


@pytest.mark.parametrize(
    ("name", "url", "instead"),
    [
        ("records_url", "postgresql+psycopg://u:geheim@db/x", "EYE_DX_RECORDS_URL: .*pg_dump"),
        ("queue_url", "amqp://u:geheim@mq", "EYE_DX_QUEUE_URL: .*broker's own tools"),
        ("mlflow_tracking_uri", "https://u:geheim@models", "EYE_DX_MLFLOW_TRACKING_URI: .*where it is served"),
    ],
)
def test_what_is_not_in_sqlite_is_refused_with_what_to_use_instead(tmp_path: Path, name: str, url: str, instead: str):
    settings = an_installation(tmp_path / "state").model_copy(update={name: SecretStr(url)})

    for act in (lambda: a_backup(settings, tmp_path / "backups"), lambda: restore(settings, a_backup_of_another(tmp_path))):
        with pytest.raises(BadSettings, match=instead) as refused:
            act()
        assert "geheim" not in str(refused.value)


def a_backup_of_another(folder: Path) -> Path:
    return a_backup(an_installation(folder / "another"), folder / "others")


def test_a_wrong_state_folder_or_a_key_that_is_in_no_file_makes_no_backup(tmp_path: Path):
    with pytest.raises(NotFound, match="is EYE_DX_STATE_DIR right"):
        a_backup(Settings(state_dir=tmp_path / "elsewhere"), tmp_path / "backups")
    settings = an_installation(tmp_path / "state")
    keys = Settings(state_dir=settings.state, vault_keys=settings.vault_key_path.read_text())  # pyright: ignore[reportArgumentType]
    with pytest.raises(BadSettings, match="EYE_DX_VAULT_KEYS"):
        a_backup(keys, tmp_path / "backups", with_key=True)

    assert not (tmp_path / "backups").exists()


def test_two_backups_never_meet_in_one_folder(tmp_path: Path):
    settings = an_installation(tmp_path / "state")
    a_backup(settings, tmp_path / "backups")

    with pytest.raises(EyeDxError, match="a backup of this second already"):
        a_backup(settings, tmp_path / "backups")


def test_nothing_is_stored_or_marked_as_sent_between_the_views_of_queue_and_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    settings = an_installation(tmp_path / "state")
    hold, refused = snapshot._hold_view, []

    def hold_and_try_to_write(view: sqlite3.Connection) -> None:
        hold(view)
        with closing(sqlite3.connect(settings.data / "records.db", timeout=0, isolation_level=None)) as writer:
            try:
                writer.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                refused.append(str(error))

    monkeypatch.setattr(snapshot, "_hold_view", hold_and_try_to_write)

    a_backup(settings, tmp_path / "backups")

    assert refused == ["database is locked", "database is locked"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_said_in_words_and_leaves_no_backup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    settings = an_installation(tmp_path / "state")
    monkeypatch.setattr("shutil.copyfile", lambda _source, _target: Path("/dev/full").write_bytes(b"x"))

    with pytest.raises(EyeDxError, match="the disk refused: No space left on device"):
        a_backup(settings, tmp_path / "backups")

    assert [path.name for path in (tmp_path / "backups").iterdir()] == [".lock"]
