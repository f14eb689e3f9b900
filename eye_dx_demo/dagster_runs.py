"""A real Dagster daemon for the demo, runs launched onto it, and their progress as it is logged."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import dagster as dg

from eye_dx_cli.serving import daemon_command
from eye_dx_core.errors import BadSettings, EyeDxError

_PROJECT = Path(__file__).resolve().parent.parent
_WORKSPACE = ("-w", str(_PROJECT / "workspace.yaml"))


@contextmanager
def running_daemon(environment: Mapping[str, str], log: Path) -> Generator[None]:
    """Run Dagster's daemon in a process group of its own for as long as the block lasts.

    SIGINT is reset in the child: started from a script it would be ignored, and Dagster maps SIGTERM onto it.
    """
    with log.open("ab") as output:
        daemon = subprocess.Popen(
            daemon_command(),
            env=dict(environment),
            cwd=_PROJECT,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None,  # noqa: PLW1509 - before any thread starts
        )
        try:
            yield
        finally:
            _stop_group(daemon)


def _stop_group(process: subprocess.Popen[bytes]) -> None:
    """Ask the group to end, and make it end: nothing of the demo may stay behind."""
    import os

    for number, patience in ((signal.SIGTERM, 15), (signal.SIGKILL, 5)):
        try:
            os.killpg(process.pid, number)
            process.wait(patience)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue
    process.wait(5)


def launch_job(job: str, environment: Mapping[str, str], *, run_config: Mapping[str, object] | None = None) -> str:
    """Put a run of a job on the daemon's queue; return its run id.

    Raises:
        BadSettings: Dagster refused the launch; its own words follow.
    """
    run_id = str(uuid4())
    command = [str(Path(sys.executable).parent / "dagster"), "job", "launch", *_WORKSPACE, "-j", job, "--run-id", run_id]
    _call([*command, "--config-json", json.dumps(run_config or {})], environment)
    return run_id


def materialize_partition(asset: str, partition: str, environment: Mapping[str, str]) -> None:
    """Materialise one partition of an asset on the demo's instance."""
    command = [str(Path(sys.executable).parent / "dagster"), "asset", "materialize", "-m", "eye_dx_dagster.definitions"]
    _call([*command, "--select", asset, "--partition", partition], environment)


def _call(command: list[str], environment: Mapping[str, str]) -> None:
    done = subprocess.run(command, env=dict(environment), cwd=_PROJECT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BadSettings(f"{' '.join(command[1:3])} failed:\n{(done.stderr or done.stdout)[-2000:]}")


def follow_run(instance: dg.DagsterInstance, run_id: str, *, show: Callable[[str], None], timeout_seconds: float) -> None:
    """Show a run's steps and our own log lines as they happen, until it has succeeded.

    Raises:
        EyeDxError: the run failed or took too long.
    """
    cursor: str | None = None
    until = time.monotonic() + timeout_seconds
    while time.monotonic() < until:
        page = instance.get_records_for_run(run_id, cursor=cursor)
        cursor = page.cursor
        for record in page.records:
            if line := _line_of(record.event_log_entry):
                show(line)
        run = instance.get_run_by_id(run_id)
        if run is not None and run.is_finished and not page.has_more:
            if not run.is_success:
                raise EyeDxError(f"Dagster run {run_id} ended as {run.status.value}; see its log in the Dagster UI")
            return
        time.sleep(1)
    raise EyeDxError(f"Dagster run {run_id} did not end within {timeout_seconds:.0f} s")


def find_path(instance: dg.DagsterInstance, run_id: str, label: str) -> str | None:
    """The path that a run's steps noted under a label, or None."""
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_OUTPUT):
        noted = entry.dagster_event.step_output_data.metadata.get(label) if entry.dagster_event else None
        if isinstance(noted, dg.PathMetadataValue):
            return noted.path
    return None


def _line_of(entry: dg.EventLogEntry) -> str | None:
    """What a person wants to know of an event: materialised assets, check results, failures, and what our code logged."""
    event = entry.dagster_event
    if event is None:
        # Our own lines only; Dagster's begin with the executor's bookkeeping.
        is_ours = entry.user_message and not entry.user_message.startswith("Dependencies for step")
        return f"  {entry.user_message}" if is_ours else None
    if event.event_type_value == "ASSET_MATERIALIZATION" and event.asset_key is not None:
        return f"  materialised {event.asset_key.to_user_string()}"
    if event.event_type_value == "ASSET_CHECK_EVALUATION":
        check = event.asset_check_evaluation_data
        why = f" ({check.description})" if check.description and not check.passed else ""
        broken = "FAILED" if check.severity is dg.AssetCheckSeverity.ERROR else "warns"
        return f"  check {check.check_name}: {'passed' if check.passed else broken}{why}"
    if event.event_type_value == "STEP_FAILURE":
        error = event.step_failure_data.error
        return f"  FAILED {event.step_key}: {(error.cause or error).message.strip() if error else event.message}"
    return None
