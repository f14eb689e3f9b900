"""Claims on the training photographs that somebody accepts as broken, with the reason; they travel into the checkpoint's card."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import AwareDatetime, Field, TypeAdapter

from eye_dx_core.schema.frozen import Frozen


class Waiver(Frozen):
    """Who accepts which offenders of a claim, and why. A later offender is not covered."""

    claim: str
    reason: str = Field(min_length=5)
    by: str = Field(min_length=2)
    at: AwareDatetime
    offenders: tuple[str, ...]


_WAIVERS = TypeAdapter(tuple[Waiver, ...])


def load_waivers(path: Path) -> tuple[Waiver, ...]:
    """All waivers, oldest first; none when the file is not there."""
    return _WAIVERS.validate_json(path.read_bytes()) if path.exists() else ()


def save_waivers(waivers: Sequence[Waiver], path: Path) -> None:
    """Write them as JSON, complete or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    draft.write_bytes(_WAIVERS.dump_json(tuple(waivers), indent=1))
    draft.replace(path)
