"""The zones of the fundus in a square, relative to disc and fovea, and those that a map of evidence points to."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from eye_dx_core.inference.landmarks import Disc
from eye_dx_core.schema.case import Laterality
from eye_dx_core.schema.diagnosis import AbnormalArea, EvidenceMap, Zone

Map = NDArray[np.floating[Any]]
ZoneMap = NDArray[np.str_]

# In units of the field's radius, for the usual field of 45 to 50 degrees: disc and fovea lie 15.5 degrees apart.
_FOVEA_ASIDE, _FOVEA_BELOW, _DISC_ZONE, _MACULA_ZONE, _PERIPHERY_FROM = 0.62, 0.05, 0.22, 0.32, 0.78
_SIDE_IS_CLEAR = 0.15
"""A disc nearer to the middle than this does not tell which eye it is."""
_LEAST_SHARE, _LEAST_DENSITY, _MOST_ZONES = 0.15, 1.3, 3


def find_zones(weights: Map, disc: Disc | None, eye: Laterality | None) -> tuple[AbnormalArea, ...]:
    """The zones that hold clearly more of the evidence than of the area, strongest first; empty when it is not localised.

    Args:
        weights: (down, across), over the square.
        disc: where the optic disc lies; without it, only the periphery can be named.
        eye: which eye, if known; otherwise the disc's side tells.
    """
    total = float(weights.sum())
    if total <= 0:
        return ()
    zones = zones_of_square(len(weights), disc, eye)
    field = int(inside_field(len(weights)).sum())
    areas: list[AbnormalArea] = []
    for zone in Zone:
        here = zones == zone
        share, extent = float(weights[here].sum()) / total, float(here.sum()) / field
        if share >= _LEAST_SHARE and share >= _LEAST_DENSITY * extent:
            areas.append(AbnormalArea(zone=zone, strength=min(1.0, share)))
    return tuple(sorted(areas, key=lambda area: -area.strength)[:_MOST_ZONES])


def zones_of_square(size: int, disc: Disc | None, eye: Laterality | None) -> ZoneMap:
    """The zone of each place (size, size); empty outside the field and where nothing can be placed."""
    x, y = np.meshgrid(*[_axis(size)] * 2)
    zones = np.full((size, size), "", dtype="<U32")
    nasal = _nasal(disc, eye)
    if disc is not None and nasal is not None:
        _place_quadrants(zones, x, y, disc, nasal)
    zones[np.hypot(x, y) > _PERIPHERY_FROM] = Zone.PERIPHERY
    if disc is not None and nasal is not None:
        fovea_x, fovea_y = _fovea(disc, nasal)
        zones[np.hypot(x - fovea_x, y - fovea_y) < _MACULA_ZONE] = Zone.MACULA
    if disc is not None:
        zones[np.hypot(x - disc.x, y - disc.y) < _DISC_ZONE] = Zone.DISC
    zones[~inside_field(size)] = ""
    return zones


def weights_of(evidence: EvidenceMap) -> Map:
    """The weights of a map, (down, across), 0 to 1."""
    return np.array(evidence.weights, dtype=np.float32).reshape(evidence.rows, evidence.columns) / 255


def inside_field(size: int) -> NDArray[np.bool_]:
    """Which places of a square (size, size) have their middle inside the field of view."""
    axis = _axis(size)
    return axis[None, :] ** 2 + axis[:, None] ** 2 < 1


def _axis(size: int) -> Map:
    return (np.arange(size) + 0.5) / size * 2 - 1


def _nasal(disc: Disc | None, eye: Laterality | None) -> float | None:
    """The sign of the nasal direction in the picture; None where nothing tells, or the disc lies where that eye does not have it."""
    by_eye = None if eye is None else 1.0 if eye is Laterality.RIGHT else -1.0
    by_disc = None if disc is None or abs(disc.x) < _SIDE_IS_CLEAR else 1.0 if disc.x > 0 else -1.0
    if by_eye is not None and by_disc is not None and by_eye != by_disc:
        return None
    return by_eye or by_disc


def _fovea(disc: Disc, nasal: float) -> tuple[float, float]:
    return disc.x - nasal * _FOVEA_ASIDE, disc.y + _FOVEA_BELOW


def _place_quadrants(zones: ZoneMap, x: Map, y: Map, disc: Disc, nasal: float) -> None:
    _, middle = _fovea(disc, nasal)
    is_temporal = (disc.x - x) * nasal > 0
    zones[~is_temporal] = Zone.NASAL
    zones[is_temporal & (y < middle)] = Zone.SUPERIOR_TEMPORAL
    zones[is_temporal & (y >= middle)] = Zone.INFERIOR_TEMPORAL
