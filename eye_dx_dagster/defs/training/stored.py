"""Where the training assets leave what the next one reads."""

import json
from pathlib import Path

from eye_dx_core.settings import Settings


def checkpoint_folder(settings: Settings) -> Path:
    """The newest fine-tuned checkpoint; registered versions are kept by the registry."""
    return settings.prepared / "checkpoint"


def load_metrics(settings: Settings) -> dict[str, float]:
    """Metrics of the newest checkpoint on the locked test split."""
    return json.loads((settings.prepared / "evaluation.json").read_text(encoding="utf-8"))
