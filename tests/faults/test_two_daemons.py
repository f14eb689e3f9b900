"""A second `eye-dx up` on one state folder, by mistake: refused in one sentence, and only while the first one lives."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.faults.own_servers import free_port

PROJECT = Path(__file__).parents[2]

# Holds a state folder as `eye-dx up` does, without the minute that Dagster takes to start.
FIRST = """
import time
from eye_dx_cli.serving import only_daemon
from eye_dx_core.settings import get_settings
settings = get_settings()
settings.dagster_home.mkdir(parents=True, exist_ok=True)
with only_daemon(settings):
    print("held", flush=True)
    time.sleep(600)
"""


def environment(state: Path) -> dict[str, str]:
    ports = {f"EYE_DX_{name}_PORT": str(free_port()) for name in ("DAGSTER", "MLFLOW")}
    return os.environ | ports | {"EYE_DX_STATE_DIR": str(state), "PYTHONPATH": str(PROJECT)}


def start_first(state: Path) -> subprocess.Popen[str]:
    first = subprocess.Popen([sys.executable, "-c", FIRST], env=environment(state), cwd=state, stdout=subprocess.PIPE, text=True)
    assert first.stdout
    assert first.stdout.readline() == "held\n"
    return first


def test_a_second_daemon_is_refused_in_one_sentence_and_a_killed_one_leaves_no_lock(tmp_path: Path):
    first = start_first(tmp_path)
    try:
        command = [sys.executable, "-c", "from eye_dx_cli.main import run; run()", "up"]
        second = subprocess.run(command, env=environment(tmp_path), cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    finally:
        os.kill(first.pid, signal.SIGKILL)
        first.communicate()

    assert second.returncode == 1
    said = " ".join((second.stdout + second.stderr).split())
    assert "runs on this state folder already: stop it, or set EYE_DX_STATE_DIR" in said
    assert "Traceback" not in said
    assert "Ctrl-C" not in said  # it does not say that it started

    third = start_first(tmp_path)
    third.kill()
    third.communicate()
