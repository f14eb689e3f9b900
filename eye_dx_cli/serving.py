"""`eye-dx up` and `eye-dx health`: start what a person works with, and see whether it is well."""

import errno
import fcntl
import os
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Generator, Mapping
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import honcho.manager
import typer
from honcho.manager import Manager

from eye_dx_cli.desk import desk_command
from eye_dx_cli.showing import console, show_json, show_table
from eye_dx_core import message_flow, wiring
from eye_dx_core.errors import BadSettings, EyeDxError
from eye_dx_core.logs import LogFormat
from eye_dx_core.registry.port import CHAMPION
from eye_dx_core.settings import Settings, child_environment, get_settings

Part = StrEnum("Part", ["dagster", "daemon", "desk", "monitor", "mlflow"])
"""The processes of `commands`."""

PROJECT = Path(__file__).resolve().parent.parent


def up() -> None:
    """Start Dagster's UI and daemon, MLflow's UI, the review desk and the monitor. One Ctrl-C stops all of them."""
    run_together(get_settings(), {})


def run_together(settings: Settings, others: Mapping[str, str], *, patience_seconds: int = 5) -> None:
    """Start what a person works with, and other processes by their shell commands, until Ctrl-C; who does not end in time is killed."""
    prepare_state(settings)
    limit_pool(settings)
    check_ports(settings)
    environment = child_environment(settings)
    honcho.manager.KILL_WAIT = patience_seconds  # it has no other way in
    manager = Manager()
    ours = {name: shlex.join(command) for name, command in commands(settings).items()}
    for name, command in (ours | dict(others)).items():
        # Without the shell between us, one that somebody else ends is told from one that was stopped with all the others.
        manager.add_process(name, f"exec {command}", env=environment, cwd=str(PROJECT))
    with only_daemon(settings):
        console.print(
            f"Review desk http://127.0.0.1:{settings.desk_port}   Dagster http://127.0.0.1:{settings.dagster_port}   "
            f"MLflow http://127.0.0.1:{settings.mlflow_port}   Metrics http://127.0.0.1:{settings.monitor_port}/metrics   Ctrl-C stops all"
        )
        manager.loop()
    # Ctrl-C and a service manager's SIGTERM are how one is meant to stop, so they are a success; only a process that died by itself is not.
    sys.exit(0 if manager.returncode in (0, 130, 143, -2, None) else 1)


def serve(part: Annotated[Part, typer.Argument(help="Which one.")]) -> None:
    """Become one of the processes of `eye-dx up`: for containers and services, which want one each."""
    settings = get_settings()
    prepare_state(settings)
    if part is Part.daemon:
        limit_pool(settings)
    command = commands(settings)[part]
    os.chdir(PROJECT)
    os.execve(command[0], command, child_environment(settings))  # noqa: S606 - the signals are its own


def limit_pool(settings: Settings) -> None:
    """Let as many diagnosis runs work at once as EYE_DX_DIAGNOSIS_RUNS says; the limit lies in Dagster's database and holds everywhere.

    Raises:
        BadSettings: Dagster cannot open its database.
    """
    if settings.diagnosis_runs == 1 and not settings.cluster:
        return  # as dagster.yaml has it
    dagster = str(Path(sys.executable).parent / "dagster")
    command = [dagster, "instance", "concurrency", "set", "gpu", str(settings.diagnosis_runs)]
    if subprocess.run(command, env=child_environment(settings), capture_output=True, check=False).returncode != 0:
        raise BadSettings("Dagster cannot open its database: is EYE_DX_DAGSTER_URL right, and may its user make tables?")


@contextmanager
def only_daemon(settings: Settings) -> Generator[None]:
    """Hold Dagster's home for one daemon: two on one home start every run twice.

    Raises:
        BadSettings: somebody holds it.
    """
    with _held(settings, "runs on this state folder already: stop it, or set EYE_DX_STATE_DIR"):
        yield


@contextmanager
def alone(settings: Settings) -> Generator[None]:
    """Hold the state folder for what nothing may run beside: `make up` and `make cluster` share its models and the vault's key.

    Raises:
        BadSettings: one of the two holds it, or the demo does.
    """
    with ExitStack() as stack:
        for cluster in (False, True):
            stack.enter_context(_held(settings.model_copy(update={"cluster": cluster}), "runs on this state folder: stop it first"))
        yield


