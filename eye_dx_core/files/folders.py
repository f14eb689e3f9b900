"""Finished files in a folder of this machine, or of one that all hosts share."""

import os
import secrets
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path

from eye_dx_core.errors import FilesUnavailable, NotFound
from eye_dx_core.private_files import write_private

DRAFT = ".draft"


class FolderFiles:
    """The port `FileStore` below a folder; what is written is for its owner only."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def read(self, name: str) -> bytes:
        """See the port."""
        with _disk_errors():
            try:
                return (self._root / name).read_bytes()
            except FileNotFoundError:
                raise NotFound(f"there is no {name}") from None

    def write(self, name: str, content: bytes) -> None:
        """See the port. It is written beside the place, and takes it when it is whole."""
        path = self._root / name
        with _disk_errors():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            draft = _draft_of(path)
            try:
                write_private(draft, content)
                draft.replace(path)
            finally:
                draft.unlink(missing_ok=True)

    def delete(self, name: str) -> None:
        """See the port."""
        path = self._root / name
        with _disk_errors():
            # Drafts first: one that takes its place meanwhile goes with the file.
            for draft in path.parent.glob(f"{escape(path.name)}.*{DRAFT.lstrip('.')}"):
                draft.unlink(missing_ok=True)
            path.unlink(missing_ok=True)

    def sizes(self, folder: str) -> Mapping[str, int]:
        """See the port."""
        found: dict[str, int] = {}
        with _disk_errors():
            for path in (self._root / folder).rglob("*"):
                with suppress(FileNotFoundError):  # erased, or whole and renamed, since it was listed
                    if path.is_file() and path.suffix != DRAFT:
                        found[path.relative_to(self._root).as_posix()] = path.stat().st_size
        return found

    def check(self) -> None:
        """See the port."""
        with _disk_errors():
            nearest = next(one for one in (self._root, *self._root.parents) if one.exists())
            may_write = os.access(nearest, os.W_OK)
        if not may_write:
            raise FilesUnavailable(f"nothing can be written to {self._root}")

    def address(self, name: str) -> str:
        """See the port."""
        return str(self._root / name)


def _draft_of(path: Path) -> Path:
    """Where one writer writes a file before it is whole, and no other; it stays there when the writer dies."""
    return path.with_name(f"{path.name}.{secrets.token_hex(8)}{DRAFT}")


@contextmanager
def _disk_errors() -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise FilesUnavailable(f"the disk refused a finished file ({error.strerror})") from None
