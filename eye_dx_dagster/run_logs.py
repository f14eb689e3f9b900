"""JSON lines from runs and ticks, beside what Dagster itself writes."""

import logging
from typing import Any

from eye_dx_core.logs import JsonLines, LogFormat, start_logging
from eye_dx_core.settings import Settings

_NOTE = "dagster_meta"
"""Dagster's note on every record of a managed logger; the record's message is then its own, with run and step in front."""


class RunLines(JsonLines):
    """Names the run, its job and its step as well."""

    def fields_of(self, record: logging.LogRecord) -> dict[str, object]:
        """What the line says."""
        note: dict[str, Any] | None = getattr(record, _NOTE, None)
        fields = super().fields_of(record)
        if note is None:
            return fields
        ids = {"run_id": note["run_id"], "job": note["job_name"], "step": note["step_key"]}
        return fields | {"message": note["orig_message"]} | {name: value for name, value in ids.items() if value is not None}


def log_as_wanted(settings: Settings) -> None:
    """With EYE_DX_LOG_FORMAT=json, write our lines as JSON to stderr too; as text they are in Dagster's own."""
    if settings.log_format is LogFormat.JSON:
        start_logging(LogFormat.JSON, lines=RunLines())
