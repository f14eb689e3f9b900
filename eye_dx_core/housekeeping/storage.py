"""How much each part of an installation takes, and how long its disk will last."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import cast

from pydantic import AwareDatetime, Field

from eye_dx_core import wiring
from eye_dx_core.errors import FilesUnavailable
from eye_dx_core.files.port import FileStore
from eye_dx_core.schema.frozen import Frozen
from eye_dx_core.settings import Settings

FULL_SOON_DAYS, LITTLE_FREE = 14.0, 0.1
_NIGHTS_NEEDED, _SPAN_NEEDED = 5, timedelta(days=4)
_BLOCK = 512
_SQLITE = "sqlite:///"


class Storage(Frozen):
    """Bytes by part of the installation, and of the disk that holds the state folder."""

    parts: dict[str, int]
    free: int = Field(ge=0)
    total: int = Field(gt=0)


class FreeSpace(Frozen):
    """What was free on one night."""

    at: AwareDatetime
    free: int = Field(ge=0)


class Forecast(Frozen):
    """When the disk will be full if things go on as in the last nights; `days_until_full` is None where nobody can say, or never."""

    bytes_per_day: float | None = None
    """By how much the free space shrinks; below zero when it grows."""
    days_until_full: float | None = None
    reason: str


def measure_storage(settings: Settings) -> Storage:
    """Measure every part; what lies in a database server or on other machines is not ours to measure and has no part.

    Reports in an object store are counted there, and not as what this disk must hold.
    """
    parts = {
        "prepared": (settings.prepared,),
        "reports": (settings.report_folder, settings.data / "daily") if settings.files_url is None else (),
        "mlruns": (settings.state / "mlruns",),
        "dagster_home": (settings.dagster_home,),
        "records": _files_of(settings.records_address),
        "queue": _files_of(settings.queue_address),
    }
    used = {name: sum(map(bytes_under, places)) for name, places in parts.items() if places}
    # Photographs of screenings may lie anywhere under data/, so what is none of the other parts counts with the photographs.
    other = sum(used[name] for name in used if name not in ("mlruns", "dagster_home"))
    photos = bytes_under(settings.data) - other
    if not settings.training_photos.is_relative_to(settings.data.resolve()):
        photos += bytes_under(settings.training_photos)
    if settings.files_url is not None:
        with suppress(FilesUnavailable):  # tonight it has no part
            used["reports"] = _bytes_in_store(wiring.open_files(settings))
    disk = shutil.disk_usage(settings.state)
    return Storage(parts=used | {"photos": max(0, photos)}, free=disk.free, total=disk.total)


def _bytes_in_store(files: FileStore) -> int:
    return sum(sum(files.sizes(folder).values()) for folder in ("reports", "daily"))


def _files_of(address: str) -> tuple[Path, ...]:
    """A database of SQLite with its log of changes; nothing for one that is served."""
    if not address.startswith(_SQLITE):
        return ()
    file = Path(address.removeprefix(_SQLITE))
    return tuple(file.with_name(f"{file.name}{suffix}") for suffix in ("", "-wal", "-shm"))


def bytes_under(place: Path) -> int:
    """What a file, or a folder with all below it, takes on the disk. Links are not followed; what vanishes meanwhile is nothing."""
    try:
        stat = place.lstat()
    except OSError:
        return 0
    if place.is_dir() and not place.is_symlink():
        return sum(one.stat(follow_symlinks=False).st_blocks * _BLOCK for one in _files_under(place))
    return stat.st_blocks * _BLOCK


def _files_under(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            found = list(entries)
    except OSError:
        return
    for one in found:
        if one.is_dir(follow_symlinks=False):
            yield from _files_under(Path(one.path))
        elif one.is_file(follow_symlinks=False):
            yield one


def forecast_disk(nights: Sequence[FreeSpace]) -> Forecast:
    """How many days until nothing is free, by the median slope over all pairs of nights (Theil and Sen).

    One night on which much was deleted or copied in does not move it, as it would move a fitted line.
    """
    known = sorted(nights, key=lambda night: night.at)
    if len(known) < _NIGHTS_NEEDED or known[-1].at - known[0].at < _SPAN_NEEDED:
        return Forecast(
            reason=f"not known yet: {len(known)} nights are measured, {_NIGHTS_NEEDED} over {_SPAN_NEEDED.days} days are needed"
        )
    from scipy.stats import theilslopes  # not at the top: Dagster's definitions are loaded without it

    days = [(night.at - known[0].at) / timedelta(days=1) for night in known]
    slope, *_ = cast(tuple[float, ...], theilslopes([night.free for night in known], days))
    per_day = -float(slope)
    if per_day <= 0:
        return Forecast(bytes_per_day=per_day, reason=f"the free space does not shrink over the last {len(known)} nights")
    left = known[-1].free / per_day
    return Forecast(
        bytes_per_day=per_day,
        days_until_full=left,
        reason=f"full in {left:.0f} days: {per_day / 1e6:.1f} MB less are free each day, over the last {len(known)} nights",
    )


def judge_disk(storage: Storage, forecast: Forecast) -> tuple[bool, str]:
    """Whether the disk will do, and why in words."""
    share = storage.free / storage.total
    said = f"{share:.0%} of the disk is free; {forecast.reason}"
    is_soon = forecast.days_until_full is not None and forecast.days_until_full < FULL_SOON_DAYS
    return not is_soon and share >= LITTLE_FREE, said
