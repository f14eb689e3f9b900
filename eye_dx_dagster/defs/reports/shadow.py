"""The shadow report: challenger against champion on the clinic's own cases, for whoever decides a promotion."""

from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import dagster as dg

from eye_dx_core.files.port import FileStore
from eye_dx_core.records.port import Records
from eye_dx_core.registry.port import CHALLENGER, ModelRegistry
from eye_dx_core.settings import Settings, get_settings
from eye_dx_dagster.defs.diagnosis.jobs import utc_now
from eye_dx_dagster.resources import as_discreet_failures

if TYPE_CHECKING:  # pandas and scipy are for the run that counts
    from eye_dx_core.reporting.shadow.comparing import Comparison
    from eye_dx_core.reporting.shadow.writing import ShadowPages


@dg.asset(
    group_name="reports",
    owners=["team:screening-operations"],
    kinds={"python"},
    tags={"domain": "report"},
)
def shadow_report(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    records: dg.ResourceParam[Records],
    registry: dg.ResourceParam[ModelRegistry],
) -> dg.MaterializeResult:
    """Challenger against champion on the same cases: conclusions, referrals that change, with whom the doctors go, times.

    Over all that the present challenger has read (EYE_DX_SHADOW). It names cases by id, and nobody.
    """
    from eye_dx_core import wiring
    from eye_dx_core.reporting.shadow.writing import write_shadow_report

    with as_discreet_failures():
        challenger = registry.find_by_alias(CHALLENGER)
        at = utc_now().astimezone(ZoneInfo(settings.timezone))
        files = wiring.open_files(settings)
        found = write_shadow_report(records, challenger.checkpoint_sha256, files=files, at=at) if challenger else None
    if found is None:
        why = "it has read nothing yet" if challenger else "`eye-dx registry challenge VERSION --reason …` names one"
        context.log.info("no challenger to report on: %s", why)
        return dg.MaterializeResult(metadata={"cases": 0, "why": why})
    return dg.MaterializeResult(metadata=_metadata(*found, files))


def _metadata(found: "Comparison", pages: "ShadowPages", files: FileStore) -> dict[str, dg.MetadataValue | int | float | str]:
    """Numbers are plotted over the materialisations by Dagster."""
    kappa, p_value = found.agreement.kappa, found.doctors.p_value
    return {
        "report": dg.MetadataValue.md(pages.markdown),
        **{name: dg.MetadataValue.path(files.address(pages.file(name))) for name in ("html", "json")},
        "challenger": found.challenger_version,
        "champion": found.champion_version,
        "cases": found.cases,
        "failed": sum(found.failures.values()),
        **{f"{one.line}_champion_alone": one.only_champion for one in found.moved},
        **{f"{one.line}_challenger_alone": one.only_challenger for one in found.moved},
        **({"kappa": round(kappa.value, 4)} if kappa else {}),
        **({"doctors_p": round(p_value, 4)} if p_value is not None else {}),
    }


shadow_report_job = dg.define_asset_job("shadow_report_job", selection=[shadow_report], executor_def=dg.in_process_executor)


@dg.schedule(
    job=shadow_report_job,
    cron_schedule="45 0 * * *",
    execution_timezone=get_settings().timezone,
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
def shadow_report_schedule() -> dg.RunRequest | dg.SkipReason:
    """Where shadow mode is on, write the report every night."""
    if not get_settings().shadow:
        return dg.SkipReason("shadow mode is off (EYE_DX_SHADOW)")
    return dg.RunRequest()
