"""Starts the desk: `python -m eye_dx_review`."""

import logging
import sys
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import uvicorn

from eye_dx_core import wiring
from eye_dx_core.errors import EyeDxError
from eye_dx_core.settings import Settings, get_settings
from eye_dx_review.app import create_app
from eye_dx_review.desk import Desk


def desk_of(settings: Settings) -> Desk:
    """The desk as this installation wants it."""
    outlet = wiring.report_outlet(settings)
    return Desk(
        records=wiring.open_records(settings),
        photos=wiring.photo_intake(settings),
        reports=outlet,
        timezone=ZoneInfo(settings.timezone),
        cookie_key=wiring.open_vault(settings).derive("desk-cookies"),
        now=lambda: datetime.now(UTC),
        lease=timedelta(minutes=settings.desk_hold_minutes),
        is_blind_first=settings.desk_blind_first,
        needs_two=settings.desk_two_person,
        is_https=bool(settings.desk_proxy),
        dagster=f"http://127.0.0.1:{settings.dagster_port}",
        mlflow=f"http://127.0.0.1:{settings.mlflow_port}",
    )


def main() -> int:
    """Serve until stopped; return the exit code."""
    try:
        settings = get_settings()
        app = create_app(desk_of(settings))
    except EyeDxError as error:
        print(f"desk: {error}", file=sys.stderr)  # noqa: T201 - started from a terminal
        return 1
    # Access logs would hold the tokens of patients' links.
    logging.basicConfig(level=logging.WARNING)
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=settings.desk_port,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=settings.desk_proxy is not None,
        forwarded_allow_ips=settings.desk_proxy or "",
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
