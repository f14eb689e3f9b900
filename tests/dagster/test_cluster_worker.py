"""Whether a worker that had a run is still at it: it is asked, and a silence is no answer for a while."""

import importlib
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tests.services import AMQP_URL

pytestmark = pytest.mark.filterwarnings("ignore")  # Celery's libraries warn of themselves when they are imported
Answer = dict[str, list[dict[str, Any]]] | None
BUSY: Answer = {"gpu@host": [{"worker_pid": 7}]}


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setenv("EYE_DX_QUEUE_URL", AMQP_URL)
    return importlib.import_module("eye_dx_dagster.cluster.worker")


def answering(monkeypatch: pytest.MonkeyPatch, worker: ModuleType, answers: list[Answer]) -> Iterator[Answer]:
    left = iter(answers)
    control = SimpleNamespace(inspect=lambda **_: SimpleNamespace(active=lambda: next(left)))
    monkeypatch.setattr(worker, "app", SimpleNamespace(control=control))
    return left


def test_a_run_is_alive_while_its_process_executes(monkeypatch: pytest.MonkeyPatch, worker: ModuleType):
    answering(monkeypatch, worker, [BUSY, BUSY])
    assert worker._is_working("gpu@host/7")
    assert not worker._is_working("gpu@host/8")
    assert not worker._is_working("")  # nobody had it


def test_a_worker_that_has_not_found_the_broker_again_is_asked_again(monkeypatch: pytest.MonkeyPatch, worker: ModuleType):
    left = answering(monkeypatch, worker, [None, None, BUSY])
    assert worker._is_working("gpu@host/7")
    assert not list(left)


def test_a_worker_that_stays_silent_is_gone(monkeypatch: pytest.MonkeyPatch, worker: ModuleType):
    monkeypatch.setattr(worker, "_SILENCE_SECONDS", -1)
    answering(monkeypatch, worker, [None])
    assert not worker._is_working("gpu@host/7")
