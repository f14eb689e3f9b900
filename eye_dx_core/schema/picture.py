"""A photograph as people are shown it."""

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True)
class FundusPicture:
    """The square of a photograph, as files for page and desk that hold pixels and nothing else."""

    photo_jpeg: bytes
    """Cut to the field of view, `side` pixels wide and high."""
    evidence_png: bytes | None
    """The same square, to be laid over the photograph: viridis, the more transparent the weaker. None where nothing was localised."""
    side: int


class PictureGap(StrEnum):
    """Why a photograph cannot be shown."""

    DELETED = "deleted"
    UNREADABLE = "unreadable"
    UNAVAILABLE = "unavailable"
    """Its place did not answer, or no longer has it."""
