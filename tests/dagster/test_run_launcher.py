"""A run whose process went down with its code server is told from one that lives."""

import json
import socket
from pathlib import Path

import dagster as dg
import yaml
from dagster._core.launcher import WorkerStatus
from dagster._core.storage.tags import GRPC_INFO_TAG

from eye_dx_dagster.run_launcher import WatchedRunLauncher

PROJECT = Path(__file__).parents[2]


def a_run(**address: object) -> dg.DagsterRun:
    return dg.DagsterRun(job_name="diagnosis_job", tags={GRPC_INFO_TAG: json.dumps({"host": "localhost"} | address)})


def health(run: dg.DagsterRun) -> WorkerStatus:
    return WatchedRunLauncher().check_run_worker_health(run).status


def test_a_run_whose_code_server_listens_is_alive(tmp_path: Path):
    with socket.socket(socket.AF_UNIX) as server, socket.socket() as other:
        server.bind(str(tmp_path / "server"))
        server.listen()
        other.bind(("127.0.0.1", 0))
        other.listen()

        assert health(a_run(socket=str(tmp_path / "server"))) is WorkerStatus.RUNNING
        assert health(a_run(host="127.0.0.1", port=other.getsockname()[1])) is WorkerStatus.RUNNING


def test_a_run_whose_code_server_is_gone_has_failed(tmp_path: Path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "server"))  # what a killed server leaves: a file that nobody listens on

    assert health(a_run(socket=str(tmp_path / "server"))) is WorkerStatus.FAILED
    assert health(a_run(socket=str(tmp_path / "absent"))) is WorkerStatus.FAILED
    assert health(a_run(host="127.0.0.1", port=1)) is WorkerStatus.FAILED


def test_a_run_that_no_code_server_started_is_left_alone():
    assert health(dg.DagsterRun(job_name="training_job")) is WorkerStatus.RUNNING


def test_the_instance_that_we_ship_asks_it():
    with dg.instance_for_test(overrides=yaml.safe_load((PROJECT / "dagster_home" / "dagster.yaml").read_text())) as instance:
        assert isinstance(instance.run_launcher, WatchedRunLauncher)
        assert instance.run_launcher.supports_check_run_worker_health
        assert instance.run_monitoring_enabled


def test_the_cluster_is_configured_like_one_machine_but_for_where_runs_go():
    ours, theirs = (yaml.safe_load((PROJECT / folder / "dagster.yaml").read_text()) for folder in ("dagster_home", "deploy/celery"))
    for one in (ours, theirs):
        del one["storage"], one["run_launcher"], one["concurrency"]["runs"], one["run_monitoring"]["start_timeout_seconds"]

    assert theirs == ours
