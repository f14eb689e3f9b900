"""What `eye-dx model optimise` found out about an engine, kept beside its files, and only good for the checkpoint it was made for."""

import hashlib
import logging
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, Field, ValidationError

from eye_dx_core.inference.engines.gate import Gate
from eye_dx_core.model.checkpoint import Checkpoint
from eye_dx_core.schema.engine import EngineName
from eye_dx_core.schema.frozen import Frozen

_FILE = "gate.json"
_log = logging.getLogger(__name__)


class Judgement(Frozen):
    """An engine's gate and speed. Times are milliseconds per photograph in batches of 8, best of some repeats."""

    format: Literal["eye-dx-engine/1"] = "eye-dx-engine/1"
    engine: EngineName
    checkpoint_sha256: str
    trunk_sha256: str
    library_version: str
    files: dict[str, str] = {}
    """Hash of each file that the engine consists of, by name; none for an engine that reads the checkpoint itself."""
    gate: Gate
    ms_per_photo: float = Field(gt=0)
    torch_ms_per_photo: float = Field(gt=0)
    """Of torch in the precision that it would read with otherwise, in the same minutes on the same machine."""
    made_at: AwareDatetime

    @property
    def refusal(self) -> str | None:
        """Why the engine is not used, with figures; None when it is."""
        slower = f"{self.ms_per_photo:.1f} ms per photograph are no gain on torch's {self.torch_ms_per_photo:.1f}"
        return self.gate.refusal or (slower if self.files and self.ms_per_photo >= self.torch_ms_per_photo else None)


def engine_folder(engines: Path, checkpoint: Checkpoint, engine: EngineName) -> Path:
    """Where an engine's files for a checkpoint lie."""
    return engines / checkpoint.sha256 / engine


def save_judgement(folder: Path, judgement: Judgement) -> None:
    """Write it last: files without it are never used."""
    draft = folder / f"{_FILE}.draft"
    draft.write_text(judgement.model_dump_json(indent=2), encoding="utf-8")
    draft.replace(folder / _FILE)


def find_judgement(engines: Path, checkpoint: Checkpoint, engine: EngineName, *, library_version: str) -> Judgement | None:
    """What is known of an engine for this very checkpoint; None, with a line in the log, when it was found out for something else."""
    folder = engine_folder(engines, checkpoint, engine)
    if not (folder / _FILE).is_file():
        return None
    try:
        judgement = Judgement.model_validate_json((folder / _FILE).read_bytes())
    except (OSError, ValidationError) as error:
        _log.warning("%s is not used: its %s cannot be read (%s)", engine, _FILE, type(error).__name__)
        return None
    stale = _staleness(judgement, folder, checkpoint, engine, library_version)
    if stale:
        _log.warning("%s is not used: %s; `eye-dx model optimise` makes it anew", engine, stale)
        return None
    return judgement


def _staleness(judgement: Judgement, folder: Path, checkpoint: Checkpoint, engine: EngineName, library_version: str) -> str | None:
    made_for = (judgement.engine, judgement.checkpoint_sha256, judgement.trunk_sha256)
    if made_for != (engine, checkpoint.sha256, checkpoint.card.trunk_sha256):
        return f"it was made for checkpoint {judgement.checkpoint_sha256[:12]}"
    if judgement.library_version != library_version:
        return f"it was made with version {judgement.library_version} of its library, and this is {library_version}"
    return next((f"{name} is not the file that was judged" for name, sha in judgement.files.items() if _sha256(folder / name) != sha), None)


def hash_files(folder: Path, names: tuple[str, ...]) -> dict[str, str]:
    """Hash of each of an engine's files."""
    return {name: _sha256(folder / name) for name in names}


def _sha256(path: Path) -> str:
    """Empty for a file that is not there."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
