"""A fundus square made flat: how each place stands out from its surroundings, whatever the light, the colour and the vessels."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter, maximum_filter1d, minimum_filter1d

Map = NDArray[np.floating[Any]]

SIDE = 112
"""Side of all maps: a disc is a dozen pixels wide, a large vessel two."""
AXIS = ((np.arange(SIDE) + 0.5) / SIDE * 2 - 1).astype(np.float32)
FROM_CENTRE = np.hypot(AXIS[None, :], AXIS[:, None])

# In pixels of the maps: a dark line narrower than a gap is a vessel; blurs for a disc, a macula and their surroundings; beside a disc.
_GAP, _SPOT, _MACULA, _SURROUNDINGS, _BESIDE = 5, 3.0, 5.0, 14.0, 11
_COARSE = 4
"""A wide blur is taken of maps that are smaller by this, at a thirtieth of the cost."""
_FAINTEST = 6


@dataclass(frozen=True)
class Relief:
    """Maps (SIDE, SIDE) of one square; all but the mask in units of their own spread, so that haze and exposure fall out."""

    inside: NDArray[np.bool_]
    """Lit and not at the very rim."""
    brightness: Map
    """Of spots the size of a disc against their surroundings."""
    isolation: Map
    """By how much a spot is brighter than the places beside it, of eight those three that it outshines least: an edge has none."""
    vessels: Map
    """Upright rather than lying vessels nearby, as above and below the disc."""
    blue: Map
    """Blue against red, in log units: a reflex of the lens is bluish, a disc is not."""
    darkness: Map
    """Of spots the size of a macula against their surroundings; bright spots count as none."""


def relief_of(square: NDArray[np.uint8]) -> Relief | None:
    """Flatten a square (size, size, rgb); None where next to nothing is lit."""
    small = np.asarray(Image.fromarray(square).resize((SIDE, SIDE), Image.Resampling.BOX)).astype(np.float32)
    lit = (FROM_CENTRE < 0.97) & (small.max(axis=2) > _FAINTEST)
    inside = lit & (FROM_CENTRE < 0.95)
    if inside.mean() < 0.1:
        return None
    weight, red, green, blue = lit.astype(np.float32), *np.moveaxis(small, 2, 0)
    light, tint = np.log(0.5 * red + green + 0.25 * blue + 10), np.log((blue + 10) / (red + 10))
    flat = (light - _surroundings(light, weight)) * weight
    spots = _smooth(_without_vessels(flat), weight, _SPOT)
    spots -= spots[inside].mean()
    spread = _spread(spots[inside], 0.02)
    return Relief(
        inside=inside,
        brightness=spots / spread,
        isolation=_isolation(spots) / spread,
        vessels=_upright_vessels(flat, lit & (FROM_CENTRE < 0.9)),
        blue=_smooth(tint, weight, _SPOT) - _surroundings(tint, weight),
        darkness=_darkness(flat, weight, inside),
    )


def _smooth(values: Map, weight: Map, sigma: float) -> Map:
    """A blur that looks at lit places only, and is 0 elsewhere (normalised convolution)."""
    blurred, seen = (gaussian_filter(one, sigma, truncate=2.5) for one in (values * weight, weight))
    return np.where(weight > 0, blurred / np.maximum(seen, 0.05), 0)


def _surroundings(values: Map, weight: Map) -> Map:
    """The same with a blur as wide as the surroundings of disc and macula."""
    coarse = (SIDE // _COARSE, SIDE // _COARSE)
    small, seen = (np.asarray(Image.fromarray(one).resize(coarse, Image.Resampling.BOX)) for one in (values * weight, weight))
    blurred, seen = (gaussian_filter(one, _SURROUNDINGS / _COARSE, truncate=2.5) for one in (small, seen))
    wide = Image.fromarray(blurred / np.maximum(seen, 1e-3)).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return np.where(weight > 0, np.asarray(wide), 0)


def _without_vessels(flat: Map) -> Map:
    """A grey closing: dark lines narrower than the gap vanish."""
    for extreme in (maximum_filter1d, minimum_filter1d):
        for axis in (0, 1):
            flat = extreme(flat, _GAP, axis=axis)
    return flat


def _isolation(spots: Map) -> Map:
    padded = np.pad(spots, _BESIDE, mode="edge")
    turns = np.arange(8) * np.pi / 4
    steps = zip(np.rint(_BESIDE * np.cos(turns)).astype(int), np.rint(_BESIDE * np.sin(turns)).astype(int), strict=True)
    beside = [padded[_BESIDE + down : _BESIDE + down + SIDE, _BESIDE + across : _BESIDE + across + SIDE] for across, down in steps]
    return spots - np.sort(np.stack(beside), axis=0)[5:].mean(axis=0)


def _upright_vessels(flat: Map, where: NDArray[np.bool_]) -> Map:
    """Dark ridges by second differences, those across minus those along, gathered above and below each place."""
    fine = gaussian_filter(flat, 1.0, truncate=2.5)
    across, down = np.zeros_like(fine), np.zeros_like(fine)
    across[:, 2:-2] = fine[:, 4:] + fine[:, :-4] - 2 * fine[:, 2:-2]
    down[2:-2] = fine[4:] + fine[:-4] - 2 * fine[2:-2]
    ridges = np.maximum(across, 0) - np.maximum(down, 0)
    # The rim and large haemorrhages are ridges beyond any vessel's.
    most = float(np.percentile(np.abs(ridges[where]), 97)) + 1e-3
    gathered = gaussian_filter(np.where(where, np.clip(ridges, -most, most), 0), (9, 4), truncate=2.5)
    return gathered / _spread(gathered[where], 1e-6)


def _darkness(flat: Map, weight: Map, inside: NDArray[np.bool_]) -> Map:
    # Bounded on both sides: drusen do not make what lies between them dark, nor does a haemorrhage outdo the macula.
    flat = np.clip(_without_vessels(np.minimum(flat, 0.05)), -0.2, 0.05)
    dark = _surroundings(flat, weight) - _smooth(flat, weight, _MACULA)
    return dark / _spread(dark[inside], 0.01)


def _spread(values: Map, least: float) -> float:
    return float(np.sqrt(np.mean(values**2))) + least
