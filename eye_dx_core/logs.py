"""How our processes write their log: as text, or as JSON lines that name the case, run or message which the work is on."""

import json
import logging
import sys
import traceback
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from enum import StrEnum
from types import MappingProxyType

_at_work: ContextVar[Mapping[str, str]] = ContextVar("at_work", default=MappingProxyType({}))


class LogFormat(StrEnum):
    """Text is for people, JSON for what collects logs: one object a line."""

    TEXT = "text"
    JSON = "json"


@contextmanager
def working_on(*, case_id: str | None = None, message_id: str | None = None, message_sha256: str | None = None) -> Generator[None]:
    """Name what is worked on in every JSON line of the block.

    Args:
        case_id: our own id.
        message_id: of a message that we send. A sender may write anything into the id of one that we receive.
        message_sha256: hash of a received message's body, by which a rejection can be found.
    """
    ids = {"case_id": case_id, "message_id": message_id, "message_sha256": message_sha256}
    token = _at_work.set({**_at_work.get(), **{name: value for name, value in ids.items() if value is not None}})
    try:
        yield
    finally:
        _at_work.reset(token)


class JsonLines(logging.Formatter):
    """One JSON object for each record. Of an exception it tells class and places: the text of another library's may hold a name."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line."""
        return json.dumps(self.fields_of(record), ensure_ascii=False)

    def fields_of(self, record: logging.LogRecord) -> dict[str, object]:
        """What the line says."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        said = {"time": at, "level": record.levelname, "logger": record.name, "message": record.getMessage()}
        return {**said, **_at_work.get(), **_error_of(record)}


def _error_of(record: logging.LogRecord) -> dict[str, object]:
    kind, _, where = record.exc_info or (None, None, None)
    if kind is None:
        return {}
    return {"error": kind.__name__, "where": [f"{one.filename}:{one.lineno} {one.name}" for one in traceback.extract_tb(where)]}


def start_logging(log_format: LogFormat, *, text: str = "%(levelname)s %(name)s: %(message)s", lines: JsonLines | None = None) -> None:
    """Write what is logged in this process to stderr, warnings and worse; once, however often it is called."""
    root = logging.getLogger()
    if any(isinstance(handler.formatter, JsonLines) for handler in root.handlers):
        return
    if log_format is LogFormat.TEXT:
        logging.basicConfig(level=logging.WARNING, format=text)
        return
    handler = logging.StreamHandler()
    handler.setFormatter(lines or JsonLines())
    root.addHandler(handler)
    root.setLevel(logging.WARNING)


def tell_failure(face: str, error: Exception, log_format: LogFormat) -> None:
    """The last words of a process that cannot go on; the error is one of ours, whose text is for people."""
    if log_format is LogFormat.TEXT:
        print(f"{face}: {error}", file=sys.stderr)  # noqa: T201 - started from a terminal
        return
    logging.getLogger(face).error("%s", error)
