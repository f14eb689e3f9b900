"""deploy/k8s says what the program and Dagster's launcher know; no cluster is asked."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster._cli.api import grpc_command
from dagster_k8s.job import get_user_defined_k8s_config
from typer.testing import CliRunner

from eye_dx_cli.main import app
from eye_dx_core.settings import Settings
from tests.deploy.compose import DEPLOY, PROJECT

FOLDER = DEPLOY / "k8s"
VALUES = yaml.safe_load((FOLDER / "values.yaml").read_text(encoding="utf-8"))
OBJECTS = [one for file in sorted(FOLDER.glob("*.yaml")) for one in yaml.safe_load_all(file.read_text(encoding="utf-8")) if "kind" in one]
PODS: dict[str, dict[str, Any]] = {
    one["metadata"]["name"]: one["spec"]["template"]["spec"] for one in OBJECTS if one["kind"] == "Deployment"
}
SETTINGS = {f"EYE_DX_{name.upper()}" for name in Settings.model_fields}


def test_every_file_is_part_of_the_whole():
    whole = yaml.safe_load((FOLDER / "kustomization.yaml").read_text(encoding="utf-8"))

    assert {*whole["resources"], "values.yaml", "kustomization.yaml"} == {file.name for file in FOLDER.glob("*.yaml")}


def test_what_pods_are_told_is_a_setting():
    [told] = [one["data"] for one in OBJECTS if one["kind"] == "ConfigMap"]
    secret = (FOLDER / "secret.env.example").read_text(encoding="utf-8").splitlines()
    secrets = {line.split("=")[0] for line in secret if "=" in line and not line.startswith("#")}

    assert set(told) <= SETTINGS
    assert secrets - SETTINGS == {"MLFLOW_DATABASE_URL"}  # which MLflow's pod is given as EYE_DX_MLFLOW_TRACKING_URI
    assert Settings.model_validate({name.removeprefix("EYE_DX_").lower(): value for name, value in told.items()})


@pytest.mark.parametrize("name", PODS)
def test_a_pod_runs_what_exists_without_rights(name: str):
    pod, [container] = PODS[name], PODS[name]["containers"]
    program, *arguments = container["command"]

    if program == "eye-dx":
        assert CliRunner().invoke(app, [*arguments, "--help"]).exit_code == 0
    else:
        assert (PROJECT / arguments[-1].replace(".", "/") / "__main__.py").exists()
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["runAsUser"] == 10001  # as the Dockerfile has it
    assert not container["securityContext"]["allowPrivilegeEscalation"]
    assert container["readinessProbe"]
    assert container["livenessProbe"]


def test_our_code_is_served_as_dagster_takes_it():
    [code] = VALUES["dagster-user-deployments"]["deployments"]

    context = grpc_command.make_context("grpc", ["--port", str(code["port"]), *code["dagsterApiGrpcArgs"]])
    assert context.params["module_name"] == "eye_dx_dagster.definitions"
    assert context.params["port"] == code["port"]


def test_no_service_is_taken_for_a_setting():
    """Kubernetes tells pods of a service by variables, and `EYE_DX_DESK_PORT=tcp://…` would be no number."""
    services = [one["metadata"]["name"] for one in OBJECTS if one["kind"] == "Service"]
    names = [*services, *(one["name"] for one in VALUES["dagster-user-deployments"]["deployments"])]

    assert not SETTINGS & {
        f"{name.upper().replace('-', '_')}_{what}" for name in names for what in ("PORT", "SERVICE_HOST", "SERVICE_PORT")
    }


def test_dagster_is_told_what_it_is_told_in_a_cluster_of_workers():
    theirs = yaml.safe_load((DEPLOY / "celery/dagster.yaml").read_text(encoding="utf-8"))
    ours = {"telemetry": VALUES["telemetry"]} | VALUES["additionalInstanceConfig"]
    longer = {"start_timeout_seconds": 900, "cancel_timeout_seconds": 180}

    assert ours["run_monitoring"] == theirs["run_monitoring"] | longer
    theirs |= {"run_monitoring": ours["run_monitoring"]}
    assert ours == {key: value for key, value in theirs.items() if key not in ("storage", "run_launcher")}


def test_the_chart_is_that_of_our_dagster():
    pins = (PROJECT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    [dagster] = [line.removeprefix("dagster==") for line in pins if line.startswith("dagster==")]

    assert f"--version {dagster} " in (FOLDER / "values.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize(("gpus", "asked"), [("0", {}), ("1", {"limits": {"nvidia.com/gpu": 1}})])
def test_runs_that_read_or_train_ask_for_a_gpu_where_there_are_some_and_others_never(gpus: str, asked: dict[str, object], tmp_path: Path):
    script = (
        "import json; from eye_dx_dagster.definitions import defs;"
        "names = ('diagnosis_job', 'training_job', 'delivery_job');"
        "print(json.dumps({name: dict(defs.resolve_job_def(name).tags) for name in names}))"
    )
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT), "EYE_DX_RUN_GPUS": gpus, "EYE_DX_STATE_DIR": str(tmp_path)}
    told = subprocess.run([sys.executable, "-W", "ignore", "-c", script], env=environment, capture_output=True, text=True, check=True)

    resources = {
        name: get_user_defined_k8s_config(tags).container_config.get("resources", {}) for name, tags in json.loads(told.stdout).items()
    }
    assert resources == {"diagnosis_job": asked, "training_job": asked, "delivery_job": {}}
