"""What Dagster shows of us: a rename shows in review, and loading it costs nothing heavy."""

import subprocess
import sys

import dagster as dg
import pytest

from eye_dx_cli.cluster import QUEUES as OFFERED
from eye_dx_dagster.cluster.queues import GENERAL, QUEUE_TAG, QUEUES

pytestmark = pytest.mark.filterwarnings("ignore::dagster.BetaWarning", "ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def definitions() -> dg.Definitions:
    from eye_dx_dagster.definitions import defs

    return defs


def test_every_name_that_an_operator_knows(definitions: dg.Definitions):
    repository = definitions.get_repository_def()

    assert sorted(key.to_user_string() for key in repository.asset_graph.get_all_asset_keys()) == [
        "checkpoint_evaluation",
        "corrected_labels",
        "daily_diagnosis_report",
        "dataset_manifest",
        "dataset_splits",
        "fine_tuned_checkpoint",
        "housekeeping",
        "imbalance_report",
        "language_model_guard",
        "message_flow",
        "model_candidate",
        "model_registry",
        "shadow_report",
        "storage",
    ]
    assert sorted(key.name for key in repository.asset_graph.asset_check_keys) == [
        "disk_lasts",
        "every_case_is_read_in_time",
        "every_class_has_photographs",
        "every_file_was_read",
        "every_patient_is_known",
        "every_result_is_delivered_in_time",
        "every_screening_is_taken_in_time",
        "everything_due_is_gone",
        "is_better_than_chance",
        "language_model_keeps_the_rules",
        "metrics_are_finite",
        "no_case_is_stuck",
        "no_class_comes_from_one_source",
        "no_copy_poses_as_a_photograph",
        "no_dead_letters",
        "no_grade_zero_under_dr",
        "no_label_conflicts",
        "no_near_duplicate_spans_splits",
        "no_patient_spans_splits",
        "no_personal_data_in_file_names",
        "no_text_is_burned_in",
        "promotion_rule_would_allow_it",
        "reading_has_not_drifted",
    ]
    assert sorted(job.name for job in repository.get_all_jobs() if not job.name.startswith("__")) == [
        "daily_report_job",
        "delivery_job",
        "diagnosis_job",
        "housekeeping_job",
        "message_flow_job",
        "promotion_job",
        "report_job",
        "retention_job",
        "rollback_job",
        "shadow_report_job",
        "training_job",
    ]
    assert sorted(sensor.name for sensor in repository.sensor_defs) == [
        "alert_sensor",
        "automation_sensor",
        "outbox_sensor",
        "review_sensor",
        "screening_sensor",
    ]
    assert [schedule.name for schedule in repository.schedule_defs] == [
        "daily_report_schedule",
        "housekeeping_schedule",
        "message_flow_schedule",
        "retention_schedule",
        "shadow_report_schedule",
    ]


def test_every_asset_says_what_it_is_and_whose(definitions: dg.Definitions):
    for spec in definitions.resolve_all_asset_specs():
        assert spec.description, spec.key
        assert spec.group_name != "default", spec.key
        assert spec.owners, spec.key
        assert spec.kinds, spec.key


def test_loading_the_definitions_imports_nothing_heavy():
    heavy = ("torch", "timm", "mlflow", "openai", "pandas", "matplotlib", "sklearn", "scipy")
    code = f"import sys, eye_dx_dagster.definitions; print([m for m in {heavy} if m in sys.modules])"

    loaded = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)

    assert loaded.stdout.strip() == "[]"


def test_runs_go_to_queues_that_workers_are_offered():
    from eye_dx_dagster.definitions import defs

    repository = defs.get_repository_def()

    assert OFFERED == QUEUES
    assert {repository.get_job(name).tags.get(QUEUE_TAG, GENERAL) for name in repository.job_names} == set(QUEUES)
