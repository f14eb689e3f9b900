"""Runs on two Celery workers: what a killed worker had is told, started anew, and neither lost nor doubled."""

import signal
import time
from contextlib import closing
from pathlib import Path

import dagster as dg
import psutil
import pytest

from eye_dx_core.queue.topology import QueueNames
from eye_dx_core.settings import child_environment
from eye_dx_dagster.cluster.queues import WORKER_TAG
from eye_dx_demo.dagster_runs import launch_job
from tests.faults.cluster import Cluster, own_worker_cluster
from tests.faults.own_servers import own_cluster, own_rabbit
from tests.faults.tally import count
from tests.services import wait_for

pytestmark = [pytest.mark.service, pytest.mark.timeout(400), pytest.mark.filterwarnings("ignore")]  # MLflow and Dagster warn of themselves
STARTED = dg.RunsFilter(job_name="diagnosis_job", statuses=[dg.DagsterRunStatus.STARTED])
UNDER_WAY = dg.RunsFilter(job_name="diagnosis_job", statuses=[dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED])


def is_finished(instance: dg.DagsterInstance, run: dg.DagsterRun | None) -> bool:
    assert run is not None
    found = instance.get_run_by_id(run.run_id)
    return found is not None and found.is_finished


def assert_clean(cluster: Cluster, published: list[str]) -> None:
    results = [cluster.names.ai_results]
    tally = count(cluster.queue, cluster.records, published, result_queues=results, is_whole=lambda record: record.diagnosis)
    assert tally.is_clean, tally


def is_read(cluster: Cluster) -> bool:
    backlog = cluster.records.backlog()
    return cluster.queue.depth(cluster.names.screenings) == 0 and not backlog.undiagnosed and not backlog.unsent


def executing(cluster: Cluster, run: dg.DagsterRun) -> psutil.Process:
    """The worker that has a run."""
    name, _, pid = run.tags[WORKER_TAG].rpartition("/")
    [worker] = [one for one in cluster.workers() if f"{name.partition('@')[0]}@%h" in one.cmdline()]
    assert int(pid) in {child.pid for child in worker.children()}
    return worker


def test_what_a_killed_worker_had_is_told_and_read_by_another_and_a_stop_finishes_what_was_begun(tmp_path: Path):
    with own_worker_cluster(tmp_path) as cluster, cluster.instance() as instance:
        published = [cluster.send(number) for number in range(40)]
        cluster.start_daemon()
        cluster.wait(lambda: instance.get_runs(STARTED), 120)
        [run, *_] = instance.get_runs(STARTED)

        cluster.kill_worker(executing(cluster, run))

        cluster.wait(lambda: is_finished(instance, run), 60)
        assert instance.get_run_by_id(run.run_id).status is dg.DagsterRunStatus.FAILURE  # pyright: ignore[reportOptionalMemberAccess]
        cluster.wait(lambda: is_read(cluster), 120)
        assert wait_for(lambda: len(cluster.workers()) == 2, 30)  # it was started again

        ready = instance.get_runs(STARTED)  # they wait for more
        assert cluster.stop(signal.SIGINT, 40) == 0
        assert [instance.get_run_by_id(one.run_id).status for one in ready] == [dg.DagsterRunStatus.SUCCESS] * len(ready)  # pyright: ignore[reportOptionalMemberAccess]
        assert ready
        assert_clean(cluster, published)


@pytest.mark.slow
def test_a_pool_holds_across_workers_and_a_run_is_cancelled_where_it_works(tmp_path: Path):
    with own_worker_cluster(tmp_path) as cluster, cluster.instance() as instance:
        cluster.start_daemon()
        cluster.send(0)
        cluster.wait(lambda: instance.get_runs(STARTED), 120)
        environment = child_environment(cluster.settings) | cluster.told()
        asked = [launch_job("diagnosis_job", environment) for _ in range(2)]

        most = 0
        until = time.monotonic() + 60
        while time.monotonic() < until and not all(is_finished(instance, instance.get_run_by_id(one)) for one in asked[:1]):
            most = max(most, len(instance.get_runs(UNDER_WAY)))
            time.sleep(0.2)
        assert most == cluster.diagnosis_runs

        cluster.wait(lambda: instance.get_runs(STARTED), 60)
        [run, *_] = instance.get_runs(STARTED)
        assert instance.run_launcher.terminate(run.run_id)
        cluster.wait(lambda: is_finished(instance, run), 20)


@pytest.mark.slow
@pytest.mark.parametrize("gone", ["the broker", "the database"])
def test_a_server_that_was_gone_is_found_again_by_all_that_waited_for_work(gone: str, tmp_path: Path):
    """Workers wait for their broker, a run that stays ready for screenings, the daemon for its next tick."""
    with own_rabbit() as rabbit, own_cluster() as postgres, closing(Cluster(tmp_path, rabbit.url, postgres.url, QueueNames())) as cluster:
        server = {"the broker": rabbit, "the database": postgres}[gone]
        published = [cluster.send(number) for number in range(4)]
        cluster.start_daemon()
        cluster.wait(lambda: all(map(cluster.records.find_diagnosis, published)), 180)

        server.kill()
        cluster.pause(20)
        server.start()
        cluster.find_again()
        published += [cluster.send(number) for number in range(4, 44)]

        cluster.wait(lambda: is_read(cluster), 180)
        assert len(cluster.workers()) == 2
        assert cluster.stop(signal.SIGTERM, 60) == 0
        assert_clean(cluster, published)
