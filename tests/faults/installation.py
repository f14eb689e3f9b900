"""A whole installation in a folder: a champion in MLflow, and a real Dagster daemon that tests start and kill."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import psutil

from eye_dx_cli.serving import daemon_command, prepare_state
from eye_dx_core import wiring
from eye_dx_core.dataset.phantom_folders import write_phantom_photo
from eye_dx_core.errors import ServiceUnavailable
from eye_dx_core.queue.port import Message, Queue
from eye_dx_core.queue.topology import QueueNames
from eye_dx_core.records.port import Records
from eye_dx_core.registry.promotion import promote
from eye_dx_core.schema.case import Laterality
from eye_dx_core.schema.message import parse_screening
from eye_dx_core.settings import Settings, child_environment
from tests.builders import a_nested_body
from tests.checkpoints import TINY, a_checkpoint
from tests.faults.own_servers import free_port
from tests.services import A_KEY

PROJECT = Path(__file__).parents[2]
GOOD = {"balanced_accuracy": 0.8, "worst_recall": 0.5, "chance": 0.125}


class Installation:
    """Its settings, its queue and records as the outside sees them, and its daemon."""

    is_cluster = False
    trunk = TINY

    def __init__(self, folder: Path, queue_url: str, records_url: str, names: QueueNames) -> None:
        self.names = names
        self.ports = {f"EYE_DX_{name}_PORT": str(free_port()) for name in ("DAGSTER", "MLFLOW", "DESK", "MONITOR")}
        self.settings = Settings(
            state_dir=folder,
            queue_url=queue_url,
            records_url=records_url,
            queue_names=names,
            vault_keys=A_KEY,  # pyright: ignore[reportArgumentType] - read as the environment gives it
            cluster=self.is_cluster,
            lease_seconds=2,
            linger_seconds=300,
        )
        prepare_state(self.settings)
        registry = wiring.open_registry(self.settings)
        registry.add_candidate(a_checkpoint(folder / "checkpoint", trunk=self.trunk), metrics=GOOD, tags={})
        promote(registry, None, reason="test", by="test")
        write_phantom_photo(self.settings.data / "OD.jpg", "D3", eye=Laterality.RIGHT, seed=1, size=128)
        self.queue: Queue = wiring.open_queue(self.settings)
        self.records: Records = wiring.open_records(self.settings)
        self._daemon: subprocess.Popen[bytes] | None = None
        self._groups: list[int] = []

    def send(self, number: int) -> str:
        """Publish a screening; the id of its case."""
        body, message_id, queue = a_nested_body(f"P{number}", ("OD.jpg",)), f"m-{number}", self.names.screenings
        self.queue.publish(queue, Message(body=body, message_id=message_id))
        return parse_screening(body, source_queue=queue, message_id=message_id, received_at=datetime.now(UTC)).case_id

    def start_daemon(self) -> None:
        """Sensors, run queue and runs, in a process group of their own; one that runs stays."""
        if self._daemon is not None:
            return
        with (self.settings.state / "daemon.log").open("ab") as log:
            self._daemon = subprocess.Popen(
                self.command(),
                env=child_environment(self.settings) | self.told(),
                cwd=PROJECT,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None,  # noqa: PLW1509 - no thread has started
            )
        self._groups.append(self._daemon.pid)

    def command(self) -> list[str]:
        """What is started as one process group."""
        return daemon_command()

    def told(self) -> dict[str, str]:
        """The settings as an environment gives them."""
        return {
            "EYE_DX_QUEUE_URL": self.settings.queue_address,
            "EYE_DX_RECORDS_URL": self.settings.records_address,
            "EYE_DX_QUEUE_NAMES": self.names.model_dump_json(),
            "EYE_DX_VAULT_KEYS": A_KEY,
            "EYE_DX_LEASE_SECONDS": "2",
            "OMP_NUM_THREADS": "1",
        }

    def processes(self) -> list[psutil.Process]:
        """The daemon's process and whatever it started."""
        assert self._daemon is not None
        with suppress(psutil.NoSuchProcess):
            first = psutil.Process(self._daemon.pid)
            return [first, *first.children(recursive=True)]
        return []

    def cut_power(self) -> None:
        """Kill the daemon, its code server and its run workers at once; what `eye-dx up` starts has groups of its own."""
        for one in self.processes() if self._daemon is not None else []:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        for group in self._groups:
            with suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
        self._groups.clear()
        if self._daemon is not None:
            self._daemon.wait()
            self._daemon = None

    def kill_daemon(self) -> None:
        """Kill the daemon alone; what it started goes on without it."""
        if self._daemon is not None:
            self._daemon.kill()
            self._daemon.wait()
            self._daemon = None

    def kill_code_server(self) -> None:
        """Kill the process in which sensors look and from which runs start; the daemon goes on without it."""
        assert self._daemon is not None
        for child in psutil.Process(self._daemon.pid).children():
            with suppress(psutil.NoSuchProcess):  # it may be dead already, or a zombie
                if "grpc" in child.cmdline():
                    child.kill()

    def find_again(self) -> None:
        """Look until queue and records answer, after their servers were gone."""

        def answer() -> bool:
            with suppress(ServiceUnavailable):
                self.queue.depth(self.names.screenings)
                self.records.backlog()
                return True
            return False

        self.wait(answer, 30)

    def pause(self, seconds: float) -> None:
        time.sleep(seconds)

    def wait(self, is_done: Callable[[], object], seconds: float) -> None:
        until = time.monotonic() + seconds
        while not is_done():
            assert time.monotonic() < until, (self.records.backlog(), self.log())
            time.sleep(0.2)

    def log(self) -> str:
        return (self.settings.state / "daemon.log").read_text(encoding="utf-8", errors="replace")[-3000:]

    def close(self) -> None:
        self.cut_power()
        self.records.close()
        self.queue.close()
