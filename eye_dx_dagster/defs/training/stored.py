"""Where the training assets leave what the next one reads."""

import json
import subprocess
from importlib.metadata import version
from pathlib import Path

from eye_dx_core.settings import Settings


def checkpoint_folder(settings: Settings) -> Path:
    """The newest fine-tuned checkpoint; registered versions are kept by the registry."""
    return settings.prepared / "checkpoint"


def code_commit() -> str:
    """The git commit of this code, with `+` when files were changed since; outside a checkout the installed version."""
    describe = ["git", "describe", "--always", "--abbrev=40", "--dirty=+", "--match="]
    try:
        said = subprocess.run(describe, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return version("eye-dx")
    return said.stdout.strip()


def load_metrics(settings: Settings) -> dict[str, float]:
    """Metrics of the newest checkpoint on the locked test split."""
    return json.loads((settings.prepared / "evaluation.json").read_text(encoding="utf-8"))
