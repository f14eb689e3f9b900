"""Files that tell of a person: nobody but their owner may read them."""

import os
import stat
from pathlib import Path


def write_private(path: Path, content: bytes) -> None:
    """Write a file for its owner only; one that others could read so far is closed to them before anything stands in it."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as opened:
        if stat.S_ISREG(os.fstat(opened.fileno()).st_mode):  # a pipe or terminal has neither a mode nor an end
            os.fchmod(opened.fileno(), 0o600)
            opened.truncate()
        opened.write(content)
