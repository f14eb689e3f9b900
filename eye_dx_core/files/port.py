"""What is needed of a place for finished files."""

from collections.abc import Mapping
from typing import Protocol


class FileStore(Protocol):
    """A place for files that one host writes and another reads or erases: reports, the pages of a day, lists of labels.

    A name is ours, such as `reports/case-1.pdf`: parts between slashes, and never a person's. A file is there as a whole or not at all,
    also when its writer dies, and whoever reads gets the old content or the new. It is for the installation only. Several threads may ask.

    Every method raises `FilesUnavailable` when the place does not answer or refuses; no text of an error holds what was written.
    """

    def read(self, name: str) -> bytes:
        """The content of a file.

        Raises:
            NotFound: there is no such file.
        """
        ...

    def write(self, name: str, content: bytes) -> None:
        """Put a file there, in the place of one of that name."""
        ...

    def delete(self, name: str) -> None:
        """Make sure that nothing is left of a file, also of one that was being written when its writer died."""
        ...

    def sizes(self, folder: str) -> Mapping[str, int]:
        """Bytes of every whole file below a folder, by name; none when there is no such folder."""
        ...

    def check(self) -> None:
        """Make sure that the place answers; nothing is written."""
        ...

    def address(self, name: str) -> str:
        """Where a person finds the file: a path, or an address."""
        ...
