"""Keeps the platform small, every night: old runs, ticks, files and rows go; how long the disk will last is told."""

import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

import dagster as dg

from eye_dx_core.errors import EyeDxError
from eye_dx_core.housekeeping import storage as core
from eye_dx_core.housekeeping.runs import RunTerms
from eye_dx_core.registry.port import ModelRegistry
from eye_dx_core.settings import Settings, get_settings
from eye_dx_dagster.defs.diagnosis.jobs import utc_now
from eye_dx_dagster.defs.housekeeping import history
from eye_dx_dagster.resources import as_discreet_failures

_ALL_DONE, _DISK_LASTS = "everything_due_is_gone", "disk_lasts"
_NIGHTS = 30
_GROUP, _OWNERS, _TAGS = "operations", ["team:screening-operations"], {"domain": "housekeeping"}
_FRESH = dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=50), warn_window=timedelta(hours=26))
Counts = dict[str, int]


@dg.asset(
    group_name=_GROUP,
    owners=_OWNERS,
    kinds={"python"},
    tags=_TAGS,
    freshness_policy=_FRESH,
    check_specs=[
        dg.AssetCheckSpec(
            _ALL_DONE,
            asset="housekeeping",
            description="Every part of the housekeeping was done; what was not, the next night tries again.",
        )
    ],
)
def housekeeping(
    context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings], registry: dg.ResourceParam[ModelRegistry]
) -> dg.MaterializeResult:
    """Delete routine runs after EYE_DX_KEEP_RUNS_DAYS with all they left, ticks by dagster.yaml, files nobody refers to, MLflow's trash.

    Runs of training, promotion and rollback stay, as does every run that holds what Dagster still shows. Patients' data have terms
    of their own, see `retention_job`.
    """
    counts, problems = Counts(), list[str]()
    for part, act in _parts(context.instance, settings, registry, utc_now()).items():
        try:
            counts |= act()
        except EyeDxError as error:
            problems.append(f"{part}: {error}")
        except Exception as error:  # noqa: BLE001 - one part that fails keeps no other from being done, and the check tells of it
            where = traceback.extract_tb(error.__traceback__)[-1]
            problems.append(f"{part}: an error of ours ({type(error).__name__} in {where.name}, line {where.lineno})")
    check = dg.AssetCheckResult(
        check_name=_ALL_DONE,
        passed=not problems,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(problems) or "everything was done",
    )
    return dg.MaterializeResult(metadata=counts, check_results=[check])


def _parts(instance: dg.DagsterInstance, settings: Settings, registry: ModelRegistry, at: datetime) -> Mapping[str, Callable[[], Counts]]:
    """What is done, in order: rows go before their databases are compacted."""
    from eye_dx_core.housekeeping.databases import compact
    from eye_dx_core.housekeeping.leftovers import Swept
    from eye_dx_core.housekeeping.sweeping import databases_of_ours, file_sweeps, sweep_models

    terms = RunTerms(succeeded=timedelta(days=settings.keep_runs_days), failed=timedelta(days=settings.keep_failed_runs_days))

    def swept(place: str, sweep: Callable[[], Swept]) -> Callable[[], Counts]:
        return lambda: {f"{place}_{name}": count for name, count in sweep().model_dump().items()}

    def models() -> Counts:
        done = sweep_models(settings, at=at)
        counts = (
            done.model_dump(exclude={"artifacts"}) | done.artifacts.model_dump(exclude={"left"}) | {"left": done.left + done.artifacts.left}
        )
        return {f"mlflow_{name}": count for name, count in counts.items()}

    databases = {f"database {one.name}": one for one in (*history.databases_of_dagster(instance), *databases_of_ours(settings))}
    return {
        "runs": lambda: history.forget_runs(instance, terms, checks=_shown_checks(), at=at),
        "ticks": lambda: {"ticking": history.purge_ticks(instance, at=at)},
        "orphans of runs": swept("run_orphans", lambda: history.sweep_orphans(instance, at=at)),
        **{place: swept(place, sweep) for place, sweep in file_sweeps(settings, registry, at=at).items()},
        "MLflow": models,
        **{name: lambda one=one: {f"database_{one.stem}_bytes_freed": compact(one).bytes_freed} for name, one in databases.items()},
    }


def _shown_checks() -> frozenset[dg.AssetCheckKey]:
    # Not at the top: the definitions collect this module.
    from eye_dx_dagster.definitions import defs

    return frozenset(defs.get_repository_def().asset_graph.asset_check_keys)


@dg.asset(
    group_name=_GROUP,
    owners=_OWNERS,
    kinds={"python"},
    tags=_TAGS,
    deps=[housekeeping],
    freshness_policy=_FRESH,
    check_specs=[
        dg.AssetCheckSpec(
            _DISK_LASTS,
            asset="storage",
            description=f"The disk will not be full within {core.FULL_SOON_DAYS:.0f} days, and a tenth of it is free.",
        )
    ],
)
def storage(context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings]) -> dg.MaterializeResult:
    """What each part of the installation takes, what is free, and when the disk will be full if things go on as in the last nights."""
    at = utc_now()
    with as_discreet_failures():
        measured = core.measure_storage(settings)
    nights = [*_nights_before(context.instance, context.asset_key), core.FreeSpace(at=at, free=measured.free)]
    forecast = core.forecast_disk(nights)
    does_it, reason = core.judge_disk(measured, forecast)
    figures = {"bytes_per_day": forecast.bytes_per_day, "days_until_full": forecast.days_until_full}
    return dg.MaterializeResult(
        metadata={
            **{f"{part}_bytes": taken for part, taken in measured.parts.items()},
            "free_bytes": measured.free,
            "free_percent": round(100 * measured.free / measured.total, 1),
            "measured_at": dg.MetadataValue.timestamp(at),
            "forecast": reason,
            **{name: round(value, 1) for name, value in figures.items() if value is not None},
        },
        check_results=[
            dg.AssetCheckResult(check_name=_DISK_LASTS, passed=does_it, severity=dg.AssetCheckSeverity.WARN, description=reason)
        ],
    )


def _nights_before(instance: dg.DagsterInstance, asset: dg.AssetKey) -> list[core.FreeSpace]:
    found = instance.fetch_materializations(asset, limit=_NIGHTS).records
    told = [one.asset_materialization.metadata for one in found if one.asset_materialization]
    return [_to_night(metadata) for metadata in told if isinstance(metadata.get("measured_at"), dg.TimestampMetadataValue)]


def _to_night(metadata: Mapping[str, dg.MetadataValue]) -> core.FreeSpace:
    at, free = metadata["measured_at"].value, metadata["free_bytes"].value
    return core.FreeSpace.model_validate({"at": datetime.fromtimestamp(float(str(at)), UTC), "free": free})


housekeeping_job = dg.define_asset_job(
    "housekeeping_job",
    selection=[housekeeping, storage],
    executor_def=dg.in_process_executor,
    description="Delete what is kept longer than its term and nobody refers to, and tell how long the disk will last.",
    tags=_TAGS,
)


@dg.schedule(
    job=housekeeping_job,
    cron_schedule="45 3 * * *",
    execution_timezone=get_settings().timezone,
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
def housekeeping_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """Once a night, after what tells of persons is forgotten."""
    return dg.RunRequest(run_key=context.scheduled_execution_time.isoformat())
