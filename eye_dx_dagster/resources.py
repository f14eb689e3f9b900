"""What assets, ops and sensors are given: ports, opened when a run needs them and closed after it."""

import traceback
from collections.abc import Generator, Iterator
from contextlib import contextmanager

import dagster as dg

from eye_dx_core import wiring
from eye_dx_core.errors import EyeDxError
from eye_dx_core.queue.port import Queue
from eye_dx_core.records.port import Records
from eye_dx_core.registry.port import ModelRegistry
from eye_dx_core.settings import Settings, get_settings
from eye_dx_dagster.run_logs import log_as_wanted


@dg.resource(description="The installation's settings, from EYE_DX_* variables.")
def settings_resource(_context: dg.InitResourceContext) -> Settings:
    """Read the settings when a run starts, so that a changed variable needs no new code server."""
    settings = get_settings()
    log_as_wanted(settings)
    return settings


@dg.resource(description="The message queue (embedded SQLite by default, RabbitMQ or PostgreSQL by EYE_DX_QUEUE_URL).")
def queue_resource(_context: dg.InitResourceContext) -> Iterator[Queue]:
    """Open the queue for one run or tick."""
    queue = wiring.open_queue(get_settings())
    try:
        yield queue
    finally:
        queue.close()


@dg.resource(description="The records of all cases (SQLite by default, PostgreSQL by EYE_DX_RECORDS_URL).")
def records_resource(_context: dg.InitResourceContext) -> Iterator[Records]:
    """Open the records for one run or tick."""
    records = wiring.open_records(get_settings())
    try:
        yield records
    finally:
        records.close()


@dg.resource(description="The MLflow model registry.")
def registry_resource(_context: dg.InitResourceContext) -> ModelRegistry:
    """Open the registry."""
    return wiring.open_registry(get_settings())


RESOURCES: dict[str, dg.ResourceDefinition] = {
    "settings": settings_resource,
    "queue": queue_resource,
    "records": records_resource,
    "registry": registry_resource,
}


@contextmanager
def as_dagster_failures() -> Generator[None]:
    """Turn our errors into Dagster failures whose text an operator can act on; only transient ones are retried."""
    try:
        yield
    except EyeDxError as error:
        raise dg.Failure(description=str(error), allow_retries=error.is_transient) from error


@contextmanager
def as_discreet_failures() -> Generator[None]:
    """`as_dagster_failures` for work on patients' data and on photographs: of an error that is not ours, only class and place.

    Dagster stores texts of errors and shows them to every operator; another library's text may hold a value, or a file's name
    that is a patient's.
    """
    try:
        with as_dagster_failures():
            yield
    except dg.Failure:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it was, its text must not be stored
        where = dg.MetadataValue.text("".join(traceback.format_tb(error.__traceback__)))
        raise dg.Failure(f"an error of ours ({type(error).__name__})", metadata={"where": where}) from None
