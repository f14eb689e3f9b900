"""Read this first: everything Dagster knows of Eye Dx, by concern."""

import warnings

import dagster as dg

from eye_dx_dagster.cluster.queues import TRAINING, on_queue
from eye_dx_dagster.defs.dataset import assets as dataset
from eye_dx_dagster.defs.dataset import checks as dataset_checks
from eye_dx_dagster.defs.dataset import corrections
from eye_dx_dagster.defs.diagnosis import jobs as diagnosis
from eye_dx_dagster.defs.diagnosis import sensors as diagnosis_sensors
from eye_dx_dagster.defs.housekeeping import alerts, flow, nightly, retention
from eye_dx_dagster.defs.registry import assets as registry_assets
from eye_dx_dagster.defs.registry import jobs as registry
from eye_dx_dagster.defs.reports import assets as reports
from eye_dx_dagster.defs.reports import jobs as report_jobs
from eye_dx_dagster.defs.reports import sensors as report_sensors
from eye_dx_dagster.defs.reports import shadow
from eye_dx_dagster.defs.training import assets as training
from eye_dx_dagster.defs.training import checks as training_checks
from eye_dx_dagster.resources import RESOURCES

# Dagster passes itself an argument that it calls beta, and reads a property that it calls a preview; it would say so every time.
warnings.filterwarnings("ignore", "Parameter `owners` of initializer `SensorDefinition", dg.BetaWarning)
warnings.filterwarnings("ignore", ".*expected_writer_count", dg.PreviewWarning)

TRAINING_ASSETS = [
    dataset.dataset_manifest,
    dataset.imbalance_report,
    dataset.dataset_splits,
    training.fine_tuned_checkpoint,
    training.checkpoint_evaluation,
    training.model_candidate,
    registry_assets.model_registry,
]

# One process: each asset reads what the last one wrote, and a process per step would cost two seconds each.
training_job = dg.define_asset_job(
    "training_job",
    selection=TRAINING_ASSETS,
    executor_def=dg.in_process_executor,
    description="From folders of photographs to a candidate in the registry. Promotion is a job of its own.",
    tags={"domain": "training"} | on_queue(TRAINING),
)

defs = dg.Definitions(
    assets=[
        *TRAINING_ASSETS,
        corrections.corrected_labels,
        reports.daily_diagnosis_report,
        shadow.shadow_report,
        report_jobs.LANGUAGE_MODEL,
        flow.message_flow,
        nightly.housekeeping,
        nightly.storage,
    ],
    asset_checks=[*dataset_checks.CHECKS, *training_checks.CHECKS],
    jobs=[
        training_job,
        registry.promotion_job,
        registry.rollback_job,
        diagnosis.diagnosis_job,
        diagnosis.delivery_job,
        report_jobs.report_job,
        reports.daily_report_job,
        shadow.shadow_report_job,
        retention.retention_job,
        flow.message_flow_job,
        nightly.housekeeping_job,
    ],
    sensors=[
        diagnosis_sensors.screening_sensor,
        diagnosis_sensors.outbox_sensor,
        report_sensors.review_sensor,
        alerts.alert_sensor,
        # Without it the eager condition of the imbalance report would never be looked at.
        dg.AutomationConditionSensorDefinition("automation_sensor", target=dg.AssetSelection.groups("dataset")),
    ],
    schedules=[
        reports.daily_report_schedule,
        retention.retention_schedule,
        shadow.shadow_report_schedule,
        flow.message_flow_schedule,
        nightly.housekeeping_schedule,
    ],
    resources=RESOURCES,
)
