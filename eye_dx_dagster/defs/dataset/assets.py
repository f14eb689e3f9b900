"""The training photographs as assets: what there is, how uneven it is, and who learns from what."""

import base64

import dagster as dg

from eye_dx_core.errors import BadDataset
from eye_dx_core.settings import Settings
from eye_dx_dagster.resources import as_discreet_failures

GROUP, OWNERS = "dataset", ["team:ml-engineering"]

MANIFEST_COLUMNS = dg.TableSchema(
    columns=[
        dg.TableColumn("photo_id", "string", "Stable id of the photograph; file names stay out of Dagster."),
        dg.TableColumn("label", "string", "Label of the label set, after grade 0 was counted as normal."),
        dg.TableColumn("dr_grade", "int", "ICDR grade 0-4 where the folder gives one."),
        dg.TableColumn("source", "string", "Source or camera folders between the class folder and the photograph."),
        dg.TableColumn("camera", "string", "Model by the file's tags, else the size of its pictures."),
        dg.TableColumn("patient_key", "string", "Hash of the patient's part of the file name; splits never separate it."),
        dg.TableColumn("eye", "string", "OD or OS, empty when the name does not say."),
        dg.TableColumn("pixel_sha256", "string", "Hash of the decoded pixels; equal photographs have equal hashes."),
        dg.TableColumn("provenance", "string", "Who labelled it: `folder`, or `doctor` who reviewed it in the clinic."),
    ]
)


def inline_png(png: bytes) -> dg.MarkdownMetadataValue:
    """A figure that Dagster shows in place; it is stored in the event log, so it must be small."""
    return dg.MetadataValue.md(f"![figure](data:image/png;base64,{base64.b64encode(png).decode()})")


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"python", "image"},
    tags={"domain": "training"},
    metadata={"dagster/column_schema": MANIFEST_COLUMNS},
    deps=["corrected_labels"],  # only read where the settings say so
)
def dataset_manifest(context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings]) -> dg.MaterializeResult:
    """One row per training photograph: label, grade, source, patient, eye, hashes; and every refused file with its reason.

    Folders are read by their class names (`A`, `AMD-CFP`, `D0`…`D4`, `BRVO`, …); a CSV table beside the photographs may tell
    patient, eye, source and grade. Grade 0 counts as no retinopathy. With EYE_DX_INCLUDE_CORRECTIONS=true the photographs of
    `corrected_labels` join them, but for those of patients in the locked test.
    """
    from collections import Counter

    from eye_dx_core import wiring
    from eye_dx_core.dataset.manifest import save_manifest
    from eye_dx_core.dataset.scanning import scan_photos
    from eye_dx_core.schema.condition import LABEL_SETS

    with as_discreet_failures():
        if settings.label_set not in LABEL_SETS:
            raise BadDataset(f"EYE_DX_LABEL_SET must be one of {', '.join(LABEL_SETS)}")
        corrected, locked = wiring.corrected_photos(settings)
        manifest = scan_photos(settings.training_photos, label_set=LABEL_SETS[settings.label_set], corrected=corrected, locked=locked)
        path = save_manifest(manifest, settings.prepared / "manifest.json")
    refused = Counter(one.reason for one in manifest.refused)
    context.log.info("%s photographs, %s refused (%s)", len(manifest.rows), len(manifest.refused), dict(refused))
    if manifest.grade_zero_as_normal:
        context.log.warning("%s grade-0 photographs count as no retinopathy, not as diabetic retinopathy", manifest.grade_zero_as_normal)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(manifest.fingerprint),
        metadata={
            "dagster/row_count": len(manifest.rows),
            "counts": dg.MetadataValue.json(dict(manifest.counts)),
            "labelled_by_doctors": sum(row.provenance == "doctor" for row in manifest.rows),
            "refused": dg.MetadataValue.json(dict(refused)),
            "grade_0_counted_as_normal": manifest.grade_zero_as_normal,
            "patients": len({row.patient_key for row in manifest.rows}),
            "duplicates": sum(row.duplicate_of is not None for row in manifest.rows),
            "cameras": dg.MetadataValue.json(dict(Counter(row.camera for row in manifest.rows).most_common(20))),
            "look_alikes": len(manifest.look_alikes),
            "sources": dg.MetadataValue.json(dict(Counter(row.source for row in manifest.rows))),
            "file": dg.MetadataValue.path(path),
        },
    )


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"python"},
    tags={"domain": "training"},
    deps=[dataset_manifest],
    automation_condition=dg.AutomationCondition.eager(),
)
def imbalance_report(settings: dg.ResourceParam[Settings]) -> dg.MaterializeResult:
    """How uneven the classes are (ratio, Gini, entropy, severity) and which loss and sampling that calls for."""
    from eye_dx_core.dataset.imbalance import analyse_imbalance, imbalance_figure, imbalance_markdown
    from eye_dx_core.dataset.manifest import load_manifest

    with as_discreet_failures():
        report = analyse_imbalance(load_manifest(settings.prepared / "manifest.json").counts)
    figure = imbalance_figure(report)
    (settings.prepared / "imbalance.json").write_text(report.model_dump_json(indent=2), encoding="utf-8")
    (settings.prepared / "imbalance.png").write_bytes(figure)
    return dg.MaterializeResult(
        metadata={
            "report": dg.MetadataValue.md(imbalance_markdown(report)),
            "figure": inline_png(figure),
            "imbalance_ratio": report.ratio,
            "gini": report.gini,
            "entropy": report.entropy,
            "severity": report.severity.value,
            "file": dg.MetadataValue.path(settings.prepared / "imbalance.json"),
        }
    )


@dg.asset(group_name=GROUP, owners=OWNERS, kinds={"python"}, tags={"domain": "training"}, deps=[dataset_manifest])
def dataset_splits(settings: dg.ResourceParam[Settings]) -> dg.MaterializeResult:
    """Train, validation, calibration and locked test, divided by patient and stratified by label and source.

    Photographs that were there before keep their split: a locked test stays locked when the set grows.
    """
    from eye_dx_core.dataset.manifest import load_manifest
    from eye_dx_core.dataset.splitting import find_splits, save_splits, split_by_patient

    path = settings.prepared / "splits.json"
    with as_discreet_failures():
        splits = split_by_patient(load_manifest(settings.prepared / "manifest.json"), seed=0, previous=find_splits(path))
    save_splits(splits, path)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(splits.fingerprint),
        metadata={"counts": dg.MetadataValue.json(splits.counts), "file": dg.MetadataValue.path(path)},
    )
