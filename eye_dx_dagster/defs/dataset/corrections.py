"""What doctors signed in the clinic, as labelled photographs for the next training."""

from datetime import UTC, datetime

import dagster as dg

from eye_dx_core.records.port import Records
from eye_dx_core.settings import Settings
from eye_dx_dagster.defs.dataset.assets import GROUP, OWNERS
from eye_dx_dagster.defs.diagnosis.jobs import utc_now
from eye_dx_dagster.resources import as_discreet_failures

_FIRST = datetime(2000, 1, 1, tzinfo=UTC)

CORRECTION_COLUMNS = dg.TableSchema(
    columns=[
        dg.TableColumn("case_id", "string", "Our id of the case; where its photographs lie, only the records know."),
        dg.TableColumn("photo_id", "string", "Which of its photographs."),
        dg.TableColumn("pixel_sha256", "string", "Hash of the decoded pixels; file names stay out of Dagster."),
        dg.TableColumn("label", "string", "The doctor's label code, `D0`-`D4` where retinopathy was graded."),
        dg.TableColumn("dr_grade", "int", "ICDR grade 0-4 where there is one."),
        dg.TableColumn("eye", "string", "OD or OS."),
        dg.TableColumn("patient_key", "string", "Hash that stands for the patient, as in the manifest where that knows the patient."),
        dg.TableColumn("source", "string", "Always `doctor`."),
        dg.TableColumn("against", "string", "What the AI had said: the doctor `confirms` or `overrides` it, or `ai_had_none`."),
        dg.TableColumn("model_version", "string", "Version of the model that had read the eye."),
        dg.TableColumn("review_id", "string", "The review that says so."),
        dg.TableColumn("reviewed_at", "timestamp", "When it was signed."),
    ]
)


@dg.asset(
    group_name=GROUP, owners=OWNERS, kinds={"python"}, tags={"domain": "training"}, metadata={"dagster/column_schema": CORRECTION_COLUMNS}
)
def corrected_labels(settings: dg.ResourceParam[Settings], records: dg.ResourceParam[Records]) -> dg.MaterializeResult:
    """Photographs with the label that a doctor signed for their eye, agreeing with the AI or not; its version is its content's hash.

    Only where an eye has one photograph and one label: the label of an eye is not that of each photograph. What was left out is
    counted by reason; patients in the locked test always are. The next manifest includes them with EYE_DX_INCLUDE_CORRECTIONS=true.
    """
    from collections import Counter

    from eye_dx_core import correcting, wiring
    from eye_dx_core.dataset.corrections import save_corrections

    with as_discreet_failures():
        corrections = correcting.gather_corrections(
            records.case_records(since=_FIRST, until=utc_now()),
            wiring.photo_folders(settings).find_photo,
            known=wiring.trained_on(settings),
            salt=wiring.open_vault(settings).derive("corrected-labels"),
        )
        files = wiring.open_files(settings)
        name = save_corrections(corrections, files)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(corrections.version),
        metadata={
            "dagster/row_count": len(corrections.rows),
            "labels": dg.MetadataValue.json(dict(Counter(row.label for row in corrections.rows))),
            "against": dg.MetadataValue.json(dict(Counter(row.against.value for row in corrections.rows))),
            "left_out": dg.MetadataValue.json(corrections.left_out),
            "left_out_for_the_locked_test": corrections.left_out.get(correcting.LOCKED, 0),
            "file": dg.MetadataValue.path(files.address(name)),
        },
    )
