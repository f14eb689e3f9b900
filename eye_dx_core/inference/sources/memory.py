"""Photographs in memory, for tests and notebooks."""

from collections.abc import Mapping

from eye_dx_core.dataset.photo_file import MAX_BYTES
from eye_dx_core.errors import BadPhoto, ServiceUnavailable


class MemoryPhotos:
    """The port `PhotoSource` over a mapping from locations to bytes; None stands for a place that does not answer."""

    def __init__(self, photos: Mapping[str, bytes | None]) -> None:
        self._photos = photos

    def find_photo(self, location: str) -> bytes:
        """See the port."""
        if location not in self._photos:
            raise BadPhoto("missing", "the photograph is not there")
        content = self._photos[location]
        if content is None:
            raise ServiceUnavailable("the photograph's place does not answer")
        if len(content) > MAX_BYTES:
            raise BadPhoto("too_large", f"larger than {MAX_BYTES // 2**20} MiB")
        return content
