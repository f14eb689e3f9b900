"""Where photographs cannot be read: by camera and by who sent them."""

import pandas as pd

from eye_dx_core.reporting.daily.estimates import LEAST_FOR_A_SHARE, Estimate, share_of
from eye_dx_core.reporting.daily.frames import DayFrames, count_values
from eye_dx_core.schema.diagnosis import Outcome
from eye_dx_core.schema.frozen import Frozen

REST = "others, too few each"
UNKNOWN = "not told by the file"
_SHOWN = 12


class Ungradable(Frozen):
    """Photographs from one camera or sender, and how many of them could not be read."""

    place: str
    photos: int
    ungradable: int
    rate: Estimate | None = None


def by_camera(frames: DayFrames) -> tuple[Ungradable, ...]:
    """By camera, the most photographs first. A file's tags hold whatever somebody wrote there, so the rare ones are not named."""
    return _measure(frames.photos["camera"].fillna(UNKNOWN), frames.photos["outcome"])


def by_site(frames: DayFrames) -> tuple[Ungradable, ...]:
    """By who sent the photographs."""
    sites = frames.cases["site"].reindex(frames.photos["case"])
    sites.index = frames.photos.index
    return _measure(sites, frames.photos["outcome"])


def _measure(places: pd.Series, outcomes: pd.Series) -> tuple[Ungradable, ...]:
    seen = count_values(places)
    named = [place for place, count in seen.items() if count >= LEAST_FOR_A_SHARE][:_SHOWN]
    shown = places.where(places.isin(named), REST)
    photos, unread = count_values(shown), count_values(shown[outcomes == Outcome.NOT_ASSESSED])
    order = [*named, *([REST] if REST in photos else [])]
    return tuple(_row(place, photos[place], unread.get(place, 0)) for place in order)


def _row(place: str, photos: int, ungradable: int) -> Ungradable:
    return Ungradable(place=place, photos=photos, ungradable=ungradable, rate=share_of(ungradable, photos))
