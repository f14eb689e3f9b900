"""Drawn pictures that are no colour photographs of a fundus, and get sent all the same."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter
from scipy.ndimage import gaussian_filter

from eye_dx_core.dataset.phantom import render_phantom
from eye_dx_core.schema.case import Laterality

Picture = NDArray[np.uint8]
_WIDTH, _HEIGHT = 640, 480


def draw_other_pictures(seed: int) -> dict[str, Picture]:
    """One picture of each kind by its name."""
    rng = np.random.default_rng(seed)
    return {
        "document": _document(rng, paper=(252, 252, 250)),
        "yellowed document": _document(rng, paper=(243, 229, 196)),
        "face": _face(rng),
        "room": _room(rng),
        "landscape": _landscape(rng),
        "noise": rng.integers(0, 256, (_HEIGHT, _WIDTH, 3), dtype=np.uint8),
        "grey noise": np.repeat(rng.integers(0, 256, (_HEIGHT, _WIDTH, 1), dtype=np.uint8), 3, axis=2),
        "black frame": np.zeros((_HEIGHT, _WIDTH, 3), np.uint8),
        "nearly black frame": rng.integers(0, 6, (_HEIGHT, _WIDTH, 3), dtype=np.uint8),
        "white frame": np.full((_HEIGHT, _WIDTH, 3), 255, np.uint8),
        "grey gradient": _gradient((10, 10, 10), (240, 240, 240)),
        "orange gradient": _gradient((90, 40, 10), (250, 150, 60)),
        "scan of the retina in depth": _depth_scan(rng),
        "angiogram": np.repeat(render_phantom("D2", eye=Laterality.RIGHT, seed=seed, size=400).rgb[..., 1:2], 3, axis=2),
        "red-free photograph": render_phantom("N", eye=Laterality.RIGHT, seed=seed, size=400).rgb * np.array([0, 1, 0], np.uint8),
        "red ball": _ball(rng, (205, 40, 30)),
        "orange disc": _disc(rng, (214, 120, 50)),
        "blue disc": _disc(rng, (60, 110, 214)),
        "screenshot": _screenshot(rng, ground=(245, 246, 248), ink=(30, 40, 60)),
        "dark screenshot": _screenshot(rng, ground=(24, 26, 30), ink=(220, 220, 220)),
    }


def _document(rng: np.random.Generator, *, paper: tuple[int, int, int]) -> Picture:
    page = Image.new("RGB", (_WIDTH, 900), paper)
    pen = ImageDraw.Draw(page)
    for line in range(40):
        x = 50
        while x < rng.integers(400, 590):
            word = int(rng.integers(14, 60))
            pen.rectangle((x, 40 + 21 * line, x + word, 50 + 21 * line), fill=(40, 40, 44))
            x += word + 9
    return _with_noise(page.filter(ImageFilter.GaussianBlur(0.8)), rng)


def _face(rng: np.random.Generator) -> Picture:
    picture = Image.new("RGB", (_HEIGHT, _WIDTH), (150, 170, 190))
    pen = ImageDraw.Draw(picture)
    pen.ellipse((90, 60, 390, 480), fill=(46, 32, 26))
    pen.rectangle((60, 520, 420, 640), fill=(40, 60, 120))
    pen.ellipse((120, 110, 360, 500), fill=(224, 172, 140))
    for x in (185, 295):
        pen.ellipse((x - 30, 260, x + 30, 290), fill=(245, 240, 235))
        pen.ellipse((x - 13, 262, x + 13, 288), fill=(50, 34, 26))
        pen.line((x - 36, 238, x + 36, 232), fill=(50, 34, 26), width=10)
    pen.polygon([(240, 290), (222, 370), (258, 370)], fill=(205, 150, 120))
    pen.ellipse((190, 410, 290, 440), fill=(178, 80, 80))
    return _with_noise(picture.filter(ImageFilter.GaussianBlur(2)), rng)


def _room(rng: np.random.Generator) -> Picture:
    picture = Image.new("RGB", (_WIDTH, _HEIGHT), (222, 214, 198))
    pen = ImageDraw.Draw(picture)
    pen.polygon([(0, 360), (640, 330), (640, 480), (0, 480)], fill=(128, 92, 62))
    pen.rectangle((60, 60, 240, 240), fill=(190, 220, 250), outline=(250, 250, 250), width=10)
    pen.rectangle((330, 180, 600, 400), fill=(92, 60, 40))
    for x in range(345, 590, 22):
        pen.rectangle((x, 195, x + 16, 280), fill=tuple(int(v) for v in rng.integers(30, 230, 3)))
    return _with_noise(picture, rng)


def _landscape(rng: np.random.Generator) -> Picture:
    picture = Image.new("RGB", (_WIDTH, _HEIGHT), (120, 170, 230))
    pen = ImageDraw.Draw(picture)
    pen.polygon([(0, 300), (180, 170), (330, 290), (470, 200), (640, 310), (640, 480), (0, 480)], fill=(70, 110, 60))
    for _ in range(60):
        x, y = int(rng.integers(0, 640)), int(rng.integers(320, 470))
        pen.ellipse((x, y, x + 30, y + 22), fill=(40, int(rng.integers(70, 140)), 40))
    return _with_noise(picture, rng)


def _gradient(start: tuple[int, int, int], end: tuple[int, int, int]) -> Picture:
    way = np.linspace(0, 1, _WIDTH)[None, :, None]
    row = np.array(start) * (1 - way) + np.array(end) * way
    return np.repeat(row, _HEIGHT, axis=0).astype(np.uint8)


def _depth_scan(rng: np.random.Generator) -> Picture:
    """Bright bows on speckled black, grey as such scans are exported."""
    y, x = np.mgrid[:_HEIGHT, :_WIDTH]
    layers = np.zeros((_HEIGHT, _WIDTH))
    for depth, strength in ((170, 0.8), (210, 0.45), (250, 0.9), (290, 1.0)):
        bow = depth + 30 * ((x - 320) / 320) ** 2 - (depth < 240) * -30 * np.exp(-(((x - 320) / 50) ** 2))
        layers += strength * np.exp(-(((y - bow) / 11) ** 2))
    grey = gaussian_filter(layers * rng.gamma(4, 0.25, layers.shape), 0.7) * 190 + 14
    return np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def _ball(rng: np.random.Generator, colour: tuple[int, int, int]) -> Picture:
    """Dull, lit from above, and darker towards its edge."""
    x, y = _unit_grid(0.75)
    height = np.sqrt(np.clip(1 - x * x - y * y, 0, 1))
    light = np.clip(0.3 - 0.2 * y - 0.1 * x + 0.5 * height, 0, 1) * (x * x + y * y < 1)
    return _with_noise(light[..., None] * np.array(colour), rng)


def _disc(rng: np.random.Generator, colour: tuple[int, int, int]) -> Picture:
    x, y = _unit_grid(0.9)
    return _with_noise(((x * x + y * y) < 1)[..., None] * np.array(colour, float), rng)


def _screenshot(rng: np.random.Generator, *, ground: tuple[int, int, int], ink: tuple[int, int, int]) -> Picture:
    picture = Image.new("RGB", (1280, 720), ground)
    pen = ImageDraw.Draw(picture)
    pen.rectangle((0, 0, 1280, 50), fill=(30, 90, 200))
    for row in range(14):
        for column in range(5):
            width = int(rng.integers(40, 200))
            pen.rectangle((40 + 240 * column, 90 + 42 * row, 40 + 240 * column + width, 104 + 42 * row), fill=ink)
    return np.asarray(picture)


def _unit_grid(reach: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Coordinates in which the unit disc fills `reach` of the height of a square of 480."""
    axis = ((np.arange(_HEIGHT) + 0.5) / _HEIGHT * 2 - 1) / reach
    return axis[None, :], axis[:, None]


def _with_noise(picture: Image.Image | NDArray[np.float64], rng: np.random.Generator) -> Picture:
    pixels = np.asarray(picture, dtype=np.float64)
    return np.clip(pixels + rng.normal(0, 2, pixels.shape), 0, 255).astype(np.uint8)
