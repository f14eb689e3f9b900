"""A registry in this process, with checkpoints copied to a folder: for tests and for trying things out."""

import hashlib
import shutil
from datetime import UTC, datetime
from pathlib import Path

from eye_dx_core.errors import BadCheckpoint, NotFound
from eye_dx_core.registry.port import CANDIDATE, ModelVersion


class MemoryRegistry:
    """The port `ModelRegistry` in a dictionary."""

    def __init__(self, folder: Path, *, model_name: str = "eye-dx-fundus") -> None:
        self._folder, self._model_name = folder, model_name
        self._versions: dict[str, ModelVersion] = {}
        self._aliases: dict[str, str] = {}

    def add_candidate(self, checkpoint: Path, *, metrics: dict[str, float], tags: dict[str, str]) -> ModelVersion:
        """See the port."""
        version = str(len(self._versions) + 1)
        shutil.copytree(checkpoint, self._folder / version)
        self._versions[version] = ModelVersion(
            model_name=self._model_name,
            version=version,
            checkpoint_sha256=weights_sha256(checkpoint),
            created_at=datetime.now(UTC),
            metrics=metrics,
            tags=tags,
        )
        self._aliases[CANDIDATE] = version
        return self.get_version(version)

    def find_by_alias(self, alias: str) -> ModelVersion | None:
        """See the port."""
        version = self._aliases.get(alias)
        return self.get_version(version) if version else None

    def get_version(self, version: str) -> ModelVersion:
        """See the port."""
        if version not in self._versions:
            raise NotFound(f"there is no version {version} of {self._model_name}")
        aliases = tuple(sorted(alias for alias, named in self._aliases.items() if named == version))
        return self._versions[version].model_copy(update={"aliases": aliases})

    def versions(self) -> tuple[ModelVersion, ...]:
        """See the port."""
        return tuple(self.get_version(version) for version in reversed(self._versions))

    def set_alias(self, alias: str, version: str) -> None:
        """See the port."""
        self._aliases[alias] = self.get_version(version).version

    def drop_alias(self, alias: str) -> None:
        """See the port."""
        self._aliases.pop(alias, None)

    def set_tags(self, version: str, tags: dict[str, str]) -> None:
        """See the port."""
        known = self.get_version(version)
        self._versions[version] = known.model_copy(update={"tags": known.tags | tags})

    def download(self, version: str) -> Path:
        """See the port."""
        folder = self._folder / self.get_version(version).version
        check_weights(folder, self._versions[version].checkpoint_sha256)
        return folder


def weights_sha256(folder: Path) -> str:
    """Hash of a checkpoint folder's weights.

    Raises:
        BadCheckpoint: there are none.
    """
    weights = folder / "model.safetensors"
    if not weights.is_file() or not (folder / "card.json").is_file():
        raise BadCheckpoint("a checkpoint folder holds model.safetensors and card.json")
    with weights.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_weights(folder: Path, expected_sha256: str) -> None:
    """Refuse weights that are not the registered ones.

    Raises:
        BadCheckpoint: the hash differs: a photograph must not be read with weights that nobody evaluated.
    """
    if weights_sha256(folder) != expected_sha256:
        raise BadCheckpoint("the weights do not have the hash that was registered; they were damaged or exchanged")
