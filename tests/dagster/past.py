"""Runs and ticks of days gone by in a real Dagster instance on SQLite: written as Dagster writes them, then dated back."""

import shutil
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
from dagster._core.events import DagsterEvent, DagsterEventType, StepMaterializationData
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from dagster._core.storage.tags import ROOT_RUN_ID_TAG
from dagster._core.test_utils import create_run_for_test
from dagster._core.utils import make_new_run_id

ENDED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)


def add_run(
    instance: dg.DagsterInstance,
    *,
    at: datetime,
    job: str = "message_flow_job",
    domain: str | None = "housekeeping",
    status: dg.DagsterRunStatus = dg.DagsterRunStatus.SUCCESS,
    materializes: Iterable[tuple[str, str | None]] = (),
    checks: Iterable[tuple[str, str]] = (),
    root: str | None = None,
    log: str = "",
) -> str:
    """A run that was started and, if its status says so, ended then; with a compute log where one is given."""
    _seed_events(instance, run_id := make_new_run_id())
    tags = ({"domain": domain} if domain else {}) | ({ROOT_RUN_ID_TAG: root} if root else {})
    run = create_run_for_test(instance, run_id=run_id, job_name=job, status=status, tags=tags, root_run_id=root, parent_run_id=root)
    for asset, partition in materializes:
        said = StepMaterializationData(dg.AssetMaterialization(asset, partition=partition, metadata={"waiting": 0}))
        _report(instance, run, DagsterEventType.ASSET_MATERIALIZATION, said, at)
    for asset, check in checks:
        evaluation = dg.AssetCheckEvaluation(asset_key=dg.AssetKey(asset), check_name=check, passed=True, metadata={})
        _report(instance, run, DagsterEventType.ASSET_CHECK_EVALUATION, evaluation, at)
    if log:
        folder = Path(instance.storage_directory()) / run.run_id / "compute_logs"
        folder.mkdir(parents=True)
        (folder / "step.err").write_text(log, encoding="utf-8")
    _date_back(instance, run.run_id, at, has_ended=status in ENDED)
    return run.run_id


def _seed_events(instance: dg.DagsterInstance, run_id: str) -> None:
    """The empty database of a run's events as a copy of the first one: Dagster itself takes a fifth of a second to make it."""
    storage, template = instance.event_log_storage, Path(instance.root_directory) / "template.db"
    assert isinstance(storage, SqliteEventLogStorage)
    if not template.exists():
        with storage.run_connection(run_id):
            pass
        with closing(sqlite3.connect(storage.path_for_shard(run_id))) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        shutil.copy(storage.path_for_shard(run_id), template)
        return
    shutil.copy(template, storage.path_for_shard(run_id))
    storage._initialized_dbs.add(run_id)


def _report(instance: dg.DagsterInstance, run: dg.DagsterRun, kind: DagsterEventType, data: object, at: datetime) -> None:
    event = DagsterEvent(event_type_value=kind.value, job_name=run.job_name, event_specific_data=data, step_key="step")
    instance.report_dagster_event(event, run_id=run.run_id, timestamp=at.timestamp())


def _date_back(instance: dg.DagsterInstance, run_id: str, at: datetime, *, has_ended: bool) -> None:
    stamp, ended = f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}", at.timestamp() if has_ended else None
    with closing(sqlite3.connect(Path(instance.root_directory) / "history" / "runs.db", timeout=30)) as connection, connection:
        connection.execute(
            "UPDATE runs SET create_timestamp = ?, update_timestamp = ?, start_time = ?, end_time = ? WHERE run_id = ?",
            (stamp, stamp, at.timestamp() - 1, ended, run_id),
        )


def run_ids(instance: dg.DagsterInstance) -> set[str]:
    """The runs that Dagster knows."""
    return set(instance.get_run_ids())


def traces_of(instance: dg.DagsterInstance, ids: Sequence[str]) -> list[str]:
    """Files under Dagster's home that are named by one of the runs, and databases there that hold a row of one."""
    home = Path(instance.root_directory)
    files = [str(path.relative_to(home)) for path in home.rglob("*") if any(one in str(path) for one in ids)]
    rows = [str(path.relative_to(home)) for path in home.rglob("*.db") if any(one.encode() in dump(path) for one in ids)]
    return files + rows


def dump(database: Path) -> bytes:
    """All that a database holds, without what deleted rows left in its pages."""
    with closing(sqlite3.connect(database)) as connection:
        return "\n".join(connection.iterdump()).encode()


def folder_bytes(folder: Path) -> int:
    """What the files of a folder hold."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


DAY = timedelta(days=1)
