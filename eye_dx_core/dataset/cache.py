"""Decode and crop once: squares kept on disk in shards, and read from there when they are asked for.

A shard is one array file of (pixel hash, square) records. Shards are mapped, so a data set may be larger than memory.
"""

import hashlib
import logging
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from eye_dx_core.dataset.field_of_view import CROP_VERSION, read_square
from eye_dx_core.dataset.manifest import ManifestRow
from eye_dx_core.progress import LoggedProgress

_SHARD_PHOTOS = 256
"""Photographs per shard, 38 MB of them at 224 pixels; a kill costs at most the decoding of so many."""
_log = logging.getLogger(__name__)


class Squares(Protocol):
    """Photographs as squares (photo, size, size, rgb), in memory or on disk; an index gives those it names as an array."""

    def __len__(self) -> int:
        """How many photographs there are."""
        ...

    def __getitem__(self, chosen: slice | NDArray[np.int64], /) -> NDArray[np.uint8]:
        """The chosen squares (photo, size, size, rgb)."""
        ...


@dataclass(frozen=True)
class KeptSquares:
    """Squares that lie in shards on disk."""

    shards: tuple[NDArray[np.uint8], ...]
    """Mapped, (photo, size, size, rgb) each."""
    places: NDArray[np.int64]
    """(photo, 2): in which shard each photograph lies, and where in it."""

    def __len__(self) -> int:
        """See the protocol."""
        return len(self.places)

    def __getitem__(self, chosen: slice | NDArray[np.int64], /) -> NDArray[np.uint8]:
        """See the protocol."""
        return np.stack([self.shards[shard][position] for shard, position in self.places[chosen]])


def load_squares(photo_folder: Path, rows: Sequence[ManifestRow], *, size: int, cache_folder: Path) -> KeptSquares:
    """The photographs of the rows as squares of `size` pixels, cropped to the field of view.

    Kept by pixel hash, size and crop version, so a photograph that moved is not decoded again and a new crop never
    meets an old square. Two processes may fill one folder; a damaged shard is made anew.

    Args:
        photo_folder: what the rows' paths are relative to.
        rows: at least one.
        size: side of a square in pixels.
        cache_folder: where the shards are kept, in a folder of their own.

    Raises:
        BadPhoto: a photograph has changed since the manifest was written and can no longer be read.
    """
    folder = cache_folder / f"{CROP_VERSION.replace('/', '-')}-{size}"
    folder.mkdir(parents=True, exist_ok=True)
    record = np.dtype([("pixel_sha256", "S64"), ("square", np.uint8, (size, size, 3))])
    missing = {row.pixel_sha256: row for row in rows}
    for shard in _shards(folder, record):
        for known in shard["pixel_sha256"]:
            missing.pop(known.decode(), None)
    undone, progress = tuple(missing.values()), LoggedProgress("photographs decoded", len(missing))
    for start in range(0, len(undone), _SHARD_PHOTOS):
        _write_shard(folder, photo_folder, undone[start : start + _SHARD_PHOTOS], record, progress)
    shards = tuple(_shards(folder, record))
    found = {
        known.decode(): (number, position) for number, shard in enumerate(shards) for position, known in enumerate(shard["pixel_sha256"])
    }
    places = np.array([found[row.pixel_sha256] for row in rows], dtype=np.int64).reshape(-1, 2)
    return KeptSquares(tuple(shard["square"] for shard in shards), places)


def _shards(folder: Path, record: np.dtype[np.void]) -> Iterator[NDArray[np.void]]:
    for file in sorted(folder.glob("*.shard.npy")):
        try:
            shard = np.load(file, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            _log.warning("kept squares are damaged (%s): they are made anew", type(error).__name__)
            continue
        if shard.dtype == record:
            yield shard


def hashes_in_shard(file: Path) -> frozenset[str]:
    """The pixel hashes of the photographs that a shard holds; none for a damaged one, which nobody reads."""
    try:
        shard = np.load(file, mmap_mode="r", allow_pickle=False)
        return frozenset(known.decode() for known in shard["pixel_sha256"])
    except (OSError, ValueError, EOFError, IndexError):
        return frozenset()


def _write_shard(
    folder: Path, photo_folder: Path, rows: Sequence[ManifestRow], record: np.dtype[np.void], progress: LoggedProgress
) -> None:
    shard = np.empty(len(rows), dtype=record)
    shard["pixel_sha256"] = [row.pixel_sha256.encode() for row in rows]

    def fill(position: int) -> None:
        shard["square"][position] = read_square(photo_folder / rows[position].path, size=record["square"].shape[0])

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # decoding releases the interpreter lock
        for _ in pool.map(fill, range(len(rows))):
            progress.advance()
    name = hashlib.sha256(shard["pixel_sha256"].tobytes()).hexdigest()[:16]
    draft = folder / f"{name}.{os.getpid()}.draft"
    with draft.open("wb") as file:
        np.save(file, shard)
    draft.replace(folder / f"{name}.shard.npy")
