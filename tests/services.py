"""Real PostgreSQL and RabbitMQ for tests: skipped where none answers, failed when EYE_DX_REQUIRE_SERVICES=1; an S3 server for all."""

import atexit
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import cache
from pathlib import Path
from typing import TypeVar
from urllib.request import Request, urlopen
from uuid import uuid4

import pika
import pytest
from pika.exceptions import AMQPConnectionError
from sqlalchemy import Connection, create_engine, make_url, text
from sqlalchemy.exc import OperationalError

from eye_dx_core.queue.port import Queue
from eye_dx_core.queue.rabbitmq import RabbitQueue
from eye_dx_core.queue.sql import SqlQueue
from eye_dx_core.queue.topology import DELAY_STEPS, QueueNames, delay_queue
from eye_dx_core.records.sql import SqlRecords
from eye_dx_core.vault import Vault

AMQP_URL = os.environ.get("EYE_DX_TEST_AMQP_URL", "amqp://guest:guest@127.0.0.1:5672/%2F")
POSTGRES_URL = os.environ.get("EYE_DX_TEST_POSTGRES_URL", "postgresql+psycopg://postgres@127.0.0.1:5432/test")


A_KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="  # one key for the processes of a test; it protects nobody


def open_records(url: str) -> SqlRecords:
    """Records as every process of a test opens them."""
    return SqlRecords(url, vault=Vault([A_KEY]))


def open_queue(url: str, names: QueueNames, *, lease_seconds: float = 1) -> RabbitQueue | SqlQueue:
    """The queue as every process of a test opens it, with a lease and a patience short enough to wait for."""
    if url.startswith("amqp"):
        return RabbitQueue(url, names=names, answer_seconds=3)
    return SqlQueue(url, names=names, vault=Vault([A_KEY]), lease_seconds=lease_seconds)


def skip_or_fail(service: str) -> None:
    """A missing service is a skip on a laptop and a failure where services are required."""
    if os.environ.get("EYE_DX_REQUIRE_SERVICES") == "1":
        pytest.fail(f"{service} does not answer, and EYE_DX_REQUIRE_SERVICES=1")
    pytest.skip(f"{service} does not answer")


@contextmanager
def own_s3() -> Iterator[str]:
    """The address of an empty S3 server, with credentials for it in the environment; all of a process share what they hold."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    urlopen(Request(f"http://{host}:{port}/moto-api/reset", method="POST")).close()
    try:
        with pytest.MonkeyPatch.context() as patched:
            for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
                patched.setenv(name, "testing")
            patched.setenv("AWS_DEFAULT_REGION", "us-east-1")
            yield f"http://{host}:{port}"
    finally:
        server.stop()


@contextmanager
def own_postgres(*, migrated: bool = False) -> Iterator[str]:
    """The URL of a PostgreSQL database that exists for one test only: empty, or with the tables of our records."""
    with _administration() as connection, _database(connection, template=_migrated_database() if migrated else None) as url:
        yield url


@contextmanager
def _administration() -> Iterator[Connection]:
    engine = create_engine(POSTGRES_URL, isolation_level="AUTOCOMMIT", connect_args={"connect_timeout": 3})
    try:
        try:
            connection = engine.connect()
        except OperationalError:
            skip_or_fail("PostgreSQL")
        else:
            with connection:
                yield connection
    finally:
        engine.dispose()


@contextmanager
def _database(connection: Connection, *, template: str | None = None) -> Iterator[str]:
    name = f"eye_dx_{uuid4().hex[:12]}"
    connection.execute(text(f"CREATE DATABASE {name}" + (f" TEMPLATE {template}" if template else "")))
    try:
        yield connection.engine.url.set(database=name).render_as_string(hide_password=False)
    finally:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


@cache
def _migrated_database() -> str:
    """The name of a database with our tables, made once in a process of tests: a copy is there sooner than the migrations have run."""
    stack = ExitStack()
    atexit.register(stack.close)
    url = stack.enter_context(_database(stack.enter_context(_administration())))
    open_records(url).close()
    return str(make_url(url).database)


@contextmanager
def own_rabbitmq_names(*, required: bool = True) -> Iterator[QueueNames]:
    """Queue names that nobody else uses; whatever was declared under them is deleted afterwards."""
    mark = uuid4().hex[:8]
    names = QueueNames.model_validate({field: f"{mark}_{value}" for field, value in QueueNames().model_dump().items()})
    if not required:
        yield names
        return
    try:
        connection = pika.BlockingConnection(pika.URLParameters(AMQP_URL))
    except AMQPConnectionError:
        skip_or_fail("RabbitMQ")
    else:
        connection.close()
    try:
        yield names
    finally:
        _delete_all(names)


def _delete_all(names: QueueNames) -> None:
    with pika.BlockingConnection(pika.URLParameters(AMQP_URL)) as cleaning:
        channel = cleaning.channel()
        for field, name in names.model_dump().items():
            if not field.endswith("exchange"):
                channel.queue_delete(name)
                channel.exchange_delete(names.route_of(name).exchange)
                for step in DELAY_STEPS:
                    channel.queue_delete(delay_queue(name, step))


EMBEDDED, SERVERS = "embedded", "rabbitmq and postgresql"
STACKS = [EMBEDDED, pytest.param(SERVERS, marks=pytest.mark.service)]


@contextmanager
def services(kind: str, folder: Path, *, lease_seconds: float = 1) -> Iterator[tuple[str, str, QueueNames, Queue]]:
    """URLs of queue and records of one of `STACKS`, the queue names, and the queue opened."""
    if kind == EMBEDDED:
        names, url = QueueNames(), f"sqlite:///{folder}/queue.db"
        with closing(open_queue(url, names, lease_seconds=lease_seconds)) as queue:
            yield url, f"sqlite:///{folder}/records.db", names, queue
        return
    with own_rabbitmq_names() as names, own_postgres(migrated=True) as postgres, closing(open_queue(AMQP_URL, names)) as queue:
        yield AMQP_URL, postgres, names, queue


Found = TypeVar("Found")


def wait_for(look: Callable[[], Found], seconds: float = 5) -> Found:
    """The first non-empty answer: what others do takes its own time."""
    until = time.monotonic() + seconds
    while not (found := look()) and time.monotonic() < until:
        time.sleep(0.1)
    return found
