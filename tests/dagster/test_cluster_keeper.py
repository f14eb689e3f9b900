"""The process that keeps a worker alive: a killed one is started again, a stop is passed on, and it ends as its worker did."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from eye_dx_core.settings import Settings, child_environment
from tests.services import wait_for

PROJECT = Path(__file__).parents[2]
KEEPER = """
import signal, sys, types
import eye_dx_dagster.cluster.__main__ as keeper

def work(args, standalone_mode):
    assert args[2:] == ["eye_dx_dagster.cluster.worker", "worker", "-n", "gpu"]
    print("works", flush=True)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    signal.sigwait([signal.SIGTERM])
    return 7

keeper._LIBRARIES, keeper._PAUSE_SECONDS, keeper._LONG_PAUSE_SECONDS = (), 0.1, 0.2
keeper.celery = types.SimpleNamespace(main=work)
keeper.main()
"""


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    settings = Settings(
        state_dir=tmp_path,
        cluster=True,
        queue_url="amqp://nobody@127.0.0.1:1/",  # pyright: ignore[reportArgumentType] - read as the environment gives it
        records_url="postgresql+psycopg://nobody@127.0.0.1:1/none",  # pyright: ignore[reportArgumentType]
    )
    command = [sys.executable, "-c", KEEPER, "-n", "gpu"]
    with subprocess.Popen(
        command, cwd=PROJECT, env=child_environment(settings), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.kill()


def next_worker(keeper: "subprocess.Popen[str]") -> psutil.Process:
    assert keeper.stdout is not None
    assert keeper.stdout.readline() == "works\n"
    [worker] = psutil.Process(keeper.pid).children()
    return worker


def test_a_killed_worker_is_started_again_and_a_stop_is_passed_on(keeper: "subprocess.Popen[str]"):
    first = next_worker(keeper)
    first.kill()
    second = next_worker(keeper)
    assert second != first

    keeper.send_signal(signal.SIGTERM)
    assert keeper.wait(10) == 7
    assert not second.is_running()
    assert keeper.stderr is not None
    assert "killed by signal 9" in keeper.stderr.read()


def test_a_worker_does_not_outlive_the_process_that_keeps_it(keeper: "subprocess.Popen[str]"):
    worker = next_worker(keeper)
    keeper.kill()

    assert wait_for(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE, 10)


def test_nothing_is_started_after_a_stop(keeper: "subprocess.Popen[str]"):
    worker = next_worker(keeper)
    keeper.send_signal(signal.SIGSTOP)
    worker.kill()
    keeper.send_signal(signal.SIGTERM)
    keeper.send_signal(signal.SIGCONT)

    assert keeper.wait(10) == 0
    assert wait_for(lambda: not worker.is_running(), 5)
