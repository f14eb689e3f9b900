"""Procedural fundus phantoms: drawn photographs with known truth, the same pixels for the same seed.

Geometry is in field units: the camera's field of view is the unit disc, x to the right, y down. The optic disc lies nasal of the
fovea, so in a right eye it is to the right of it and in a left eye to the left.
"""

import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

from eye_dx_core.schema.case import Laterality

RENDERER = "phantom/1"
PHANTOM_CODES = ("A", "C", "CSC", "D0", "D1", "D2", "D3", "D4", "G", "N", "RP", "BRVO", "CRVO")
_ONE_OF = {"D": ("D1", "D2", "D3", "D4"), "RVO": ("BRVO", "CRVO")}
# Drawn at twice the size and averaged down, so that thin vessels have soft edges.
_OVERSAMPLING = 2

Array = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]
Rng = np.random.Generator
Point = tuple[float, float]


class Defect(StrEnum):
    """What can be wrong with a photograph."""

    BLUR = "blur"
    UNDER_EXPOSED = "under_exposed"
    OVER_EXPOSED = "over_exposed"
    CUT_FIELD = "cut_field"
    EYELASH = "eyelash"


@dataclass(frozen=True)
class Phantom:
    """A drawn photograph and its truth; positions and radii in pixels, masks (height, width)."""

    rgb: NDArray[np.uint8]
    code: str
    eye: Laterality
    disc_xy: Point
    disc_radius: float
    fovea_xy: Point
    field_xy: Point
    field_radius: float
    cup_ratio: float
    structure_masks: dict[str, Mask]
    defect: Defect | None

    @property
    def lesion_mask(self) -> Mask:
        """Every pixel of a sign of disease."""
        signs = [mask for name, mask in self.structure_masks.items() if name not in ("vessels", "disc", "cup")]
        return np.logical_or.reduce(signs) if signs else np.zeros(self.rgb.shape[:2], dtype=bool)


@dataclass
class _Scene:
    """What is being drawn: geometry by person, and one layer per kind of sign."""

    eye: Laterality
    size: int
    rng: Rng
    disc: Point
    fovea: Point
    disc_radius: float
    cup_ratio: float
    tint: Array
    vessel_width: float
    severity: float
    layers: dict[str, Image.Image] = field(default_factory=dict)

    @property
    def nasal(self) -> float:
        """Sign of the nasal direction in the picture."""
        return 1.0 if self.eye is Laterality.RIGHT else -1.0

    def many(self, low: int, high: int) -> int:
        """A number of signs: drawn as for the full picture of the disease, and fewer of them when it has just begun."""
        return math.ceil(self.severity * int(self.rng.integers(low, high)))

    def pen(self, layer: str) -> ImageDraw.ImageDraw:
        """A pen on a layer, which is made on first use."""
        side = self.size * _OVERSAMPLING
        return ImageDraw.Draw(self.layers.setdefault(layer, Image.new("L", (side, side))))

    def to_pixels(self, point: Point) -> Point:
        """Field units to pixels of the oversampled layer."""
        half = self.size * _OVERSAMPLING / 2
        return half + point[0] * half * _FIELD, half + point[1] * half * _FIELD

    def blob(self, layer: str, at: Point, radius: float, *, stretch: float = 1.0, angle: float = 0.0, value: int = 255) -> None:
        """A filled ellipse with a slightly irregular rim."""
        turns = np.linspace(0, 2 * np.pi, 14, endpoint=False)
        # A small lesion is ragged; a large pool of fluid or blood has a smooth edge.
        raggedness = 0.2 if radius < 0.06 else 0.05
        rims = radius * self.rng.uniform(1 - raggedness, 1 + raggedness, size=turns.size)
        along, across = rims * np.cos(turns) * stretch, rims * np.sin(turns)
        xs, ys = at[0] + along * math.cos(angle) - across * math.sin(angle), at[1] + along * math.sin(angle) + across * math.cos(angle)
        self.pen(layer).polygon([self.to_pixels(p) for p in zip(xs.tolist(), ys.tolist(), strict=True)], fill=value)

    def stroke(self, layer: str, points: list[Point], width: float, *, value: int = 255) -> None:
        """A line of the given width in field units."""
        pixels = max(1, round(width * self.size * _OVERSAMPLING / 2))
        self.pen(layer).line([self.to_pixels(p) for p in points], fill=value, width=pixels, joint="curve")

    def somewhere(self, center: Point, spread: float) -> Point:
        """A random point around a center, inside the field."""
        while True:
            x, y = center[0] + self.rng.normal(0, spread), center[1] + self.rng.normal(0, spread)
            if x * x + y * y < 0.85:
                return float(x), float(y)


