"""How photographs come in: found where a message may point to, then prepared one by one, so that a bad one spoils nothing."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from eye_dx_core.errors import BadPhoto
from eye_dx_core.inference.files import PhotoFile
from eye_dx_core.inference.preparing import PreparedPhoto, prepare_photo
from eye_dx_core.inference.sources.port import PhotoSource

Prepared = PreparedPhoto | BadPhoto


class PhotoIntake:
    """Finds and prepares photographs, in the order in which they are asked for."""

    def __init__(self, places: PhotoSource) -> None:
        self._places = places

    def prepare(self, locations: Sequence[str], *, size: int) -> Iterator[Prepared]:
        """Each photograph that a message names, as a square of `size` pixels, or why there is none."""
        return _prepare((lambda one=one: self._places.find_photo(one) for one in locations), size)

    def prepare_files(self, files: Iterable[PhotoFile], *, size: int) -> Iterator[Prepared]:
        """The same for files that the caller vouches for."""
        return _prepare((lambda file=file: _vouched(file) for file in files), size)


def _prepare(finders: Iterable[Callable[[], Path | bytes]], size: int) -> Iterator[Prepared]:
    for find in finders:
        try:
            yield prepare_photo(find(), size=size)
        except BadPhoto as error:
            yield error


def _vouched(file: PhotoFile) -> Path:
    path, refusal = file
    if refusal is not None:
        raise refusal
    return path
