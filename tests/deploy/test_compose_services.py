"""Every service of deploy/compose.yaml by its exact command, as plain processes on servers of their own: screenings come out as results."""

import shutil
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx2
import psycopg
import pytest

from eye_dx_core import wiring
from eye_dx_core.dataset.phantom_folders import write_phantom_photo
from eye_dx_core.queue.port import Message
from eye_dx_core.registry.promotion import promote
from eye_dx_core.schema.case import Laterality
from eye_dx_core.settings import Settings
from tests.builders import a_nested_body
from tests.checkpoints import a_checkpoint
from tests.deploy.compose import DEPLOY, Service, needed_variables, ours, read_compose, read_env_file, stop_all
from tests.faults.installation import GOOD
from tests.faults.own_servers import free_port, own_cluster, own_rabbit
from tests.services import A_KEY, wait_for

pytestmark = [pytest.mark.service, pytest.mark.slow, pytest.mark.timeout(1200), pytest.mark.filterwarnings("ignore")]

SECRET, SCREENINGS = "0123456789abcdef", 5
OPERATOR = ("operator", "a password")
PARTS = {"dagster": 3000, "mlflow": 5000, "desk": 8010, "monitor": 9108}
START_SECONDS = 300


@contextmanager
def a_stack(folder: Path, given: dict[str, str]) -> Iterator[tuple[dict[str, Service], dict[str, int]]]:
    """The services, not yet started, and the ports of those that have one."""
    services, ports = read_compose(given)["services"], {part: free_port() for part in PARTS}
    rules = (DEPLOY / "rabbitmq.conf").read_text(encoding="utf-8")
    with own_rabbit(user="eye_dx", password=SECRET, settings=rules) as rabbit, own_cluster() as cluster:
        with psycopg.connect(host="127.0.0.1", port=cluster.port, user="postgres", autocommit=True) as admin:
            admin.execute("CREATE ROLE eye_dx LOGIN SUPERUSER")
            admin.execute("CREATE DATABASE eye_dx")
            for statement in (DEPLOY / "postgres.sql").read_text(encoding="utf-8").split(";"):
                if "CREATE" in statement:
                    admin.execute(statement.encode())
        places = {
            "/var/lib/eye-dx": str(folder),
            "@postgres:5432": f"@127.0.0.1:{cluster.port}",
            "@rabbitmq:5672": f"@127.0.0.1:{rabbit.port}",
            "http://mlflow:5000": f"http://127.0.0.1:{ports['mlflow']}",
            **{f"//127.0.0.1:{port}": f"//127.0.0.1:{ports[part]}" for part, port in PARTS.items()},
            **{f"EYE_DX_{part.upper()}_PORT": str(port) for part, port in ports.items()},
        }
        stack = {name: Service(name, service, places, folder) for name, service in ours(services).items()}
        try:
            yield stack, ports
        finally:
            for one in stack.values():
                one.kill()


@contextmanager
def a_proxy(folder: Path, given: dict[str, str], ports: dict[str, int]) -> Iterator[httpx2.Client]:
    """Debian's Caddy with our Caddyfile, on free ports and with an authority of its own."""
    caddy, port, config = shutil.which("caddy"), free_port(), folder / "Caddyfile"
    assert caddy is not None
    text = (DEPLOY / "Caddyfile").read_text(encoding="utf-8")
    for part in ("desk", "dagster", "mlflow"):
        text = text.replace(f"reverse_proxy {part}:{PARTS[part]}", f"reverse_proxy 127.0.0.1:{ports[part]}")
    config.write_text(f"{{\nadmin off\nskip_install_trust\nhttp_port {free_port()}\nhttps_port {port}\n}}\n{text}", encoding="utf-8")
    names = ("EYE_DX_HOST", "OPERATOR_NAME", "OPERATOR_PASSWORD_HASH")
    environment = {"HOME": str(folder), "XDG_DATA_HOME": str(folder), **{name: given[name] for name in names}}
    with (folder / "caddy.log").open("wb") as log:
        process = subprocess.Popen(
            [caddy, "run", "--config", str(config), "--adapter", "caddyfile"], env=environment, stdout=log, stderr=log
        )
    try:
        signed = folder / "caddy/certificates/local"
        assert wait_for(lambda: len([*signed.glob("*/*.crt")]) == 3, 60), (folder / "caddy.log").read_text(encoding="utf-8")[-2000:]
        authority = folder / "caddy/pki/authorities/local/root.crt"
        with httpx2.Client(base_url=f"https://127.0.0.1:{port}", verify=ssl.create_default_context(cafile=authority), timeout=30) as client:
            yield client
    finally:
        process.terminate()
        process.wait(20)