# The field of view reaches this share of the half picture, which leaves the camera's black border.
_FIELD = 0.94


def render_phantom(
    code: str,
    *,
    eye: Laterality,
    seed: int,
    size: int = 512,
    defect: Defect | None = None,
    person_seed: int | None = None,
    severity: float = 1.0,
) -> Phantom:
    """Draw one photograph.

    Args:
        code: one of `PHANTOM_CODES`, or `D` or `RVO` for one of their kinds.
        eye: decides the side of the optic disc.
        seed: drives lesions and noise.
        size: width and height in pixels.
        defect: what is wrong with the photograph.
        person_seed: drives anatomy and camera, so that the two eyes of a person look alike; default is the seed.
        severity: how far the disease has come within its code: 1 is its full picture, towards 0 fewer and fainter signs.

    Raises:
        ValueError: the code is not known.
    """
    rng = np.random.default_rng([seed, 1])
    code = str(rng.choice(_ONE_OF[code])) if code in _ONE_OF else code
    if code not in PHANTOM_CODES:
        raise ValueError(f"unknown phantom code {code}: take one of {', '.join(PHANTOM_CODES)}")
    person = np.random.default_rng([seed if person_seed is None else person_seed, 2])
    scene = _build_scene(code, eye, size, rng, person, severity)
    _draw_vessels(scene, code)
    _draw_signs(scene, code)
    alphas = _alphas(scene)
    canvas = _compose(scene, code, alphas)
    if defect is not None:
        canvas = _spoil(canvas, scene, defect)
    picture = np.clip(_as_camera(canvas, scene, is_cut=defect is Defect.CUT_FIELD), 0, 255).astype(np.uint8)
    return _with_truth(picture, code, scene, alphas, defect)


def _build_scene(code: str, eye: Laterality, size: int, rng: Rng, person: Rng, severity: float) -> _Scene:
    nasal = 1.0 if eye is Laterality.RIGHT else -1.0
    healthy_cup, tint = person.uniform(0.2, 0.5), np.array([person.uniform(175, 215), person.uniform(80, 112), person.uniform(34, 62)])
    fovea = (float(-nasal * person.uniform(0.02, 0.16)), float(person.uniform(-0.05, 0.07)))
    distance = person.uniform(0.52, 0.6)
    return _Scene(
        eye=eye,
        size=size,
        rng=rng,
        fovea=fovea,
        disc=(fovea[0] + float(nasal * distance), fovea[1] - float(person.uniform(0.0, 0.08))),
        disc_radius=float(person.uniform(0.13, 0.165)),
        cup_ratio=float(healthy_cup + severity * (rng.uniform(0.72, 0.88) - healthy_cup)) if code == "G" else float(healthy_cup),
        tint=tint.astype(np.float32),
        vessel_width=float(person.uniform(0.85, 1.15)) * (1 - 0.5 * severity if code == "RP" else 1.0),
        severity=severity,
    )


