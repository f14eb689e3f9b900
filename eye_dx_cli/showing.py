"""How values are printed: tables for people, JSON for programs."""

import json
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table

# A pipe or log file has no width: tables would be cut to the 80 columns of a terminal that is not there.
console = Console() if Console().is_terminal else Console(width=180)


def show_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows as a table; None is shown as a dash."""
    table = Table(*columns, title=title, title_justify="left")
    for row in rows:
        table.add_row(*("–" if cell is None else str(cell) for cell in row))
    console.print(table)


def show_json(value: object) -> None:
    """Print JSON on standard output, unwrapped and uncoloured, so that it can be piped."""
    console.out(json.dumps(value, ensure_ascii=False, indent=2, default=str), highlight=False)
