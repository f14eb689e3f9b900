"""Where the optic disc and the fovea lie in a square, and how sure that is. No torch: this runs in worker processes.

The numbers below were fitted on phantoms and on 1,006 photographs whose eye is known; `docs/decisions/which-eye.md` says how well they do.
"""

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.ndimage import maximum_filter

from eye_dx_core.inference.relief import AXIS, FROM_CENTRE, Map, Relief, relief_of
from eye_dx_core.schema.frozen import Frozen


class Disc(Frozen):
    """The optic disc as found in a square, in field units (-1..1, x to the right, y down)."""

    x: float
    y: float
    strength: float = Field(default=1.0, ge=0, le=1)
    """How likely this is the disc: of discs with a strength of 0.9, nine in ten are right."""


class Fovea(Frozen):
    """The fovea, in the units of the disc: the darkest soft spot where a fovea is to be expected of that disc."""

    x: float
    y: float
    strength: float = Field(ge=0, le=1)
    """How likely it lies within a disc's radius of here."""


class Landmarks(Frozen):
    """What a square shows of the fundus's geography."""

    disc: Disc | None = None
    fovea: Fovea | None = None
    upright: float = Field(default=0.0, ge=0, le=1)
    """How likely the picture is the right way up: the fovea lies a little below the disc, in a picture turned round or over above it."""


# What speaks for a spot being the disc, and what against: far above or below the middle, near the rim, in the very centre.
_WEIGHTS = np.array([0.8, 1.3, 0.65, -2.6, -4.5, -11.5, -15.0], dtype=np.float32)
_SPOTS, _APART, _SAME_DISC = 8, 9, 0.25
# Logit of a spot being the disc, by the share of the evidence that lies on it and by its own evidence.
_DISC_SURE = (-0.65, 1.2, 0.16)
_LEAST_STRENGTH = 0.5

# Fovea from disc in units of the field's radius, for fields of 45 to 50 degrees: medians of 440 photographs that show both, and spread.
_ASIDE, _BELOW, _SPREAD_ASIDE, _SPREAD_BELOW = 0.62, 0.085, 0.085, 0.055
_DARK_WEIGHT, _DARKEST, _NEAR_FOVEA = 1.5, 3.0, 0.15
# Share of those 1,006 photographs that are the right way up. The others come from one collection, where nearly a third are turned.
_USUALLY_UPRIGHT = 0.955


def find_landmarks(square: NDArray[np.uint8]) -> Landmarks:
    """Find disc and fovea in a square (size, size, rgb) around the field of view."""
    relief = relief_of(square)
    disc = _find_disc(relief) if relief else None
    if relief is None or disc is None:
        return Landmarks()
    fovea, upright = _find_fovea(relief, disc)
    return Landmarks(disc=disc, fovea=fovea, upright=upright)


def find_disc(square: NDArray[np.uint8]) -> Disc | None:
    """The optic disc of a square, or None where no place is more likely the disc than not."""
    relief = relief_of(square)
    return _find_disc(relief) if relief else None


def _find_disc(relief: Relief) -> Disc | None:
    down, across = _spots(relief)
    x, y = AXIS[across], AXIS[down]
    marks = (relief.brightness, relief.isolation, relief.vessels, relief.blue)
    places = (np.maximum(np.abs(y) - 0.25, 0), np.maximum(FROM_CENTRE[down, across] - 0.75, 0), np.maximum(0.2 - np.abs(x), 0))
    evidence = np.stack([*(mark[down, across] for mark in marks), *places], axis=1) @ _WEIGHTS  # (spot,)
    best = int(evidence.argmax())
    shares = np.exp(evidence - evidence[best])
    share = float(shares[np.hypot(x - x[best], y - y[best]) < _SAME_DISC].sum() / shares.sum())
    strength = _sure_of(share, float(evidence[best]))
    return Disc(x=float(x[best]), y=float(y[best]), strength=strength) if strength >= _LEAST_STRENGTH else None


def _spots(relief: Relief) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of the places that most look like a disc, apart from each other."""
    likeness = np.where(relief.inside, 0.5 * relief.brightness + relief.isolation + 0.6 * relief.vessels, -np.inf)
    down, across = np.nonzero((likeness == maximum_filter(likeness, _APART)) & relief.inside)
    order = np.argsort(-likeness[down, across], kind="stable")[:_SPOTS]
    return down[order], across[order]


def _sure_of(share: float, evidence: float) -> float:
    always, by_share, by_evidence = _DISC_SURE
    share = min(max(share, 0.001), 0.9933)  # the logit of 5: beyond that, more says nothing
    return _logistic(always + by_share * _logit(share) + by_evidence * min(max(evidence, -2.0), 8.0))


def _find_fovea(relief: Relief, disc: Disc) -> tuple[Fovea, float]:
    """The fovea, and how likely the picture is the right way up.

    Both follow from Bayes' rule, with a prior for where the fovea lies in an upright picture and one for a turned picture.
    """
    temporal = -1.0 if disc.x > 0 else 1.0
    aside = np.exp(-(((AXIS - disc.x - temporal * _ASIDE) / _SPREAD_ASIDE) ** 2) / 2)
    likelihood = np.where(relief.inside, np.exp(_DARK_WEIGHT * np.minimum(relief.darkness, _DARKEST)), 1.0)
    upright, turned = (_below(disc.y + way * _BELOW)[:, None] * aside[None, :] for way in (1, -1))
    seen_upright, seen_turned = (float((likelihood * prior).sum() / prior.sum()) for prior in (upright, turned))
    belief = likelihood * (_USUALLY_UPRIGHT * upright + (1 - _USUALLY_UPRIGHT) * turned)
    down, across = np.unravel_index(int(belief.argmax()), belief.shape)
    near = np.hypot(AXIS[None, :] - AXIS[across], AXIS[:, None] - AXIS[down]) < _NEAR_FOVEA
    fovea = Fovea(x=float(AXIS[across]), y=float(AXIS[down]), strength=min(1.0, float(belief[near].sum() / belief.sum())))
    return fovea, _logistic(_logit(_USUALLY_UPRIGHT) + float(np.log(seen_upright / seen_turned)))


def _below(expected: float) -> Map:
    return np.exp(-(((AXIS - expected) / _SPREAD_BELOW) ** 2) / 2)


def _logit(probability: float) -> float:
    return float(np.log(probability / (1 - probability)))


def _logistic(logit: float) -> float:
    return float(1 / (1 + np.exp(-logit)))
