"""deploy/compose.yaml on a container engine, as docs/operations.md says: from nothing to a result, a restart, and an end.

Needs Docker with Compose 2.24 or newer. It builds the image, unless EYE_DX_IMAGE names one that is there.
"""

import json
import os
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from eye_dx_core.dataset.phantom_folders import write_phantom_photo
from eye_dx_core.schema.case import Laterality
from tests.builders import a_nested_body
from tests.checkpoints import a_checkpoint
from tests.deploy.compose import DEPLOY, PROJECT, needed_variables, read_env_file
from tests.faults.installation import GOOD
from tests.faults.own_servers import free_port
from tests.services import A_KEY, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

DOCKER = shutil.which("docker")
OPERATOR = ("operator", "a password")
STATE = "/var/lib/eye-dx"
TRUST = f"""
from pathlib import Path
from eye_dx_core import wiring
from eye_dx_core.settings import get_settings
wiring.open_registry(get_settings()).add_candidate(Path("/tmp/checkpoint"), metrics={GOOD!r}, tags={{}})
"""


def call(*command: str, seconds: int = 120) -> str:
    assert DOCKER is not None
    done = subprocess.run([DOCKER, *command], cwd=PROJECT, capture_output=True, text=True, timeout=seconds, check=False)
    assert done.returncode == 0, (command[:6], done.stdout[-2000:], done.stderr[-3000:])
    return done.stdout


class Project:
    """A project of Compose with a name, ports and volumes of its own."""

    def __init__(self, image: str, folder: Path) -> None:
        self.port = free_port()
        given = read_env_file() | {"EYE_DX_HOST": "localhost", "EYE_DX_IMAGE": image, "EYE_DX_VAULT_KEYS": A_KEY}
        given |= {name: "0123456789abcdef" for name in needed_variables() if not given.get(name)}
        hashed = call("run", "--rm", "caddy:2.8", "caddy", "hash-password", "--plaintext", OPERATOR[1], seconds=600)
        given["OPERATOR_PASSWORD_HASH"] = f"'{hashed.strip()}'"
        (folder / "env").write_text("".join(f"{name}={value}\n" for name, value in given.items()), encoding="utf-8")
        (folder / "ports.yaml").write_text(f'services: {{proxy: {{ports: !override ["127.0.0.1:{self.port}:443"]}}}}\n', encoding="utf-8")
        files = ("-f", str(DEPLOY / "compose.yaml"), "-f", str(folder / "ports.yaml"))
        self._compose = ("compose", "-p", f"eye-dx-{folder.name[-12:]}".lower(), "--env-file", str(folder / "env"), *files)

    def __call__(self, *command: str, seconds: int = 120) -> str:
        return call(*self._compose, *command, seconds=seconds)

    def eye_dx(self, *command: str) -> str:
        """What an administrator types."""
        return self("exec", "-T", "desk", "eye-dx", *command)

    def results(self) -> int:
        """AI results that wait for their receiver."""
        return json.loads(self.eye_dx("queue", "depth", "--json"))["eye_dx_ai_results"]

    def up(self) -> None:
        """Start what does not run, and return when all that has a health check is well."""
        self("up", "-d", "--wait", "--wait-timeout", "900", seconds=1000)


@pytest.fixture(scope="module")
def image() -> str:
    """The image of this folder, or the one that is named."""
    if DOCKER is None or subprocess.run([DOCKER, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("there is no Docker with Compose")
    if subprocess.run([DOCKER, "info"], capture_output=True, check=False).returncode:
        pytest.skip("Docker does not answer")
    if (named := os.environ.get("EYE_DX_IMAGE")) is not None:
        return named
    call("build", "-f", "deploy/Dockerfile", "-t", "eye-dx:test", ".", seconds=3000)
    return "eye-dx:test"


@pytest.fixture
def project(image: str, tmp_path: Path) -> Iterator[Project]:
    one = Project(image, tmp_path)
    try:
        yield one
    finally:
        one("down", "-v", seconds=300)


def test_from_nothing_to_a_result_through_a_restart_to_an_end(project: Project, tmp_path: Path):
    photo, message = tmp_path / "OD.jpg", tmp_path / "message.json"
    write_phantom_photo(photo, "D3", eye=Laterality.RIGHT, seed=1, size=128)
    message.write_bytes(a_nested_body("P1", ("OD.jpg",)))
    for file in (checkpoint := a_checkpoint(tmp_path / "checkpoint")).iterdir():
        file.chmod(0o644)  # copies keep owner and mode, and the image's user is another
    checkpoint.chmod(0o755)
    project.up()
    for file, place in ((photo, f"{STATE}/data/OD.jpg"), (message, "/tmp/message.json"), (checkpoint, "/tmp")):
        project("cp", str(file), f"desk:{place}")
    project("exec", "-T", "desk", "python", "-c", TRUST)
    project.eye_dx("registry", "promote", "--reason", "test", "--by", "test")

    project.eye_dx("queue", "send", "/tmp/message.json")
    assert wait_for(lambda: project.results() == 1, 300), project("logs", "--tail", "40")
    project("kill", "reader")
    project("restart", "rabbitmq")
    project.up()
    project.eye_dx("queue", "send", "/tmp/message.json")
    assert wait_for(lambda: project.results() == 2, 300), project("logs", "--tail", "40")

    assert "timed out" in project(
        "exec",
        "-T",
        "worker",
        "python",
        "-c",
        "import socket\ntry: socket.create_connection(('1.1.1.1', 443), 5)\nexcept OSError as error: print(error)",
    )
    authority = tmp_path / "root.crt"
    project("cp", "proxy:/data/caddy/pki/authorities/local/root.crt", str(authority))
    with httpx2.Client(verify=ssl.create_default_context(cafile=authority), timeout=30) as client:
        asked = {
            (name, auth): client.get(
                f"https://127.0.0.1:{project.port}{path}", headers={"Host": name}, extensions={"sni_hostname": name}, auth=auth
            ).status_code
            for name, path in (("localhost", "/login"), ("dagster.localhost", "/server_info"), ("mlflow.localhost", "/health"))
            for auth in (None, OPERATOR)
        }
    assert {name: asked[name, None] for name, _ in asked} == {"localhost": 200, "dagster.localhost": 401, "mlflow.localhost": 401}
    assert {asked[name, OPERATOR] for name, _ in asked} == {200}
