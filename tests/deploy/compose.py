"""deploy/compose.yaml as an engine reads it, and its services as plain processes: the same commands, environments and health checks."""

import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

PROJECT = Path(__file__).parents[2]
DEPLOY = PROJECT / "deploy"
BINARIES = Path(sys.executable).parent
_VARIABLE = re.compile(r"\$\$|\$\{(\w+)(?::([?-])([^}]*))?\}")


def read_env_file() -> dict[str, str]:
    """The lines of env.example."""
    lines = (DEPLOY / "env.example").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def needed_variables() -> set[str]:
    """What an engine refuses to start without."""
    return set(re.findall(r"\$\{(\w+):\?\}", (DEPLOY / "compose.yaml").read_text(encoding="utf-8")))


def read_image() -> dict[str, str]:
    """Environment of the image."""
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line.partition(" ") for line in text.splitlines()]
    environment = [pair.split("=", 1) for word, _, rest in lines if word == "ENV" for pair in shlex.split(rest)]
    return {name: value for name, value in environment if name != "PATH"}


def read_compose(given: Mapping[str, str]) -> dict[str, Any]:
    """The file with the variables filled in, as an engine does; KeyError where one is needed and not given."""

    def fill(found: re.Match[str]) -> str:
        name, kind, default = found.groups()
        if name is None:
            return "$"
        return given.get(name) or default if kind == "-" else given[name]

    def filled(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: filled(one) for key, one in value.items()}
        if isinstance(value, list):
            return [filled(one) for one in value]
        if not isinstance(value, str):
            return value
        text = _VARIABLE.sub(fill, value)
        return {"true": True, "false": False}.get(text, text) if _VARIABLE.fullmatch(value) else text

    return filled(yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8")))


def ours(services: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The services that run our image."""
    return {name: service for name, service in services.items() if service["image"].startswith("eye-dx:")}


class Service:
    """One service as a process: nothing of this process' environment reaches it, and addresses within the network become free ports."""

    def __init__(self, name: str, service: Mapping[str, Any], places: Mapping[str, str], folder: Path) -> None:
        self.name = name
        self._service, self._places, self._log = service, places, folder / f"{name}.log"
        self.command = service["command"]
        self.environment = {
            "PATH": f"{BINARIES}{os.pathsep}/usr/bin:/bin",
            "HOME": str(folder),
            "HOSTNAME": socket.gethostname(),
            "PYTHONPATH": str(PROJECT),
            "OMP_NUM_THREADS": "1",
            **{key: self._placed(str(value)) for key, value in (read_image() | service["environment"]).items()},
            **{key: value for key, value in places.items() if key.startswith("EYE_DX_")},
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(BINARIES / self.command[0]), *self.command[1:]],
                env=self.environment,
                cwd=PROJECT,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def is_healthy(self) -> bool:
        """What its health check says, as compose.yaml words it."""
        kind, *words = self._service["healthcheck"]["test"]
        command = ["sh", "-c", *words] if kind == "CMD-SHELL" else words
        command = [self._placed(word) for word in command]
        assert self._process is not None
        assert self._process.poll() is None, f"{self.name} ended: {self.log()}"
        seconds = int(self._service["healthcheck"]["timeout"].removesuffix("s")) * 3  # the cores of a test are shared with all services
        try:
            return (
                subprocess.run(command, env=self.environment, cwd=PROJECT, capture_output=True, timeout=seconds, check=False).returncode
                == 0
            )
        except subprocess.TimeoutExpired:
            return False

    def log(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")[-3000:]

    def tell_to_stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def wait(self, seconds: float) -> int:
        assert self._process is not None
        try:
            return self._process.wait(seconds)
        finally:
            self.kill()

    def kill(self) -> None:
        if self._process is not None:
            try:
                os.killpg(self._process.pid, 9)
            except ProcessLookupError:
                return
            self._process.wait()

    def _placed(self, text: str) -> str:
        for there, here in self._places.items():
            text = text.replace(there, here)
        return text


def stop_all(services: Iterable[Service]) -> dict[str, int]:
    """As an engine stops them, all at once; their exit codes."""
    services = list(services)
    for one in services:
        one.tell_to_stop()
    return {one.name: one.wait(60) for one in services}
