"""Files of ours that nothing refers to any more. What cannot be shown to be ours and unreferenced is left, and counted."""

import re
import shutil
from collections.abc import Callable, Iterable, Set
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from eye_dx_core.housekeeping.storage import bytes_under
from eye_dx_core.schema.frozen import Frozen

DRAFT_AGE = timedelta(days=7)
"""Longer than any training writes on one file; whoever wrote an older draft was cut off."""
LOG_BYTES, LOG_KEPT = 10_000_000, 1_000_000
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Swept(Frozen):
    """What was deleted in one place, and how many things were left there because nobody can say whose they are."""

    deleted: int = 0
    bytes_freed: int = 0
    left: int = 0

    def __add__(self, other: "Swept") -> "Swept":
        """Both together."""
        return Swept(deleted=self.deleted + other.deleted, bytes_freed=self.bytes_freed + other.bytes_freed, left=self.left + other.left)


def sweep_checkpoint_folders(folder: Path, known: Set[str], *, before: datetime) -> Swept:
    """Delete what was kept for checkpoints that are gone: folders named by the hash of the weights, such as engines and downloads.

    Args:
        folder: holds one folder for each checkpoint.
        known: hashes of the weights of every registered version, and of the newest checkpoint, which is not registered yet.
        before: younger folders stay: somebody may try out a checkpoint that is in no registry.
    """

    def is_due(path: Path) -> bool:
        return path.name not in known and newest_change(path) < before

    return sweep(
        (path for path in _entries(folder) if path.is_dir()), is_ours=lambda path: bool(_SHA256.fullmatch(path.name)), is_due=is_due
    )


def sweep_trunks(downloads: Path, *, before: datetime) -> Swept:
    """Delete downloaded trunks that no downloaded checkpoint links to."""
    linked = {link.resolve() for link in downloads.glob("*/*.safetensors") if link.is_symlink()}

    def is_due(path: Path) -> bool:
        return path.resolve() not in linked and newest_change(path) < before

    return sweep(_entries(downloads / "trunks"), is_ours=lambda path: bool(_SHA256.fullmatch(path.stem)), is_due=is_due)


def sweep_squares(cache: Path, known: Set[str] | None, *, before: datetime) -> Swept:
    """Delete shards of decoded photographs none of which is in the present manifest.

    Args:
        cache: with one folder for each size.
        known: hashes of the manifest's photographs; without a manifest nothing is deleted.
        before: younger shards stay: another set of photographs may be tried out.
    """
    shards = [path for path in cache.glob("*/*.shard.npy") if path.is_file()]
    if known is None:
        return Swept(left=len(shards))
    from eye_dx_core.dataset.cache import hashes_in_shard

    def is_due(path: Path) -> bool:
        return newest_change(path) < before and known.isdisjoint(hashes_in_shard(path))

    return sweep(shards, is_ours=lambda _: True, is_due=is_due)


def sweep_drafts(folders: Iterable[Path], *, at: datetime) -> Swept:
    """Delete files that were being written when their writer was cut off: a draft becomes the file itself within moments, or hours."""
    drafts = [path for folder in folders for path in folder.rglob("*.draft") if path.is_file()]
    return sweep(drafts, is_ours=lambda _: True, is_due=lambda path: newest_change(path) < at - DRAFT_AGE)


def shorten_log(log: Path) -> Swept:
    """Keep the end of a log that has grown large. Its writer goes on at the new end, because it appends."""
    if not log.is_file() or (size := log.stat().st_size) <= LOG_BYTES:
        return Swept()
    with log.open("r+b") as file:
        file.seek(size - LOG_KEPT)
        file.readline()  # a part of a line says nothing
        end = file.read()
        file.seek(0)
        file.write(end)
        file.truncate()
    return Swept(deleted=1, bytes_freed=size - len(end))


def sweep(found: Iterable[Path], *, is_ours: Callable[[Path], bool], is_due: Callable[[Path], bool]) -> Swept:
    """Delete what is ours and due; count what is not ours as left."""
    swept = Swept()
    for path in sorted(found):
        if path.is_symlink() or not is_ours(path):
            swept += Swept(left=1)
        elif is_due(path):
            size = bytes_under(path)
            remove(path)
            swept += Swept(deleted=1, bytes_freed=size)
    return swept


def remove(path: Path) -> None:
    """Delete a file, or a folder with all below it. Somebody else may have done it meanwhile."""
    with suppress(FileNotFoundError):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def newest_change(path: Path) -> datetime:
    """When a file, or any file in a folder, was last written."""
    places = [path, *path.rglob("*")] if path.is_dir() else [path]
    return datetime.fromtimestamp(max((one.lstat().st_mtime for one in places), default=0.0), UTC)


def _entries(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []
