"""The circle around what is lit in a small picture: from whole discs to those that the frame or the dark cuts."""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Points = NDArray[np.floating[Any]]

_GOOD_FIT = 0.93
"""From this agreement of circle and lit area on, no other fit is tried."""
_TRIALS, _NEAR = 400, 1.2
"""Circles through three rim points that are tried where part of the rim is missing; how near the rim lies, in pixels."""


class Circle(NamedTuple):
    """A circle in pixels."""

    x: float
    y: float
    radius: float


def fit_lit_disc(lit: Mask) -> tuple[Circle, float]:
    """The circle by the ends of the lit rows, or of the columns where these do not fit, and its agreement with what is lit."""
    circle = _fit_circle(*_edge_points(lit), lit.shape[1], lit.shape[0])
    covered = agreement(lit, circle)
    if covered >= _GOOD_FIT:
        return circle, covered
    turned = _fit_circle(*_edge_points(lit.T), lit.shape[0], lit.shape[1])
    other = Circle(turned.y, turned.x, turned.radius)
    other_covered = agreement(lit, other)
    return (other, other_covered) if other_covered > covered else (circle, covered)


def agreement(lit: Mask, circle: Circle) -> float:
    """How well lit area and circle agree inside the frame: intersection over union."""
    disc = _inside(lit.shape, circle)
    return float((disc & lit).sum() / max(1, (disc | lit).sum()))


def find_part_disc(lit: Mask) -> Circle | None:
    """The circle whose rim bounds what is lit, though a part of the disc is dark; None where no such rim is to be seen.

    Circles through three of the outermost lit pixels of rows and columns are tried, and the one with most such pixels on its rim
    is refined on them. It counts if a third of its rim is seen, all that is lit lies within, and that fills a third of it.
    """
    (xs, ys), (down, across) = _edge_points(lit), _edge_points(lit.T)
    xs, ys = np.concatenate([xs, across]), np.concatenate([ys, down])
    free = (xs > 1) & (xs < lit.shape[1] - 1) & (ys > 1) & (ys < lit.shape[0] - 1)
    xs, ys = xs[free], ys[free]
    if len(xs) < 12:
        return None
    circle = _most_supported(xs, ys, longest=max(lit.shape))
    for _ in range(2):
        near = np.abs(np.hypot(xs - circle.x, ys - circle.y) - circle.radius) < _NEAR
        if near.sum() < 12:
            return None
        circle = _least_squares(xs[near], ys[near])
    return circle if _is_rim(lit, circle, xs, ys) else None


def _most_supported(xs: Points, ys: Points, *, longest: int) -> Circle:
    """The circle through three of the points that passes near most of them."""
    chosen = np.random.default_rng(0).integers(0, len(xs), size=(3, _TRIALS))
    (ax, bx, cx), (ay, by, cy) = xs[chosen], ys[chosen]
    # Circumcentre: https://en.wikipedia.org/wiki/Circumcircle#Cartesian_coordinates_2
    twice = 2 * (ax * (by - cy) + bx * (cy - ay) + cx * (ay - by))
    twice = np.where(np.abs(twice) < 1e-6, np.inf, twice)
    a, b, c = ax**2 + ay**2, bx**2 + by**2, cx**2 + cy**2
    x = (a * (by - cy) + b * (cy - ay) + c * (ay - by)) / twice
    y = (a * (cx - bx) + b * (ax - cx) + c * (bx - ax)) / twice
    radius = np.hypot(ax - x, ay - y)
    votes = (np.abs(np.hypot(xs[:, None] - x, ys[:, None] - y) - radius) < _NEAR).sum(axis=0)
    votes[(radius < 0.2 * longest) | (radius > 0.75 * longest)] = 0
    best = int(votes.argmax())
    return Circle(float(x[best]), float(y[best]), float(radius[best]))


def _is_rim(lit: Mask, circle: Circle, xs: Points, ys: Points) -> bool:
    disc = _inside(lit.shape, circle._replace(radius=circle.radius + 1))
    near = np.abs(np.hypot(xs - circle.x, ys - circle.y) - circle.radius) < _NEAR
    seen = np.unique(np.floor(np.arctan2(ys - circle.y, xs - circle.x)[near] / (2 * math.pi) * 36)).size / 36
    return bool(seen >= 1 / 3 and (lit & ~disc).sum() <= 0.03 * lit.sum() and (lit & disc).sum() >= disc.sum() / 3)


def _inside(shape: tuple[int, ...], circle: Circle) -> Mask:
    y, x = np.ogrid[: shape[0], : shape[1]]
    return (x + 0.5 - circle.x) ** 2 + (y + 0.5 - circle.y) ** 2 <= circle.radius**2


def _edge_points(lit: Mask) -> tuple[Points, Points]:
    """Left and right end of the lit run of each row."""
    rows = np.flatnonzero(lit.sum(axis=1) > 0.1 * lit.shape[1])
    left = lit[rows].argmax(axis=1)
    right = lit.shape[1] - lit[rows][:, ::-1].argmax(axis=1)
    return np.concatenate([left, right]).astype(np.float64), np.concatenate([rows, rows]) + 0.5


def _fit_circle(xs: Points, ys: Points, width: int, height: int) -> Circle:
    """A least-squares circle, repeated on the points near the first one; edges on the frame do not count."""
    keep = (xs > 1) & (xs < width - 1)
    if keep.sum() < 12:
        # The disc fills the frame from side to side: nothing but the frame bounds it.
        return Circle(width / 2, height / 2, math.hypot(width, height) / 2)
    xs, ys = xs[keep], ys[keep]
    circle = Circle(width / 2, height / 2, 1.0)
    for _ in range(3):
        circle = _least_squares(xs, ys)
        off = np.abs(np.hypot(xs - circle.x, ys - circle.y) - circle.radius)
        near = off <= max(1.5, float(np.percentile(off, 80)))
        if near.sum() < 12:
            break
        xs, ys = xs[near], ys[near]
    return circle


def _least_squares(xs: Points, ys: Points) -> Circle:
    """Kåsa's algebraic fit (IEEE Trans. Instrum. Meas. 25, 1976)."""
    solution = np.linalg.lstsq(np.column_stack([2 * xs, 2 * ys, np.ones_like(xs)]), xs**2 + ys**2, rcond=None)[0]
    x, y = float(solution[0]), float(solution[1])
    return Circle(x, y, math.sqrt(max(float(solution[2]) + x**2 + y**2, 1.0)))
