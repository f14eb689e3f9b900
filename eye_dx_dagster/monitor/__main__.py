"""Starts the monitor: `python -m eye_dx_dagster.monitor`, which `eye-dx serve monitor` does."""

import signal
import sys
from importlib.metadata import version

import dagster as dg

from eye_dx_core.errors import BadSettings, EyeDxError
from eye_dx_core.logs import start_logging, tell_failure
from eye_dx_core.settings import Settings, adopt_environment, get_log_format, get_settings
from eye_dx_dagster.monitor.platform import names_of
from eye_dx_dagster.monitor.serving import application, open_server, serve
from eye_dx_dagster.monitor.watch import Watch


def run(settings: Settings) -> None:
    """Serve until stopped.

    Raises:
        BadSettings: the port is taken, or there is no Dagster instance in the state folder.
    """
    from eye_dx_dagster.definitions import defs

    adopt_environment(settings)
    if not (settings.dagster_home / "dagster.yaml").is_file():
        raise BadSettings("there is no dagster_home/dagster.yaml in EYE_DX_STATE_DIR: `eye-dx up` makes it")
    with dg.DagsterInstance.get() as instance:
        watch = Watch(settings, instance, names_of(defs), version=version("eye-dx"))
        try:
            server = open_server(application(watch), settings.bind, settings.monitor_port)
        except OSError:
            raise BadSettings(f"port {settings.monitor_port} is taken: choose another with EYE_DX_MONITOR_PORT") from None
        serve(server, watch.begin)


def main() -> int:
    """The exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    log_format = get_log_format()
    start_logging(log_format)
    try:
        run(get_settings())
    except EyeDxError as error:
        tell_failure("monitor", error, log_format)
        return 1
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