def _draw_vessels(scene: _Scene, code: str) -> None:
    """Four arcades, each an artery and a wider, darker vein beside it, leaving the disc and arching around the fovea."""
    for vertical in (-1.0, 1.0):
        for side, reach in ((-scene.nasal, 1.35), (scene.nasal, 0.55)):
            for layer, width, shift in (("arteries", 0.017, 0.0), ("veins", 0.024, 0.05)):
                bow = scene.rng.uniform(0.5, 0.66) + shift
                end = (scene.disc[0] + side * reach * scene.rng.uniform(0.85, 1.05), scene.disc[1] + vertical * scene.rng.uniform(0.5, 0.8))
                turn = (scene.disc[0] + side * reach * 0.2, scene.disc[1] + vertical * bow * 1.25)
                is_tortuous = layer == "veins" and (
                    code == "CRVO" or (code == "BRVO" and vertical == _sector(scene) and side != scene.nasal)
                )
                _draw_branch(
                    scene, layer, (scene.disc, turn, end), width * scene.vessel_width, depth=2, wave=0.022 if is_tortuous else 0.004
                )


def _sector(scene: _Scene) -> float:
    """Up (-1) or down (1): which temporal sector a branch occlusion takes. Fixed per scene by its fovea."""
    return -1.0 if round(scene.fovea[0] * 1e6) % 2 else 1.0


def _draw_branch(scene: _Scene, layer: str, curve: tuple[Point, Point, Point], width: float, *, depth: int, wave: float) -> None:
    ts = np.linspace(0, 1, 28)
    (x0, y0), (x1, y1), (x2, y2) = curve
    xs = (1 - ts) ** 2 * x0 + 2 * ts * (1 - ts) * x1 + ts**2 * x2
    ys = (1 - ts) ** 2 * y0 + 2 * ts * (1 - ts) * y1 + ts**2 * y2
    phase, turns = scene.rng.uniform(0, 6.28), scene.rng.uniform(9, 14)
    ys = ys + wave * np.sin(phase + turns * 2 * ts) * np.minimum(1, 6 * ts)
    xs = xs + wave * np.cos(phase + turns * 2 * ts) * np.minimum(1, 6 * ts)
    points: list[Point] = list(zip(xs.tolist(), ys.tolist(), strict=True))
    for start in range(0, len(points) - 1, 4):
        scene.stroke(layer, points[start : start + 5], width * (1 - 0.65 * start / len(points)))
    if depth == 0:
        return
    for _ in range(3):
        at = int(scene.rng.integers(6, 24))
        angle = math.atan2(ys[at + 1] - ys[at - 1], xs[at + 1] - xs[at - 1]) + scene.rng.choice([-1, 1]) * scene.rng.uniform(0.4, 0.9)
        reach = scene.rng.uniform(0.18, 0.4)
        tip = (points[at][0] + reach * math.cos(angle), points[at][1] + reach * math.sin(angle))
        bend = (points[at][0] + reach * 0.5 * math.cos(angle + 0.25), points[at][1] + reach * 0.5 * math.sin(angle + 0.25))
        _draw_branch(scene, layer, (points[at], bend, tip), width * 0.5, depth=depth - 1, wave=wave)


def _draw_signs(scene: _Scene, code: str) -> None:
    painter = _PAINTERS.get(code)
    if painter is not None:
        painter(scene)


def _paint_amd(scene: _Scene) -> None:
    for _ in range(scene.many(25, 70)):
        scene.blob(
            "drusen", scene.somewhere(scene.fovea, 0.16), float(scene.rng.uniform(0.012, 0.036)), value=int(scene.rng.integers(150, 255))
        )


def _paint_csc(scene: _Scene) -> None:
    center = scene.somewhere(scene.fovea, 0.04)
    scene.blob("detachment", center, float(scene.rng.uniform(0.2, 0.32)), stretch=float(scene.rng.uniform(0.9, 1.2)))


def _paint_red_lesions(scene: _Scene, dots: int, blots: int, exudates: int) -> None:
    for _ in range(dots):
        scene.blob("red_lesions", scene.somewhere(scene.fovea, 0.33), float(scene.rng.uniform(0.011, 0.018)))
    for _ in range(blots):
        scene.blob(
            "red_lesions",
            scene.somewhere((0.0, 0.0), 0.42),
            float(scene.rng.uniform(0.022, 0.05)),
            stretch=float(scene.rng.uniform(1, 1.5)),
        )
    for _ in range(exudates):
        center = scene.somewhere(scene.fovea, 0.26)
        for _ in range(int(scene.rng.integers(3, 8))):
            scene.blob("exudates", scene.somewhere(center, 0.035), float(scene.rng.uniform(0.01, 0.022)))