def ask(client: httpx2.Client, host: str, path: str, auth: tuple[str, str] | None = None) -> httpx2.Response:
    """As a browser asks a name that only the proxy's certificate knows."""
    return client.get(path, headers={"Host": host}, extensions={"sni_hostname": host}, auth=auth)


def invented_values() -> dict[str, str]:
    """A filled-in .env."""
    given = read_env_file() | {"EYE_DX_HOST": "localhost", "OPERATOR_NAME": OPERATOR[0], "EYE_DX_VAULT_KEYS": A_KEY}
    caddy = shutil.which("caddy")
    if caddy:
        hashed = subprocess.run([caddy, "hash-password", "--plaintext", OPERATOR[1]], capture_output=True, text=True, check=True).stdout
        given["OPERATOR_PASSWORD_HASH"] = hashed.strip()
    return {name: value or (SECRET if name in needed_variables() else "") for name, value in given.items()}


def publish_screenings(stack: dict[str, Service], folder: Path) -> int:
    """Promote a champion, as its server lets us, and send photographs by the broker; how many results came out."""
    told = {
        name.removeprefix("EYE_DX_").lower(): value
        for name, value in stack["worker"].environment.items()
        if name.startswith("EYE_DX_") and value
    }
    settings = Settings.model_validate(told)
    registry = wiring.open_registry(settings)
    registry.add_candidate(a_checkpoint(folder / "checkpoint"), metrics=GOOD, tags={})
    promote(registry, None, reason="test", by="test")
    write_phantom_photo(settings.data / "OD.jpg", "D3", eye=Laterality.RIGHT, seed=1, size=128)
    with closing(wiring.open_queue(settings)) as queue:
        for number in range(SCREENINGS):
            body = a_nested_body(f"P{number}", ("OD.jpg",))
            queue.publish(settings.queue_names.screenings, Message(body=body, message_id=f"m-{number}"))
        wait_for(lambda: queue.depth(settings.queue_names.ai_results) == SCREENINGS, START_SECONDS)
        return queue.depth(settings.queue_names.ai_results)


def test_every_service_starts_is_healthy_and_reads_what_comes_by_the_queue(tmp_path: Path):
    given = invented_values()
    with a_stack(tmp_path, given) as (stack, ports):
        stack["mlflow"].start()  # which all others wait for
        assert wait_for(stack["mlflow"].is_healthy, START_SECONDS), stack["mlflow"].log()
        for name in stack.keys() - {"mlflow"}:
            stack[name].start()
        for one in stack.values():
            assert wait_for(one.is_healthy, START_SECONDS), (one.name, one.log())

        assert publish_screenings(stack, tmp_path) == SCREENINGS, {name: one.log() for name, one in stack.items()}

        if shutil.which("caddy"):
            assert_only_those_who_may_come_through_the_proxy(tmp_path, given, ports)
        codes = stop_all(stack.values())
        assert set(codes.values()) <= {0, -15, 143}, (codes, {name: one.log() for name, one in stack.items()})


def assert_only_those_who_may_come_through_the_proxy(folder: Path, given: dict[str, str], ports: dict[str, int]) -> None:
    with a_proxy(folder, given, ports) as client:
        assert wait_for(lambda: ask(client, "localhost", "/readyz").is_success, 30)
        assert ask(client, "localhost", "/login").headers["Strict-Transport-Security"]
        for part, path in (("dagster", "/server_info"), ("mlflow", "/health")):
            host = f"{part}.localhost"
            assert ask(client, host, path).status_code == 401
            assert ask(client, host, path, (OPERATOR[0], "another")).status_code == 401
            assert ask(client, host, path, OPERATOR).status_code == 200
        origin = "https://mlflow.localhost"  # its pages ask by POST, and it refuses those of others
        for sender, expected in ((origin, 200), ("https://elsewhere.example", 403)):
            found = client.post(
                "/ajax-api/2.0/mlflow/experiments/search",
                json={"max_results": 1},
                headers={"Host": "mlflow.localhost", "Origin": sender},
                extensions={"sni_hostname": "mlflow.localhost"},
                auth=OPERATOR,
            )
            assert found.status_code == expected
