"""Where photographs may come from: paths that a message names must lie under the configured folders."""

import re
from collections.abc import Sequence
from pathlib import Path

from eye_dx_core.errors import BadPhoto


class PhotoRoots:
    """The folders that messages may name photographs in, and the folder that relative paths start from."""

    def __init__(self, roots: Sequence[Path], *, base: Path) -> None:
        self._base = base.resolve()
        self._roots = tuple(root.resolve() for root in (*roots, base))

    @property
    def are_there(self) -> bool:
        """Whether every folder exists and holds something; one that is not mounted is empty."""
        return all(root.is_dir() and any(root.iterdir()) for root in self._roots)

    def find_photo(self, location: str) -> Path:
        """The file that a message means, with symbolic links and `..` resolved.

        A path that begins with `/` and lies under no root is taken as relative to the server of the sender
        (`/upload/1.jpg`), so to the base.

        Raises:
            BadPhoto: `unsupported_location` for an address, `outside_roots`, or `missing`. The text holds no path.
        """
        if "\x00" in location or re.match(r"^[A-Za-z][A-Za-z0-9+.-]+:", location) or location.startswith(("//", "\\\\")):
            raise BadPhoto("unsupported_location", "only paths of files are read, no addresses")
        candidates = [Path(location), self._base / location.lstrip("/")] if location.startswith("/") else [self._base / location]
        try:
            inside = [path for one in candidates if self._is_inside(path := one.resolve())]
            found = next((path for path in inside if path.is_file()), None)
        except (OSError, RuntimeError):  # a name too long, or links in a circle
            raise BadPhoto("missing", "the photograph's path cannot be followed") from None
        if found is not None:
            return found
        if not inside:
            raise BadPhoto("outside_roots", "the photograph lies outside the folders of EYE_DX_PHOTO_ROOTS")
        raise BadPhoto("missing", "the photograph is not there")

    def _is_inside(self, path: Path) -> bool:
        return any(path.is_relative_to(root) for root in self._roots)