# Per grade: range of microaneurysms, of haemorrhages, of clusters of exudates.
_DR_COUNTS = {
    1: ((8, 16), (0, 1), (0, 1)),
    2: ((12, 22), (5, 11), (2, 5)),
    3: ((18, 32), (20, 34), (3, 7)),
    4: ((12, 26), (10, 22), (2, 6)),
}


def _paint_dr(grade: int, scene: _Scene) -> None:
    """ICDR: microaneurysms only; then haemorrhages and exudates; then many in all quadrants; then new vessels."""
    rng = scene.rng
    dots, blots, exudates = _DR_COUNTS[grade]
    _paint_red_lesions(scene, scene.many(*dots), scene.many(*blots), scene.many(*exudates))
    if grade == 4:
        for center in (scene.disc, *(scene.somewhere(scene.disc, 0.3) for _ in range(int(rng.integers(2, 4))))):
            for _ in range(int(rng.integers(10, 18))):
                start, middle, end = (scene.somewhere(center, 0.09) for _ in range(3))
                scene.stroke("new_vessels", [start, middle, end], 0.007)
        if rng.random() < 0.5:
            scene.blob("red_lesions", scene.somewhere(scene.fovea, 0.3), float(rng.uniform(0.12, 0.2)), stretch=1.6)


def _paint_rp(scene: _Scene) -> None:
    for _ in range(scene.many(45, 90)):
        angle, distance = scene.rng.uniform(0, 6.283), scene.rng.uniform(0.52, 0.92)
        center = (float(distance * math.cos(angle)), float(distance * math.sin(angle)))
        for arm in range(int(scene.rng.integers(3, 6))):
            turn, reach = angle + arm * 1.4 + scene.rng.uniform(-0.4, 0.4), scene.rng.uniform(0.03, 0.07)
            scene.stroke("pigment", [center, (center[0] + reach * math.cos(turn), center[1] + reach * math.sin(turn))], 0.012)


def _paint_occlusion(scene: _Scene, *, vertical: float | None) -> None:
    """Flame haemorrhages along the nerve fibres: streaks that point away from the disc, in one sector or in all."""
    for _ in range(scene.many(90, 150) if vertical is None else scene.many(50, 85)):
        side = -scene.nasal if vertical is not None else float(scene.rng.choice([-1.0, 1.0]))
        way = vertical if vertical is not None else float(scene.rng.choice([-1.0, 1.0]))
        angle, distance = scene.rng.uniform(0.15, 1.35), scene.rng.uniform(0.18, 0.85)
        at = (scene.disc[0] + side * distance * math.cos(angle), scene.disc[1] + way * distance * math.sin(angle))
        if at[0] ** 2 + at[1] ** 2 < 0.85:
            away = math.atan2(at[1] - scene.disc[1], at[0] - scene.disc[0])
            scene.blob("red_lesions", at, float(scene.rng.uniform(0.009, 0.022)), stretch=float(scene.rng.uniform(2, 5)), angle=away)
    if scene.rng.random() < 0.6:
        for _ in range(int(scene.rng.integers(2, 6))):
            at = scene.somewhere((scene.disc[0] - scene.nasal * 0.25, scene.disc[1] + (vertical or 0.3) * 0.3), 0.1)
            scene.blob("exudates", at, float(scene.rng.uniform(0.03, 0.05)))


