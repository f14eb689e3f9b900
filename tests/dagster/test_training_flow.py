"""From folders of photographs to a candidate in Dagster; the command line gives the same model; unsound photographs stop it."""

import shutil
from pathlib import Path
from typing import get_args

import dagster as dg
import pytest
from mlflow.tracking import MlflowClient
from PIL import Image
from typer.testing import CliRunner

from eye_dx_cli.main import app
from eye_dx_core.dataset.phantom_folders import write_phantom_dataset
from eye_dx_core.model.checkpoint import load_checkpoint
from eye_dx_core.model.trainable import Method
from eye_dx_core.registry.memory import MemoryRegistry
from eye_dx_core.registry.port import CANDIDATE, MADE_BY
from eye_dx_core.settings import Settings, get_settings
from eye_dx_dagster.definitions import TRAINING_ASSETS
from eye_dx_dagster.defs.dataset import assets as dataset
from eye_dx_dagster.defs.dataset import checks as dataset_checks
from eye_dx_dagster.defs.registry.jobs import promotion_job
from eye_dx_dagster.defs.training import assets as training
from eye_dx_dagster.defs.training import checks as training_checks

pytestmark = pytest.mark.filterwarnings(
    "ignore::dagster.BetaWarning",
    "ignore::dagster.PreviewWarning",
    "ignore::DeprecationWarning",
    "ignore::FutureWarning",
    "ignore::UserWarning",
    "ignore::ResourceWarning",
)
KNOBS = {"epochs": 2, "batch_size": 8, "bottleneck": 8, "seed": 3}
UPSTREAM = [dataset.dataset_manifest, dataset.imbalance_report, dataset.dataset_splits, training.fine_tuned_checkpoint]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A state folder with photographs of three kinds, known to the command line as well."""
    monkeypatch.setenv("EYE_DX_STATE_DIR", str(tmp_path))
    write_phantom_dataset(tmp_path / "data" / "photos", size=160, counts={"N": 8, "C": 6, "RP": 6})
    return get_settings()


def materialise(
    settings: Settings, assets: list[dg.AssetsDefinition], registry: MemoryRegistry, **knobs: object
) -> dg.ExecuteInProcessResult:
    with dg.instance_for_test() as instance:
        return dg.materialize(
            [*assets, *dataset_checks.CHECKS, *(training_checks.CHECKS if training.checkpoint_evaluation in assets else ())],
            resources={"settings": settings, "registry": registry},
            run_config={"ops": {"fine_tuned_checkpoint": {"config": KNOBS | knobs}}},
            instance=instance,
            raise_on_error=False,
        )


def command(*words: object) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    return result.output if result.exit_code == 0 else f"exit {result.exit_code}: {result.output}"


def test_photographs_become_a_candidate(settings: Settings, tmp_path: Path):
    registry = MemoryRegistry(tmp_path / "registry")

    result = materialise(settings, TRAINING_ASSETS, registry)

    assert result.success, [event.message for event in result.all_events if event.is_failure]
    candidate = registry.find_by_alias(CANDIDATE)
    assert candidate is not None
    assert candidate.learnt_from_phantoms
    assert len(candidate.tags[MADE_BY]) >= 5

    trusted = promotion_job.execute_in_process(
        resources={"registry": registry}, run_config={"ops": {"promote_version": {"config": {"reason": "first", "by": "Dr. Test"}}}}
    )

    (event,) = trusted.asset_materializations_for_node("promote_version")
    assert event.asset_key.to_user_string() == "model_registry"
    assert event.metadata["champion"].value == candidate.version
    assert "promoted: first (Dr. Test" in str(event.metadata["versions"].value)


@pytest.mark.parametrize("method", [pytest.param(one, marks=() if one == "adapters" else pytest.mark.slow) for one in get_args(Method)])
def test_dagster_and_the_command_line_train_the_same_model(settings: Settings, tmp_path: Path, method: Method):
    materialise(settings, UPSTREAM, MemoryRegistry(tmp_path / "registry"), method=method, deployment_prior={"N": 0.8})
    by_dagster = load_checkpoint(settings.prepared / "checkpoint")
    # Nothing that Dagster's run kept may be what makes the second model equal.
    shutil.rmtree(settings.prepared)

    options = ("--model", "small", "--epochs", 2, "--batch-size", 8, "--bottleneck", 8, "--seed", 3, "--save-path", tmp_path / "by-hand")
    assert "epoch 2" in command("train", settings.training_photos, *options, "--method", method, "--deployment-prior", "N=0.8")

    by_hand = load_checkpoint(tmp_path / "by-hand")
    assert by_hand.sha256 == by_dagster.sha256
    assert by_hand.card.deployment_prior == by_dagster.card.deployment_prior


def test_copies_and_grade_zero_under_dr_stop_training_until_they_are_waived(settings: Settings, tmp_path: Path):
    photos = settings.training_photos
    first, second = next(photos.glob("N/**/P1*_OD.jpg")), next((photos / "C").glob("*.jpg"))
    Image.open(first).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(first.with_name("P999_20250101_OD.jpg"))
    (photos / "DR").mkdir()
    second.rename(photos / "DR" / second.name)
    (photos / "DR" / "grades.csv").write_text(f"image,level\n{second.stem},0\n", encoding="utf-8")
    blocked = materialise(settings, UPSTREAM, MemoryRegistry(tmp_path / "registry"))

    assert not blocked.success
    assert not blocked.asset_materializations_for_node("fine_tuned_checkpoint")
    broken = {one.check_name for one in blocked.get_asset_check_evaluations() if not one.passed and one.blocking}
    assert broken == {"no_copy_poses_as_a_photograph", "no_grade_zero_under_dr"}
    said = command("dataset", "check")
    assert said.startswith("exit 1")
    assert "P999_20250101_OD" in said
    assert "training is blocked by" in command_error("train", "--model", "small", "--epochs", 1)

    for claim in sorted(broken):
        command("dataset", "waive", claim, "--reason", "looked at one by one", "--by", "tester")

    waived = materialise(settings, UPSTREAM, MemoryRegistry(tmp_path / "registry"))
    assert waived.success
    card = load_checkpoint(settings.prepared / "checkpoint").card
    waivers = card.training["waivers"]
    assert isinstance(waivers, list)
    assert [one["reason"] for one in waivers if isinstance(one, dict)] == ["looked at one by one"] * 2


def command_error(*words: object) -> str:
    return str(CliRunner().invoke(app, [str(word) for word in words]).exception)


@pytest.mark.slow
def test_a_team_of_processes_trains_and_reports_to_the_run(settings: Settings, tmp_path: Path):
    done = materialise(settings, UPSTREAM, MemoryRegistry(tmp_path / "registry"), processes=2)

    assert done.success, [event.message for event in done.all_events if event.is_failure]
    card = load_checkpoint(settings.prepared / "checkpoint").card
    assert card.training["epochs"] == 2
    (finished,) = done.asset_materializations_for_node("fine_tuned_checkpoint")
    run_id = str(finished.metadata["mlflow_run_id"].value)
    epochs = MlflowClient(tracking_uri=settings.mlflow_address).get_metric_history(run_id, "train_loss")
    assert [one.step for one in epochs] == [1, 2]


def test_the_command_line_says_how_an_unseen_source_is_read(settings: Settings):
    said = command("leave-one-source-out", settings.training_photos, "--model", "small", "--epochs", 1)

    assert "camera_b" in said
    assert "learnt nowhere else: N" in said
