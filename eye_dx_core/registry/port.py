"""What we need of a model registry; every adapter passes the same contract tests."""

from pathlib import Path
from typing import Protocol

from pydantic import AwareDatetime

from eye_dx_core.schema.frozen import Frozen

CANDIDATE, CHAMPION, PREVIOUS_CHAMPION = "candidate", "champion", "previous_champion"
CHALLENGER = "challenger"
"""Reads beside the champion in shadow mode; nobody acts on what it says."""
TRUNK_FILE = "trunk.safetensors"
TRAINED_ON, PHANTOMS = "trained_on", "phantoms"
DATA, MADE_BY = "data_fingerprint", "code_commit"
"""Tags: the photographs a version learnt from, and the code that made it."""


class ModelVersion(Frozen):
    """One registered checkpoint. `metrics` are those of the locked test split; `tags` say where it came from."""

    model_name: str
    version: str
    checkpoint_sha256: str
    created_at: AwareDatetime
    aliases: tuple[str, ...] = ()
    metrics: dict[str, float] = {}
    tags: dict[str, str] = {}

    @property
    def learnt_from_phantoms(self) -> bool:
        """Whether drawings taught it: such a model shows that the platform works and must never read a patient."""
        return self.tags.get(TRAINED_ON) == PHANTOMS


class ModelRegistry(Protocol):
    """Versions of one named model, with aliases that move.

    Every method raises `ServiceUnavailable` when the registry does not answer.
    """

    def add_candidate(self, checkpoint: Path, *, metrics: dict[str, float], tags: dict[str, str]) -> ModelVersion:
        """Register the checkpoint folder as a new version with the alias `candidate`.

        It holds `model.safetensors`, `card.json` and, unless everything was trained, `trunk.safetensors`, which is kept once for
        all versions that share it.
        """
        ...

    def find_by_alias(self, alias: str) -> ModelVersion | None:
        """The version that carries the alias, or None."""
        ...

    def get_version(self, version: str) -> ModelVersion:
        """One version.

        Raises:
            NotFound: there is no such version.
        """
        ...

    def versions(self) -> tuple[ModelVersion, ...]:
        """All versions, newest first."""
        ...

    def set_alias(self, alias: str, version: str) -> None:
        """Move an alias to a version.

        Raises:
            NotFound: there is no such version.
        """
        ...

    def drop_alias(self, alias: str) -> None:
        """Take an alias from whatever version has it."""
        ...

    def set_tags(self, version: str, tags: dict[str, str]) -> None:
        """Write tags on a version, such as the reason of a promotion."""
        ...

    def download(self, version: str) -> Path:
        """A local folder with what `add_candidate` was given; the hash of the weights has been checked.

        Raises:
            NotFound: there is no such version.
            BadCheckpoint: the weights do not have the hash that was registered.
        """
        ...
