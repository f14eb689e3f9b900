"""The claims of the core on the training photographs, as checks; those that block stop training until removed or waived."""

import dagster as dg

from eye_dx_core.dataset import checks as core
from eye_dx_core.settings import Settings
from eye_dx_dagster.defs.dataset.assets import dataset_splits

_SHOWN = 50


def build_check(rule: core.Rule) -> dg.AssetChecksDefinition:
    """One claim as an asset check of the splits, the last thing before training."""

    @dg.asset_check(asset=dataset_splits, name=rule.__name__, description=rule.__doc__, blocking=rule in core.BLOCKING)
    def check(settings: dg.ResourceParam[Settings]) -> dg.AssetCheckResult:
        from eye_dx_core.dataset.manifest import load_manifest
        from eye_dx_core.dataset.splitting import load_splits
        from eye_dx_core.dataset.waivers import load_waivers

        manifest, splits = load_manifest(settings.prepared / "manifest.json"), load_splits(settings.prepared / "splits.json")
        finding = core.check_claim(rule, manifest, splits, load_waivers(settings.waivers))
        waived = f"waived by {finding.waiver.by}: {finding.waiver.reason}" if finding.waiver else ""
        return dg.AssetCheckResult(
            passed=finding.holds or finding.waiver is not None,
            severity=dg.AssetCheckSeverity.ERROR if finding.is_blocking else dg.AssetCheckSeverity.WARN,
            description=waived or f"broken by {len(finding.offenders)}",
            metadata={
                "offenders": len(finding.offenders),
                "first": dg.MetadataValue.json(dict(list(finding.offenders.items())[:_SHOWN])),
                "waived": waived,
            },
        )

    return check


CHECKS = [build_check(rule) for rule in (*core.BLOCKING, *core.WARNING)]
