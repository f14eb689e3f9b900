"""The files that somebody at this machine means: files by name, and all files of folders."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from eye_dx_core.errors import BadPhoto, BadSettings

PhotoFile = tuple[Path, BadPhoto | None]
"""A file, and why it must not be opened; None when it may be."""


def list_photo_files(named: Iterable[Path]) -> Iterator[PhotoFile]:
    """Each named file, and every file below each named folder, in the order of their names.

    A link below a folder that leads out of it is not followed: whoever names a folder means what lies in it.

    Raises:
        BadSettings: something named is not there.
    """
    for path in named:
        if path.is_dir():
            yield from _files_below(path)
        elif os.path.lexists(path):
            yield path, None
        else:
            raise BadSettings(f"there is no {readable(path)}")


def _files_below(folder: Path) -> Iterator[PhotoFile]:
    inside = folder.resolve()
    for place, folders, files in os.walk(folder):
        folders.sort()
        links = [name for name in folders if (Path(place) / name).is_symlink()]
        for path in sorted(Path(place) / name for name in (*files, *links)):
            leads_out = path.is_symlink() and not path.resolve().is_relative_to(inside)
            yield path, BadPhoto("outside_roots", "a link that leads out of the folder") if leads_out else None


def readable(path: Path) -> str:
    """A path as text that can be printed and put into JSON, also when its name is no UTF-8."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
