"""All places together: an address goes to whoever reads such addresses, a path to the folders or to the base."""

from urllib.parse import unquote

from eye_dx_core.errors import BadPhoto
from eye_dx_core.inference.sources.folders import FolderPhotos, is_address
from eye_dx_core.inference.sources.port import PhotoSource


class PhotoPlaces:
    """The port `PhotoSource` over folders, web servers and an object store.

    A path that lies in one of the folders is read there. Any other path is as the server of the sender would understand it
    (`/upload/1.jpg`), so it is looked for below the base: one of the folders, or an address.

    Args:
        folders: for paths.
        by_scheme: for addresses, by what stands before the colon.
        base_address: where paths start that lie in no folder, with a slash at its end; None when a folder is the base.
    """

    def __init__(self, folders: FolderPhotos, by_scheme: dict[str, PhotoSource], *, base_address: str | None = None) -> None:
        self._folders, self._by_scheme, self._base_address = folders, by_scheme, base_address

    def find_photo(self, location: str) -> bytes:
        """See the port; `reason` is that of the place."""
        if is_address(location):
            source = self._by_scheme.get(location.partition(":")[0].lower())
            if source is None:
                raise BadPhoto("unsupported_location", "no place here has such addresses")
            return source.find_photo(location)
        try:
            return self._folders.find_photo(location)
        except BadPhoto as error:
            if self._base_address is None or error.reason not in ("missing", "outside_roots", "unsupported_location"):
                raise
        return self.find_photo(_join(self._base_address, location))


def _join(base: str, path: str) -> str:
    """The address of a path below the base.

    Raises:
        BadPhoto: `outside_roots`, for a path that climbs.
    """
    if ".." in unquote(path).replace("\\", "/").split("/"):
        raise BadPhoto("outside_roots", "the photograph's path leaves EYE_DX_PHOTO_BASE")
    # A number sign belongs to the file's name: as the start of a fragment it would cut the name, and ask for another photograph.
    hidden = path.lstrip("/").replace("#", "%23") if base.startswith("http") else path.lstrip("/")
    return base + hidden
