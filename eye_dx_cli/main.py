"""The entry point of `eye-dx`; each group of commands has a file of its own."""

import logging
import sys

import typer

from eye_dx_cli import backups, cases, cluster, desk, engines, models, photographs, queues, reading, records, serving, training, weights
from eye_dx_core.errors import EyeDxError
from eye_dx_core.logs import JsonLines, LogFormat, start_logging, tell_failure
from eye_dx_core.settings import get_log_format

app = typer.Typer(
    name="eye-dx",
    help="Colour fundus photographs to reviewed diagnosis reports. Settings are EYE_DX_* variables; see the README.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
photographs.register(app)
reading.register(app)
training.register(app)
cases.register(app)
desk.register(app)
serving.register(app)
cluster.register(app)
backups.register(app)
app.add_typer(queues.app, name="queue")
app.add_typer(records.app, name="records")
app.add_typer(records.vault_app, name="vault")
app.add_typer(models.app, name="registry")
app.add_typer(engines.app, name="model")
app.add_typer(weights.app, name="weights")


def run() -> None:
    """Run the command line; our own errors become one line and exit code 1, a wrong call is exit code 2."""
    log_format = get_log_format()
    start_logging(log_format)
    progress = logging.getLogger("eye_dx_core.progress")
    progress.setLevel(logging.INFO)
    progress.addHandler(terminal := logging.StreamHandler())
    terminal.setFormatter(JsonLines() if log_format is LogFormat.JSON else logging.Formatter("%(message)s"))
    progress.propagate = False
    try:
        app()
    except EyeDxError as error:
        tell_failure("eye-dx", error, log_format)
        sys.exit(1)
