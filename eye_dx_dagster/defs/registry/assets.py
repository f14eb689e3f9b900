"""The registry as an asset: which version is trusted, which one waits, and what each was made of."""

from collections.abc import Mapping

import dagster as dg

from eye_dx_core.registry.port import CANDIDATE, CHAMPION, PREVIOUS_CHAMPION, ModelRegistry
from eye_dx_dagster.defs.training.assets import OWNERS, model_candidate
from eye_dx_dagster.resources import as_dagster_failures


@dg.asset(group_name="registry", owners=OWNERS, kinds={"mlflow"}, tags={"domain": "registry"}, deps=[model_candidate])
def model_registry(registry: dg.ResourceParam[ModelRegistry]) -> dg.MaterializeResult:
    """All versions with their role, score, photographs and code, and who trusts them for what reason.

    Each promotion and each rollback adds an event here.
    """
    with as_dagster_failures():
        return dg.MaterializeResult(metadata=_metadata(registry))


def registry_event(registry: ModelRegistry) -> dg.AssetMaterialization:
    """What a promotion or rollback writes on the asset: the registry as it is now."""
    return dg.AssetMaterialization(asset_key=model_registry.key, metadata=_metadata(registry))


def _metadata(registry: ModelRegistry) -> Mapping[str, dg.MetadataValue]:
    from eye_dx_core.registry.overview import registry_table

    named = {alias: registry.find_by_alias(alias) for alias in (CHAMPION, CANDIDATE, PREVIOUS_CHAMPION)}
    return {
        "versions": dg.MetadataValue.md(registry_table(registry.versions())),
        **{alias: dg.MetadataValue.text(one.version if one else "none") for alias, one in named.items()},
    }
