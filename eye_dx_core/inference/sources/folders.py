"""Photographs in folders: paths that a message names must lie under the configured ones, links and all."""

import errno
import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path

from eye_dx_core.dataset.photo_file import MAX_BYTES
from eye_dx_core.errors import BadPhoto, ServiceUnavailable

_GONE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EISDIR, errno.ENXIO, errno.EINVAL}


class FolderPhotos:
    """The port `PhotoSource` over folders that messages may name photographs in.

    Args:
        roots: the folders.
        base: where relative paths start, one of the folders too; None when they start somewhere else, such as on a web server.
    """

    def __init__(self, roots: Sequence[Path], *, base: Path | None) -> None:
        self._base = base.resolve() if base else None
        self._roots = tuple(dict.fromkeys(root.resolve() for root in (*roots, *([base] if base else []))))

    @property
    def are_there(self) -> bool:
        """Whether every folder exists and holds something; one that is not mounted is empty."""
        try:
            return all(any(root.iterdir()) for root in self._roots)
        except OSError:
            return False

    def find_photo(self, location: str) -> bytes:
        """See the port. Besides: `outside_roots`; and a folder that is not mounted is no folder without photographs."""
        try:
            content = _read_below(*self._find(location))
        except OSError as error:
            raise _of_system(error) from None
        except BadPhoto as error:
            if error.reason == "missing" and not self.are_there:
                raise ServiceUnavailable("a folder of EYE_DX_PHOTO_ROOTS holds nothing: is it mounted?") from None
            raise
        if len(content) > MAX_BYTES:
            raise BadPhoto("too_large", f"larger than {MAX_BYTES // 2**20} MiB")
        return content

    def find_file(self, location: str) -> Path:
        """The file that a message means, with symbolic links and `..` resolved: for those who delete it.

        A path that begins with `/` and lies under no root is taken as relative to the server of the sender
        (`/upload/1.jpg`), so to the base.

        Raises:
            BadPhoto: `unsupported_location` for what is no path here, `outside_roots`, `forbidden` or `missing`.
            ServiceUnavailable: the folder does not answer.
        """
        return self._find(location)[1]

    def _find(self, location: str) -> tuple[Path, Path]:
        """The root and the file."""
        if is_address(location):
            raise BadPhoto("unsupported_location", "only paths of files are read, no addresses")
        candidates = [Path(location)] if location.startswith("/") else []
        candidates += [self._base / location.lstrip("/")] if self._base else []
        try:
            inside = [(root, path) for one in candidates for path in [one.resolve()] if (root := self._root_of(path))]
            found = next(((root, path) for root, path in inside if path.is_file()), None)
        except (RuntimeError, ValueError):  # links in a circle, half a character
            raise BadPhoto("missing", "the photograph's path cannot be followed") from None
        except OSError as error:
            raise _of_system(error) from None
        if found is not None:
            return found
        if not candidates:
            raise BadPhoto("unsupported_location", "relative paths do not start in a folder here")
        if not inside:
            raise BadPhoto("outside_roots", "the photograph lies outside the folders of EYE_DX_PHOTO_ROOTS")
        raise BadPhoto("missing", "the photograph is not there")

    def _root_of(self, path: Path) -> Path | None:
        return next((root for root in self._roots if root in path.parents), None)


def is_address(location: str) -> bool:
    """Whether a location is written as something else than a path: with a scheme or a server's name."""
    return "\x00" in location or bool(re.match(r"^[A-Za-z][A-Za-z0-9+.-]+:", location)) or location.startswith(("//", "\\\\"))


def _read_below(root: Path, path: Path) -> bytes:
    """Bytes of a regular file, at most one more than the limit.

    Every step is opened from the folder before it and may be no link, so a folder that somebody swaps for a link after the
    path was checked leads nowhere.
    """
    *folders, name = path.relative_to(root).parts
    opened = [os.open(root, os.O_RDONLY | os.O_DIRECTORY)]
    try:
        for folder in folders:
            opened.append(os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=opened[-1]))
        # A pipe that nobody writes to would otherwise hold us up for ever.
        opened.append(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY, dir_fd=opened[-1]))
        if not stat.S_ISREG(os.fstat(opened[-1]).st_mode):
            raise BadPhoto("missing", "not a file")
        with os.fdopen(os.dup(opened[-1]), "rb") as file:
            return file.read(MAX_BYTES + 1)
    finally:
        for descriptor in opened:
            os.close(descriptor)


def _of_system(error: OSError) -> BadPhoto | ServiceUnavailable:
    if isinstance(error, PermissionError):
        return BadPhoto("forbidden", "the photograph may not be read by us")
    if error.errno in _GONE:
        return BadPhoto("missing", "the photograph is not there")
    return ServiceUnavailable(f"a folder of photographs does not answer ({errno.errorcode.get(error.errno or 0, 'unknown')})")
