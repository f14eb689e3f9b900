"""Where a training keeps what its next epoch depends on, so that a kill costs at most one epoch."""

import json
import logging
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

_log = logging.getLogger(__name__)


class TrainingState:
    """One file in a folder, written complete or not at all. Tensors and facts, nothing that could be executed."""

    def __init__(self, folder: Path, fingerprint: str) -> None:
        """Keep the state of the training that `fingerprint` stands for: its configuration, photographs, splits and trunk."""
        self._file = folder / f"{fingerprint[:16]}.safetensors"

    def save(self, tensors: dict[str, torch.Tensor], facts: dict[str, Any]) -> None:
        """Replace what was kept before."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        draft = self._file.with_suffix(".draft")
        copies = {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}
        save_file(copies, draft, metadata={"facts": json.dumps(facts)})
        draft.replace(self._file)

    def load(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
        """What was kept, or None when there is nothing or it is damaged."""
        try:
            with safe_open(self._file, framework="pt") as file:
                return {name: file.get_tensor(name) for name in file.keys()}, json.loads(file.metadata()["facts"])  # noqa: SIM118
        except FileNotFoundError:
            return None
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            _log.warning("the state of an interrupted training is damaged (%s); it starts again", type(error).__name__)
            return None

    def remove(self) -> None:
        """Forget it: the training is done."""
        self._file.unlink(missing_ok=True)
