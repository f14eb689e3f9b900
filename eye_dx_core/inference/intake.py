"""How photographs come in: found where a message may point to, then prepared one by one, so that a bad one spoils nothing."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from threading import Thread

from eye_dx_core.errors import BadPhoto
from eye_dx_core.inference.files import PhotoFile
from eye_dx_core.inference.preparing import Prepared, prepare_or_refuse
from eye_dx_core.inference.quality_rules import RuleBook
from eye_dx_core.inference.sources.port import PhotoSource
from eye_dx_core.inference.workers import PhotoWorkers

_AHEAD = 32
"""Photographs that are prepared before anybody asks for them: some batches of them, as squares of 150 KB."""
Find = Callable[[], Path | bytes]
_Asked = tuple[Find, "Future[Prepared]"] | None


class PhotoIntake:
    """Finds and prepares photographs, in the order in which they are asked for.

    With workers, the next photographs are found and prepared in threads and processes while the caller is busy with these;
    `places` must bear being asked by several threads. Without, each is prepared here when it is asked for.
    """

    def __init__(self, places: PhotoSource, workers: PhotoWorkers | None = None, *, rules: RuleBook | None = None) -> None:
        """Find and prepare nothing yet.

        Args:
            places: where photographs are found.
            workers: who prepares them.
            rules: what their quality is held against; default is what we ship.
        """
        self._places, self._workers, self._rules = places, workers, rules

    def start(self) -> None:
        """Let the first process start that prepares photographs, and do not wait for it."""
        if self._workers is not None:
            self._workers.start()

    def get_ready(self) -> None:
        """The same, and wait for it."""
        if self._workers is not None:
            self._workers.get_ready()

    def prepare(self, locations: Sequence[str], *, size: int) -> Iterator[Prepared]:
        """Each photograph that a message names, as a square of `size` pixels, or why there is none."""
        return self._prepare((lambda one=one: self._places.find_photo(one) for one in locations), size)

    def prepare_files(self, files: Iterable[PhotoFile], *, size: int) -> Iterator[Prepared]:
        """The same for files that the caller vouches for."""
        return self._prepare((lambda file=file: _vouched(file) for file in files), size)

    def _prepare(self, finders: Iterable[Find], size: int) -> Iterator[Prepared]:
        if self._workers is not None:
            return _prepare_ahead(finders, size, self._workers, self._rules)
        return (_prepare_one(find, partial(prepare_or_refuse, rules=self._rules), size) for find in finders)


def _prepare_ahead(finders: Iterable[Find], size: int, workers: PhotoWorkers, rules: RuleBook | None) -> Iterator[Prepared]:
    asked: SimpleQueue[_Asked] = SimpleQueue()
    coming: deque[Future[Prepared]] = deque()
    prepare = partial(workers.prepare, rules=rules)
    for _ in range(workers.count):
        # As daemons, because one that waits for a file that hangs must not keep a process that was told to stop.
        Thread(target=_prepare_asked, args=(asked, size, prepare), daemon=True).start()
    try:
        for find in finders:
            coming.append(Future())
            asked.put((find, coming[-1]))
            if len(coming) > _AHEAD:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()
    finally:
        for unread in coming:
            unread.cancel()
        for _ in range(workers.count):
            asked.put(None)


def _prepare_asked(asked: "SimpleQueue[_Asked]", size: int, prepare: Callable[..., Prepared]) -> None:
    while (one := asked.get()) is not None:
        find, wanted = one
        if not wanted.set_running_or_notify_cancel():
            continue
        try:
            wanted.set_result(_prepare_one(find, prepare, size))
        except Exception as error:  # noqa: BLE001 - raised where the photograph is asked for
            wanted.set_exception(error)


def _prepare_one(find: Find, prepare: Callable[..., Prepared], size: int) -> Prepared:
    try:
        return prepare(find(), size=size)
    except BadPhoto as error:
        return error


def _vouched(file: PhotoFile) -> Path:
    path, refusal = file
    if refusal is not None:
        raise refusal
    return path