@contextmanager
def _held(settings: Settings, refusal: str) -> Generator[None]:
    settings.dagster_home.mkdir(parents=True, exist_ok=True)
    with (settings.dagster_home / "daemon.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BadSettings(f"{'`make cluster`' if settings.cluster else '`make up` or `make demo`'} {refusal}") from None
        yield


def commands(settings: Settings) -> dict[str, list[str]]:
    """The command of each process; all bind to this machine only, unless EYE_DX_BIND says otherwise: Dagster and MLflow have no login.

    Command lines are everybody's to read, so MLflow finds its database, whose URL may hold a password, in the environment.
    """
    bin_folder = Path(sys.executable).parent
    workspace = str(PROJECT / "workspace.yaml")
    return {
        "dagster": [
            *(str(bin_folder / "dagster-webserver"), "-w", workspace, "-h", settings.bind, "-p", str(settings.dagster_port)),
            *_dagster_log_format(settings.log_format),
            *("--dagster-log-level", "warning", "--code-server-log-level", "warning"),
        ],
        "daemon": daemon_command(settings.log_format),
        "desk": desk_command(),
        "monitor": monitor_command(),
        "mlflow": [
            *(str(bin_folder / "mlflow"), "server", "--host", settings.bind, "--port", str(settings.mlflow_port), "--workers", "1"),
            *("--uvicorn-opts", "--log-level warning"),
            *("--artifacts-destination", settings.artifact_address),
        ],
    }


def _dagster_log_format(log_format: LogFormat) -> list[str]:
    return ["--log-format", "json"] if log_format is LogFormat.JSON else []


def daemon_command(log_format: LogFormat = LogFormat.TEXT) -> list[str]:
    """The command of Dagster's daemon, which ticks the sensors and starts the runs."""
    # Runs and failures are told by the runs' own log; at `info` every sensor would report each of its ticks.
    return [
        str(Path(sys.executable).parent / "dagster-daemon"),
        "run",
        "-w",
        str(PROJECT / "workspace.yaml"),
        "--log-level",
        "warning",
        *_dagster_log_format(log_format),
    ]


def monitor_command() -> list[str]:
    """The command of the process that Prometheus and probes ask; it loads Dagster's definitions for their names."""
    return [sys.executable, "-W", "ignore", "-m", "eye_dx_dagster.monitor"]


def prepare_state(settings: Settings) -> None:
    """Make the state folder ready: Dagster's configuration, the databases with their schema.

    Raises:
        BadSettings: this user may not write there.
    """
    try:
        for folder in (settings.dagster_home, settings.data):
            folder.mkdir(parents=True, exist_ok=True)
            if not os.access(folder, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise BadSettings(
            f"the state folder {settings.state} cannot be made or written by this user ({reason}): give it to this user, "
            "or choose another with EYE_DX_STATE_DIR"
        ) from None
    if settings.cluster:
        wiring.make_cluster_database(settings)
    instance_file = settings.dagster_home / "dagster.yaml"
    if not instance_file.exists():
        shutil.copy(PROJECT / ("deploy/celery" if settings.cluster else "dagster_home") / "dagster.yaml", instance_file)
    if not settings.cluster and not (settings.dagster_home / "history").exists():
        # Web server and daemon make missing databases when they start, and one of the two stumbles over the other and ends.
        dagster = str(Path(sys.executable).parent / "dagster")
        subprocess.run([dagster, "instance", "migrate"], env=child_environment(settings), stdout=subprocess.DEVNULL, check=True)
    wiring.open_records(settings).close()
    wiring.prepare_registry(settings)


def check_ports(settings: Settings) -> None:
    """Refuse to start onto a port that somebody else has.

    Raises:
        BadSettings: naming the variable that chooses another port.
    """
    ports = {
        "EYE_DX_DAGSTER_PORT": settings.dagster_port,
        "EYE_DX_MLFLOW_PORT": settings.mlflow_port,
        "EYE_DX_DESK_PORT": settings.desk_port,
        "EYE_DX_MONITOR_PORT": settings.monitor_port,
    }
    for name, port in ports.items():
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                raise BadSettings(f"port {port} is taken: stop what listens there, or choose another with {name}")


def health(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:  # noqa: FBT002
    """Look at queue, records, files and registry; exit code 1 when one does not answer, somebody waits too long, or a person is needed."""
    settings = get_settings()
    findings = [_installation(settings), *_flow_state(settings), _files_state(settings), _registry_state(settings)]
    if as_json:
        show_json([{"part": part, "is_well": is_well, "state": state} for part, is_well, state in findings])
    else:
        show_table("Health", ("part", "", "state"), ((part, "ok" if is_well else "PROBLEM", state) for part, is_well, state in findings))
    if not all(is_well for _, is_well, _ in findings):
        raise typer.Exit(1)


def _installation(settings: Settings) -> tuple[str, bool, str]:
    """Which one is looked at: the current folder and variables choose it, and another terminal may have others."""
    queue, records = (_without_secrets(one) for one in (settings.queue_address, settings.records_address))
    return "installation", True, f"{settings.state}, queue {queue}, records {records}"


def _without_secrets(address: str) -> str:
    """No parser: a password may hold what would mislead one."""
    scheme, _, rest = address.partition("://")
    return f"{scheme.partition('+')[0]}://{rest.rpartition('@')[2].partition('?')[0]}"


def _flow_state(settings: Settings) -> list[tuple[str, bool, str]]:
    """What the asset `message_flow` shows and its checks claim."""
    try:
        with closing(wiring.open_queue(settings)) as queue, closing(wiring.open_records(settings)) as records:
            flow = message_flow.look_at_flow(queue, records, names=settings.queue_names, at=datetime.now(UTC))
    except EyeDxError as error:
        return [("queue and records", False, str(error))]
    backlog = ", ".join(f"{count} {what}" for what, count in message_flow.count_backlog(flow).items())
    findings = message_flow.judge(flow, alarm_after=timedelta(minutes=settings.alarm_minutes))
    parts = [("queue", True, f"{flow.waiting} waiting"), ("records", True, backlog)]
    return [*parts, *((one.claim, one.holds, one.reason) for one in findings)]


def _files_state(settings: Settings) -> tuple[str, bool, str]:
    try:
        wiring.open_files(settings).check()
    except EyeDxError as error:
        return "files", False, str(error)
    return "files", True, settings.files_url or str(settings.data)


def _registry_state(settings: Settings) -> tuple[str, bool, str]:
    try:
        champion = wiring.open_registry(settings).find_by_alias(CHAMPION)
    except EyeDxError as error:
        return "registry", False, str(error)
    if champion is None:
        return "registry", False, "no champion: nothing can be diagnosed"
    if champion.learnt_from_phantoms:
        return "registry", False, f"champion is version {champion.version}, which learnt from phantoms: it must not read patients"
    return "registry", True, f"champion is version {champion.version}"


def register(app: typer.Typer) -> None:
    """Add the commands to the root command."""
    app.command()(up)
    app.command()(serve)
    app.command()(health)
