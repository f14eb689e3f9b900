"""Starts the desk: `python -m eye_dx_review`."""

import logging
import sys
from datetime import UTC, datetime, timedelta

import uvicorn
from fastapi import FastAPI
from uvicorn.config import LOGGING_CONFIG

from eye_dx_core import wiring
from eye_dx_core.errors import EyeDxError
from eye_dx_core.logs import LogFormat, start_logging, tell_failure
from eye_dx_core.settings import Settings, get_log_format, get_settings
from eye_dx_review.app import create_app
from eye_dx_review.desk import Desk


def desk_of(settings: Settings) -> Desk:
    """The desk as this installation wants it."""
    outlet = wiring.report_outlet(settings)
    return Desk(
        records=wiring.open_records(settings),
        photos=wiring.photo_intake(settings),
        reports=outlet,
        cookie_key=wiring.open_vault(settings).derive("desk-cookies"),
        now=lambda: datetime.now(UTC),
        lease=timedelta(minutes=settings.desk_hold_minutes),
        is_blind_first=settings.desk_blind_first,
        needs_two=settings.desk_two_person,
        is_https=bool(settings.desk_proxy),
        dagster=settings.dagster_page_address,
        mlflow=settings.mlflow_page_address,
    )


def server_config(app: FastAPI, settings: Settings) -> uvicorn.Config:
    """How the desk is served: on this machine only, unless a proxy is named that stands before it."""
    return uvicorn.Config(
        app,
        host=settings.bind,
        port=settings.desk_port,
        log_level="warning",
        log_config=LOGGING_CONFIG if settings.log_format is LogFormat.TEXT else None,
        access_log=False,  # it would hold the tokens of patients' links
        server_header=False,
        proxy_headers=settings.desk_proxy is not None,
        forwarded_allow_ips=settings.desk_proxy or "",
    )


def main() -> int:
    """Serve until stopped; return the exit code."""
    log_format = get_log_format()
    start_logging(log_format, text=logging.BASIC_FORMAT)
    try:
        settings = get_settings()
        app = create_app(desk_of(settings))
    except EyeDxError as error:
        tell_failure("desk", error, log_format)
        return 1
    uvicorn.Server(server_config(app, settings)).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
