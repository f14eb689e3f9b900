"""Trust is an act of a person: promotion and rollback are jobs of their own, each with a required reason."""

import dagster as dg
from pydantic import Field

from eye_dx_core.registry.port import ModelRegistry
from eye_dx_dagster.defs.registry.assets import registry_event
from eye_dx_dagster.resources import as_dagster_failures


class Promotion(dg.Config):
    """Who trusts which version, and why. The reason is kept with the version for as long as it exists."""

    reason: str = Field(description="Why this version may read patients' photographs.")
    by: str = Field(description="Who decided.")
    version: str = Field(default="", description="Registry version; empty means the present candidate.")


class Rollback(dg.Config):
    """Why the champion is taken back."""

    reason: str = Field(description="What went wrong.")
    by: str = Field(description="Who decided.")


@dg.op(out=dg.Out(dg.Nothing), tags={"domain": "registry"})
def promote_version(context: dg.OpExecutionContext, config: Promotion, registry: dg.ResourceParam[ModelRegistry]) -> None:
    """Make a version the champion if the rule allows it; the former champion stays reachable as previous_champion."""
    from eye_dx_core.registry.promotion import promote

    with as_dagster_failures():
        promoted = promote(registry, config.version or None, reason=config.reason, by=config.by)
        context.log_event(registry_event(registry))
    context.log.info("version %s is champion: %s", promoted.version.version, promoted.decision.reason)
    context.add_output_metadata({"version": promoted.version.version, "decision": promoted.decision.reason})


@dg.op(out=dg.Out(dg.Nothing), tags={"domain": "registry"})
def roll_back_champion(context: dg.OpExecutionContext, config: Rollback, registry: dg.ResourceParam[ModelRegistry]) -> None:
    """Give the alias champion back to previous_champion."""
    from eye_dx_core.registry.promotion import rollback

    with as_dagster_failures():
        version = rollback(registry, reason=config.reason, by=config.by)
        context.log_event(registry_event(registry))
    context.log.info("version %s is champion again", version.version)


@dg.job(executor_def=dg.in_process_executor, tags={"domain": "registry"})
def promotion_job() -> None:
    """Make a registered version the champion."""
    promote_version()


@dg.job(executor_def=dg.in_process_executor, tags={"domain": "registry"})
def rollback_job() -> None:
    """Take the champion back to the version before it."""
    roll_back_champion()
