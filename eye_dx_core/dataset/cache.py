"""Decode and crop once: squares kept on disk, one small file per photograph."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eye_dx_core.dataset.manifest import ManifestRow
from eye_dx_core.dataset.photo import CROP_VERSION, read_square


def load_squares(
    photo_folder: Path,
    rows: Sequence[ManifestRow],
    *,
    size: int,
    cache_folder: Path,
    progress: Callable[[int, int], None] | None = None,
) -> NDArray[np.uint8]:
    """The photographs of the rows as squares (row, size, size, rgb), cropped to the field of view.

    Kept by pixel hash, size and crop version, so a photograph that moved is not decoded again and a new crop never
    meets an old square. A damaged entry is made anew.

    Raises:
        BadPhoto: a photograph has changed since the manifest was written and can no longer be read.
    """
    folder = cache_folder / f"{CROP_VERSION.replace('/', '-')}-{size}"
    folder.mkdir(parents=True, exist_ok=True)
    squares = np.empty((len(rows), size, size, 3), dtype=np.uint8)

    def fill(position: int) -> None:
        row = rows[position]
        squares[position] = _load_or_make(folder / f"{row.pixel_sha256}.npy", photo_folder / row.path, size)

    with ThreadPoolExecutor(2) as pool:
        for done, _ in enumerate(pool.map(fill, range(len(rows))), start=1):
            if progress is not None:
                progress(done, len(rows))
    return squares


def _load_or_make(kept: Path, photo: Path, size: int) -> NDArray[np.uint8]:
    try:
        square = np.load(kept, allow_pickle=False)
        if square.shape == (size, size, 3) and square.dtype == np.uint8:
            return square
    except (OSError, ValueError, EOFError):
        pass  # absent or damaged: made below
    square = read_square(photo, size=size)
    draft = kept.with_suffix(f".{os.getpid()}.{id(square)}.draft")
    with draft.open("wb") as file:
        np.save(file, square)
    draft.replace(kept)
    return square
