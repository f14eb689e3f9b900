"""Dagster's own history: which runs it still shows, and how a run goes without leaving anything behind."""

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
from dagster._core.storage.dagster_run import RunRecord
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME, SqliteEventLogStorage
from dagster._core.storage.tags import ROOT_RUN_ID_TAG

from eye_dx_core.housekeeping.leftovers import Swept, newest_change, remove, sweep
from eye_dx_core.housekeeping.runs import RunFacts, RunTerms, due_runs
from eye_dx_core.housekeeping.storage import bytes_under

A_NIGHT = 5000
"""Runs that are deleted at one go at most; the rest waits for the next night."""
_PAGE, _BATCH = 500, 200
_ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
_RUN_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_ORPHAN_AGE = timedelta(days=1)


def forget_runs(instance: dg.DagsterInstance, terms: RunTerms, *, checks: Iterable[dg.AssetCheckKey], at: datetime) -> dict[str, int]:
    """Delete the runs that are due, with their events, logs and files; return counts."""
    old = tuple(_ended_before(instance, at - min(terms.succeeded, terms.failed)))
    shown = shown_runs(instance, checks)
    due = _without_needed_roots(instance, due_runs(old, terms, shown=shown, at=at))
    freed = sum(_forget_run(instance, run_id) for run_id in due[:A_NIGHT])
    for start in range(0, min(len(due), A_NIGHT), _BATCH):
        _forget_check_rows(instance, due[start : min(start + _BATCH, A_NIGHT)])
    deleted = min(len(due), A_NIGHT)
    return {
        "runs_deleted": deleted,
        "runs_bytes_freed": freed,
        "runs_for_next_night": len(due) - deleted,
        "old_runs_kept": len(old) - len(due),
    }


def shown_runs(instance: dg.DagsterInstance, checks: Iterable[dg.AssetCheckKey]) -> frozenset[str]:
    """Runs that hold what Dagster still shows: the last materialization and observation of each asset, each partition, each check.

    With a run go its events, and a day whose report was written by it would count as missing from then on.
    """
    shown = {one.run_id for key in instance.all_asset_keys() for one in _last_events(instance, key)}
    latest = instance.event_log_storage.get_latest_asset_check_execution_by_key(list(checks))
    return frozenset(shown | {one.run_id for one in latest.values()})


def _last_events(instance: dg.DagsterInstance, key: dg.AssetKey) -> Iterator[dg.EventLogRecord]:
    yield from instance.fetch_materializations(key, limit=1).records
    yield from instance.fetch_observations(key, limit=1).records
    by_partition = instance.get_latest_storage_id_by_partition(key, dg.DagsterEventType.ASSET_MATERIALIZATION)
    ids = list(by_partition.values())
    for start in range(0, len(ids), _BATCH):
        wanted = dg.AssetRecordsFilter(asset_key=key, storage_ids=ids[start : start + _BATCH])
        yield from instance.fetch_materializations(wanted, limit=_BATCH).records


def _ended_before(instance: dg.DagsterInstance, before: datetime) -> Iterator[RunFacts]:
    """Old runs that have ended, oldest first; nothing is deleted while they are paged through."""
    wanted, cursor = dg.RunsFilter(statuses=_ENDED, created_before=before), None
    while page := instance.get_run_records(wanted, limit=_PAGE, cursor=cursor, ascending=True):
        yield from map(_to_facts, page)
        cursor = page[-1].dagster_run.run_id


def _to_facts(record: RunRecord) -> RunFacts:
    run = record.dagster_run
    # A run that failed before it started has no end of its own.
    ended = datetime.fromtimestamp(record.end_time, UTC) if record.end_time else record.update_timestamp
    return RunFacts(
        run_id=run.run_id,
        domain=run.tags.get("domain"),
        ended_at=ended if ended.tzinfo else ended.replace(tzinfo=UTC),
        has_succeeded=run.status is dg.DagsterRunStatus.SUCCESS,
    )


