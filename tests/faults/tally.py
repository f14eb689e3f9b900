"""What a fault left behind, counted, and written down for who runs the long form."""

import os
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Tally:
    """Cases without a whole record or result; cases or results there twice under different ids; results of nobody; repeats."""

    lost: int
    doubled: int
    strangers: int
    repeats: int


def note(kind: str, point: str, times: int, tally: Tally) -> None:
    """Append a line to the table that `make test-faults` shows at its end."""
    if (table := os.environ.get("EYE_DX_FAULT_TABLE")) is not None:
        counts = "  ".join(f"{what} {count}" for what, count in asdict(tally).items())
        with Path(table).open("a", encoding="utf-8") as file:
            file.write(f"{kind:24} {point:46} {times:4} times  {counts}\n")
