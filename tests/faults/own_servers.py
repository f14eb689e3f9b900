"""Throwaway RabbitMQ nodes and PostgreSQL clusters that a test may stop, kill and start again; nothing of them stays."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pika
import psycopg
from pika.exceptions import AMQPError

from tests.services import skip_or_fail, wait_for

START_SECONDS = 60
_RABBITMQ = ("/usr/lib/rabbitmq/bin", "/usr/lib/rabbitmq/lib/*/sbin", "/opt/rabbitmq/sbin")
_POSTGRES = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/local/pgsql/bin")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class OwnRabbit:
    """A node with its own Erlang port mapper, so that the machine's broker and its mapper never hear of it."""

    def __init__(self, folder: Path, binary: Path, mapper: str, *, user: str, password: str, settings: str) -> None:
        self._folder, self._binary = folder, binary
        self.port, mapper_port = free_port(), free_port()
        self.url = f"amqp://{user}:{password}@127.0.0.1:{self.port}/%2F"
        (folder / "plugins").write_text("[].\n")
        ours = f"listeners.tcp.1 = 127.0.0.1:{self.port}\ndefault_user = {user}\ndefault_pass = {password}\n"
        (folder / "rabbitmq.conf").write_text(ours + settings)
        (folder / "empty.conf").touch()
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith(("RABBITMQ_", "ERL_"))} | {
            "HOME": str(folder),  # Erlang keeps its cookie there
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(mapper_port),
            "ERL_FLAGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "RABBITMQ_NODENAME": f"faults{self.port}@localhost",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "empty.conf"),
        }
        self._mapper = subprocess.Popen([mapper, "-port", str(mapper_port), "-address", "127.0.0.1"], env=self._environment)
        self._node: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Return when it takes connections."""
        with (self._folder / "said").open("ab") as said:
            self._node = subprocess.Popen(
                [self._binary],
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
        if not wait_for(self._answers, START_SECONDS):
            raise RuntimeError(f"RabbitMQ did not start: {(self._folder / 'said').read_text(errors='replace')[-2000:]}")

    def stop(self) -> None:
        """As an administrator stops it."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """As a power cut stops it."""
        self._end(signal.SIGKILL)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Alive, connected, and silent."""
        assert self._node is not None
        os.killpg(self._node.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self._node.pid, signal.SIGCONT)

    def close(self) -> None:
        self.kill()
        self._mapper.kill()
        self._mapper.wait()

    def _end(self, how: signal.Signals) -> None:
        node, self._node = self._node, None
        if node is None:
            return
        os.killpg(node.pid, how)
        node.wait(START_SECONDS)
        wait_for(lambda: not is_open(self.port), START_SECONDS)

    def _answers(self) -> bool:
        if self._node is not None and self._node.poll() is not None:
            raise RuntimeError(f"RabbitMQ ended: {(self._folder / 'said').read_text(errors='replace')[-2000:]}")
        try:
            pika.BlockingConnection(pika.URLParameters(self.url)).close()
        except (AMQPError, OSError):
            return False
        return True


class OwnPostgres:
    """A cluster of one database, durable as in production; root runs it as the user `postgres`, as PostgreSQL demands."""

    def __init__(self, folder: Path, binaries: Path, user: str | None) -> None:
        self._folder, self._binaries, self._user = folder, binaries, user
        self.port = free_port()
        self.url = f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/postgres"
        if user:
            shutil.chown(folder, user, pwd.getpwnam(user).pw_gid)
        self._call("initdb", "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "-D", str(self._data), "--no-instructions")
        settings = {"listen_addresses": "'127.0.0.1'", "port": self.port, "unix_socket_directories": f"'{folder}'", "fsync": "on"}
        with (self._data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = {value}\n" for name, value in settings.items())

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def start(self) -> None:
        """Return when it takes connections, so after it has read its log of what was committed."""
        # The children of one that was killed hold its memory until they notice.
        if not wait_for(self._has_started, START_SECONDS):
            raise RuntimeError(f"PostgreSQL did not start: {(self._folder / 'log').read_text(errors='replace')[-2000:]}")
        psycopg.connect(host="127.0.0.1", port=self.port, user="postgres", dbname="postgres").close()

    def stop(self) -> None:
        """At once, without a checkpoint: the next start recovers."""
        self._call("pg_ctl", "stop", "-w", "-m", "immediate", "-D", str(self._data))

    def kill(self) -> None:
        """As the kernel does when memory runs out."""
        pid_file = self._data / "postmaster.pid"
        os.kill(int(pid_file.read_text().split()[0]), signal.SIGKILL)
        wait_for(lambda: not is_open(self.port), START_SECONDS)

    def close(self) -> None:
        if (self._data / "postmaster.pid").exists() and is_open(self.port):
            self.stop()

    def _has_started(self) -> bool:
        return self._run("pg_ctl", "start", "-w", "-t", str(START_SECONDS), "-D", str(self._data), "-l", str(self._folder / "log")) == 0

    def _call(self, program: str, *arguments: str) -> None:
        if self._run(program, *arguments):
            raise RuntimeError(f"{program}: {(self._folder / f'{program}.said').read_text(errors='replace')[-2000:]}")

    def _run(self, program: str, *arguments: str) -> int:
        # A pipe would be inherited by the server and never close.
        with (self._folder / f"{program}.said").open("wb") as said:
            return subprocess.run(
                [self._binaries / program, *arguments],
                cwd=self._folder,
                stdout=said,
                stderr=said,
                check=False,
                **({"user": self._user, "group": self._user, "extra_groups": []} if self._user else {}),
            ).returncode


@contextmanager
def own_rabbit(*, user: str = "guest", password: str = "guest", settings: str = "") -> Iterator[OwnRabbit]:
    """A running node of our own; its settings as rabbitmq.conf has them."""
    binary, mapper = _find("rabbitmq-server", _RABBITMQ), shutil.which("epmd")
    if binary is None or mapper is None:
        skip_or_fail("a RabbitMQ of our own (rabbitmq-server, epmd)")
        return
    yield from _running("rabbit", lambda folder: OwnRabbit(folder, binary, mapper, user=user, password=password, settings=settings))


@contextmanager
def own_cluster() -> Iterator[OwnPostgres]:
    """A running PostgreSQL of our own."""
    binary, user = _find("pg_ctl", _POSTGRES), "postgres" if os.geteuid() == 0 else None
    if binary is None or (user and user not in {one.pw_name for one in pwd.getpwall()}):
        skip_or_fail("a PostgreSQL of our own (pg_ctl, initdb)")
        return
    yield from _running("postgres", lambda folder: OwnPostgres(folder, binary.parent, user))


def _running(name: str, build: Callable[[Path], OwnRabbit] | Callable[[Path], OwnPostgres]) -> Iterator[OwnRabbit | OwnPostgres]:
    """Not under pytest's own folder, which the user `postgres` cannot enter; and a socket's path must be short."""
    with tempfile.TemporaryDirectory(prefix=f"eye-dx-{name}-") as folder:
        server = build(Path(folder))
        try:
            server.start()
            yield server
        finally:
            server.close()


def _find(program: str, folders: tuple[str, ...]) -> Path | None:
    """Where it is installed; the wrapper that Debian puts on the PATH would start the node as another user."""
    for pattern in folders:
        for folder in sorted(Path("/").glob(pattern.lstrip("/")), reverse=True):
            if (folder / program).is_file():
                return folder / program
    found = shutil.which(program)
    return Path(found).resolve() if found else None