_PAINTERS = {
    "A": _paint_amd,
    "CSC": _paint_csc,
    "D1": lambda scene: _paint_dr(1, scene),
    "D2": lambda scene: _paint_dr(2, scene),
    "D3": lambda scene: _paint_dr(3, scene),
    "D4": lambda scene: _paint_dr(4, scene),
    "RP": _paint_rp,
    "BRVO": lambda scene: _paint_occlusion(scene, vertical=_sector(scene)),
    "CRVO": lambda scene: _paint_occlusion(scene, vertical=None),
}


def _alphas(scene: _Scene) -> dict[str, Array]:
    """Each layer as coverage 0..1 at the picture's size."""
    shape = (scene.size, scene.size)
    return {name: np.asarray(layer.resize(shape, Image.Resampling.BOX), dtype=np.float32) / 255 for name, layer in scene.layers.items()}


def _grid(scene: _Scene) -> tuple[Array, Array]:
    """Field coordinates of every pixel center."""
    axis = ((np.arange(scene.size, dtype=np.float32) + 0.5) / (scene.size / 2) - 1) / _FIELD
    return axis[None, :], axis[:, None]


def _paint(canvas: Array, alpha: Array, colour: tuple[float, float, float]) -> Array:
    return canvas + (np.array(colour, dtype=np.float32) - canvas) * alpha[..., None]


def _around(scene: _Scene, center: Point, radius: float, softness: float) -> Array:
    """Coverage of a soft-edged disc."""
    x, y = _grid(scene)
    distance = np.sqrt((x - center[0]) ** 2 + (y - center[1]) ** 2)
    return np.clip((radius - distance) / softness + 0.5, 0, 1)


def _texture(scene: _Scene, cells: int, strength: float) -> Array:
    """Smooth noise: a coarse random grid, enlarged."""
    coarse = scene.rng.normal(0, strength, (cells, cells)).astype(np.float32)
    return np.asarray(Image.fromarray(coarse).resize((scene.size, scene.size), Image.Resampling.BICUBIC))


def _compose(scene: _Scene, code: str, alphas: dict[str, Array]) -> Array:
    x, y = _grid(scene)
    light = 1.06 - 0.3 * (x * x + y * y) + 0.1 * (x * scene.rng.uniform(-1, 1) + y * scene.rng.uniform(-1, 1))
    canvas = scene.tint * (light + _texture(scene, 5, 0.035) + _texture(scene, 40, 0.022))[..., None]
    canvas *= 1 - 0.28 * np.exp(-((x - scene.fovea[0]) ** 2 + (y - scene.fovea[1]) ** 2) / 0.02)[..., None] * np.array(
        [0.7, 1, 1], np.float32
    )
    if code == "RP":
        canvas = _paint(canvas, 0.35 * scene.severity * np.clip((x * x + y * y - 0.2) * 1.6, 0, 1), (120, 105, 90))
    if "detachment" in alphas:
        inside = gaussian_filter(alphas["detachment"], scene.size * 0.008)
        rim = np.clip(gaussian_filter(alphas["detachment"], scene.size * 0.02) * (1 - inside) * 4, 0, 1)
        canvas = _paint(_paint(canvas, 0.38 * scene.severity * inside, (150, 98, 40)), 0.5 * scene.severity * rim, (235, 165, 95))
    disc_colour = (236.0, 205.0, 165.0) if code == "RP" else (242.0, 186.0, 122.0)
    canvas = _paint(canvas, 0.92 * _around(scene, scene.disc, scene.disc_radius, 0.03), disc_colour)
    canvas = _paint(canvas, 0.85 * _around(scene, scene.disc, scene.disc_radius * scene.cup_ratio, 0.035), (255, 238, 205))
    canvas = _paint(canvas, 0.72 * alphas["arteries"], (168, 52, 34))
    canvas = _paint(canvas, 0.8 * alphas["veins"], (124, 28, 28))
    for name, strength, colour in (
        ("drusen", 0.75, (246, 214, 128)),
        ("exudates", 0.85, (252, 232, 150)),
        ("red_lesions", 0.85, (112, 14, 18)),
        ("new_vessels", 0.8, (150, 26, 30)),
        ("pigment", 0.88, (38, 26, 24)),
    ):
        if name in alphas:
            canvas = _paint(canvas, strength * gaussian_filter(alphas[name], scene.size * 0.0016), colour)
    return _with_haze(canvas, scene) if code == "C" else canvas


