"""`eye-dx cluster` and `eye-dx worker`: runs on Celery workers, on this machine or on many."""

import os
import shlex
import sys
from typing import Annotated

import typer

from eye_dx_cli.serving import PROJECT, prepare_state, run_together
from eye_dx_core.errors import BadSettings
from eye_dx_core.settings import Settings, child_environment, get_settings

QUEUES = ("gpu", "training", "dagster")
Queues = Annotated[list[str], typer.Option("--queue", help="Queues to take runs from: gpu, training, dagster; may be repeated.")]
Places = Annotated[int, typer.Option(min=1, help="Runs that one worker executes at once, each in a process of its own.")]

_PATIENCE_SECONDS = 30
"""A run that stays ready looks every few seconds whether it is to end."""


def cluster(
    workers: Annotated[int, typer.Option(min=0, help="Workers on this machine; 0 where others run them.")] = 2,
    places: Places = 2,
) -> None:
    """Start Dagster's UI and daemon, MLflow's UI, the review desk and Celery workers; one Ctrl-C stops all.

    Needs RabbitMQ (EYE_DX_QUEUE_URL) and PostgreSQL (EYE_DX_RECORDS_URL); makes the database where it is missing.
    """
    settings = cluster_settings()
    names = [f"worker{number}" for number in range(1, workers + 1)]
    commands = {name: shlex.join(worker_command(name, QUEUES, places)) for name in names}
    run_together(settings, commands, patience_seconds=_PATIENCE_SECONDS)


def worker(
    name: Annotated[str, typer.Argument(help="Unlike that of any other worker on this machine.")],
    queue: Queues = list(QUEUES),  # noqa: B006 - Typer reads it, nobody changes it
    places: Places = 1,
) -> None:
    """Take runs from RabbitMQ and execute them, until told to stop; then what it has begun is finished first.

    A worker that is killed is started again.
    """
    if unknown := sorted(set(queue) - set(QUEUES)):
        raise BadSettings(f"no runs are sent to the queue {unknown[0]}: choose among {', '.join(QUEUES)}")
    settings = cluster_settings()
    prepare_state(settings)
    os.chdir(PROJECT)
    command = worker_command(name, tuple(queue), places)
    os.execve(command[0], command, child_environment(settings))  # noqa: S606 - signals are its own


def cluster_settings() -> Settings:
    """The settings, with runs on Celery workers.

    Raises:
        BadSettings: there is no RabbitMQ or no PostgreSQL in them.
    """
    settings = get_settings().model_copy(update={"cluster": True})
    _ = settings.celery_broker_address, settings.dagster_address
    return settings


def worker_command(name: str, queues: tuple[str, ...], places: int) -> list[str]:
    """The command of one worker."""
    what = ["-n", f"{name}@%h", "-Q", ",".join(queues), "-c", str(places), "--loglevel", "warning", "--without-gossip", "--without-mingle"]
    return [sys.executable, "-m", "eye_dx_dagster.cluster", *what]


def register(app: typer.Typer) -> None:
    """Add the commands to the root command."""
    app.command()(cluster)
    app.command()(worker)