def _without_needed_roots(instance: dg.DagsterInstance, due: Sequence[str]) -> tuple[str, ...]:
    """Without those that a later try, which stays, names as its first: Dagster cannot show that one without it."""
    going, needed = set(due), set[str]()
    for start in range(0, len(due), _BATCH):
        tries = instance.get_runs(dg.RunsFilter(tags={ROOT_RUN_ID_TAG: list(due[start : start + _BATCH])}))
        needed |= {run.tags[ROOT_RUN_ID_TAG] for run in tries if run.run_id not in going}
    return tuple(run_id for run_id in due if run_id not in needed)


def _forget_run(instance: dg.DagsterInstance, run_id: str) -> int:
    """Delete a run and the files that `delete_run` leaves; return how many bytes they took."""
    places = _places_of(instance, run_id)
    instance.delete_run(run_id)
    instance.compute_log_manager.delete_logs(prefix=[run_id, "compute_logs"])
    size = sum(map(bytes_under, places))
    for place in places:
        remove(place)
    return size


def _places_of(instance: dg.DagsterInstance, run_id: str) -> tuple[Path, ...]:
    """The folder of a run's outputs and logs, and on SQLite the database of its events."""
    folder, storage = Path(instance.storage_directory()) / run_id, instance.event_log_storage
    if not isinstance(storage, SqliteEventLogStorage):
        return (folder,)
    return (folder, *(Path(storage.path_for_shard(run_id) + suffix) for suffix in ("", "-wal", "-shm")))


def _forget_check_rows(instance: dg.DagsterInstance, run_ids: Sequence[str]) -> None:
    """`delete_run` leaves a row for each check of the run, with its event; five checks every ten minutes are half a gigabyte a year."""
    storage = instance.event_log_storage
    if isinstance(storage, SqlEventLogStorage):
        with storage.index_connection() as connection:
            connection.execute(AssetCheckExecutionsTable.delete().where(AssetCheckExecutionsTable.c.run_id.in_(run_ids)))


def purge_ticks(instance: dg.DagsterInstance, *, at: datetime) -> int:
    """Purge ticks by the terms of dagster.yaml; return how many sensors and schedules were looked at.

    The daemon does it itself, but only for those that still tick: what was stopped or renamed would keep its ticks for ever.
    """
    states = instance.all_instigator_state()
    for state in states:
        for status, days in instance.get_tick_retention_settings(state.instigator_type).items():
            if days > 0:
                before = (at - timedelta(days=days)).timestamp()
                instance.purge_ticks(state.instigator_origin_id, state.selector_id, before=before, tick_statuses=[status])
    return len(states)


def sweep_orphans(instance: dg.DagsterInstance, *, at: datetime) -> Swept:
    """Delete events, outputs and logs of runs that Dagster does not know, as a crash in the middle of `delete_run` leaves them."""
    known, storage = frozenset(instance.get_run_ids()), instance.event_log_storage
    found = [path for path in Path(instance.storage_directory()).glob("*") if path.is_dir()]
    if isinstance(storage, SqliteEventLogStorage):
        shards = Path(storage.path_for_shard(INDEX_SHARD_NAME)).parent.glob("*.db*")
        # One holds what is told of all runs, one, without a name, the little that is told of none: when an asset grows stale.
        found += (path for path in shards if _run_of(path) not in (INDEX_SHARD_NAME, ""))

    def is_due(path: Path) -> bool:
        return _run_of(path) not in known and newest_change(path) < at - _ORPHAN_AGE

    return sweep(found, is_ours=lambda path: bool(_RUN_ID.fullmatch(_run_of(path))), is_due=is_due)


def _run_of(path: Path) -> str:
    """The run that a folder, or a database with the files of its log, is named by."""
    return path.name.partition(".db")[0]


def databases_of_dagster(instance: dg.DagsterInstance) -> tuple[Path, ...]:
    """The files that hold runs, events over all runs, and ticks; none where Dagster keeps them in PostgreSQL."""
    home = Path(instance.root_directory)
    return tuple(path for name in ("history/runs.db", "history/runs/index.db", "schedules/schedules.db") if (path := home / name).exists())