def _with_haze(canvas: Array, scene: _Scene) -> Array:
    """A cloudy lens: blurred, veiled, yellowish; worse where the opacity is denser."""
    blurred = gaussian_filter(canvas, (scene.size * scene.severity * scene.rng.uniform(0.012, 0.024),) * 2 + (0,))
    veil = scene.severity * np.clip(scene.rng.uniform(0.34, 0.5) + _texture(scene, 4, 0.07), 0.2, 0.7)
    return _paint(blurred, veil, (186, 158, 118))


def _spoil(canvas: Array, scene: _Scene, defect: Defect) -> Array:
    if defect is Defect.BLUR:
        return gaussian_filter(canvas, (scene.size * 0.02,) * 2 + (0,))
    if defect is Defect.UNDER_EXPOSED:
        return canvas * 0.2
    if defect is Defect.OVER_EXPOSED:
        return canvas * 2.1 + 45
    if defect is Defect.EYELASH:
        return _with_eyelashes(canvas, scene)
    return canvas


def _with_eyelashes(canvas: Array, scene: _Scene) -> Array:
    """Dark, out-of-focus arcs that come in from below."""
    for _ in range(9):
        foot, lean = scene.rng.uniform(-0.8, 0.8), scene.rng.uniform(-0.3, 0.3)
        scene.stroke("eyelashes", [(foot, 1.0), (foot + lean * 0.4, 0.6), (foot + lean, 0.2)], 0.035)
    return _paint(canvas, 0.8 * gaussian_filter(_alphas(scene)["eyelashes"], scene.size * 0.006), (20, 12, 10))


def _as_camera(canvas: Array, scene: _Scene, *, is_cut: bool) -> Array:
    """Sensor noise, a little blur, and the black border around the field of view."""
    canvas = gaussian_filter(canvas, (scene.size * scene.rng.uniform(0.0008, 0.0022),) * 2 + (0,))
    canvas = canvas + scene.rng.normal(0, scene.rng.uniform(1.0, 3.0), (scene.size, scene.size, 1)).astype(np.float32)
    x, y = _grid(scene)
    inside = np.clip((1 - np.sqrt(x * x + y * y)) * scene.size * 0.25, 0, 1)
    if is_cut:
        inside = inside * (x + y * 0.3 > -0.05)
    return canvas * inside[..., None] + scene.rng.uniform(0, 6) * (1 - inside[..., None])


def _with_truth(picture: NDArray[np.uint8], code: str, scene: _Scene, alphas: dict[str, Array], defect: Defect | None) -> Phantom:
    half = scene.size / 2

    def pixels(point: Point) -> Point:
        return half + point[0] * half * _FIELD, half + point[1] * half * _FIELD

    masks = {name: alpha > 0.25 for name, alpha in alphas.items() if name not in ("arteries", "veins", "eyelashes")}
    masks["vessels"] = np.maximum(alphas["arteries"], alphas["veins"]) > 0.25
    masks["disc"] = _around(scene, scene.disc, scene.disc_radius, 0.01) > 0.5
    masks["cup"] = _around(scene, scene.disc, scene.disc_radius * scene.cup_ratio, 0.01) > 0.5
    if code == "C":
        masks["haze"] = _around(scene, (0.0, 0.0), 1.0, 0.01) > 0.5
    return Phantom(
        rgb=picture,
        code=code,
        eye=scene.eye,
        disc_xy=pixels(scene.disc),
        disc_radius=scene.disc_radius * half * _FIELD,
        fovea_xy=pixels(scene.fovea),
        field_xy=(half, half),
        field_radius=half * _FIELD,
        cup_ratio=scene.cup_ratio,
        structure_masks={name: mask for name, mask in masks.items() if mask.any()},
        defect=defect,
    )
