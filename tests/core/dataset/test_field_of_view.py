"""The field of view is found whatever cuts, borders or darkens it; what has none is refused by name."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from eye_dx_core.dataset.field_of_view import FieldOfView, crop_to_field, find_field_of_view
from eye_dx_core.dataset.phantom import Defect, Phantom, render_phantom
from eye_dx_core.errors import BadPhoto
from eye_dx_core.schema.case import Laterality

SIZE = 320
PHANTOMS = [render_phantom(code, eye=Laterality.LEFT, seed=seed, size=SIZE) for seed, code in enumerate(("N", "C", "D3", "RP"))]
RADIUS, CENTRE = PHANTOMS[0].field_radius, SIZE / 2
Change = Callable[[np.ndarray], tuple[np.ndarray, float, float]]


def distance() -> np.ndarray:
    """From the centre of the field, in its radius."""
    y, x = np.ogrid[:SIZE, :SIZE]
    return np.hypot(x + 0.5 - CENTRE, y + 0.5 - CENTRE) / RADIUS


def cropped(left: int, top: int, right: int, bottom: int) -> Change:
    """Cut that many pixels off, or add black where below 0; the centre goes along."""
    return lambda rgb: (np.asarray(Image.fromarray(rgb).crop((left, top, SIZE - right, SIZE - bottom))), CENTRE - left, CENTRE - top)


def bordered(level: int) -> Change:
    return lambda rgb: (np.where(distance()[..., None] > 1, np.uint8(level), rgb), CENTRE, CENTRE)


def dimmed(rgb: np.ndarray) -> tuple[np.ndarray, float, float]:
    light = 1 - 0.9 * np.clip(2 * distance() - 1, 0, 1) ** 1.5
    return (rgb * light[..., None]).astype(np.uint8), CENTRE, CENTRE


def darkened(rgb: np.ndarray) -> tuple[np.ndarray, float, float]:
    return (rgb * np.linspace(0, 1, SIZE)[None, :, None]).astype(np.uint8), CENTRE, CENTRE


def saved(rgb: np.ndarray) -> tuple[np.ndarray, float, float]:
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, "JPEG", quality=40)
    return np.asarray(Image.open(file)), CENTRE, CENTRE


def assert_found(field: FieldOfView, x: float, y: float):
    assert field.radius == pytest.approx(RADIUS, rel=0.02)
    assert np.hypot(field.center_x - x, field.center_y - y) < 0.02 * RADIUS


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(cropped(0, 40, 0, 40), id="cut at top and bottom"),
        pytest.param(cropped(40, 0, 40, 0), id="cut at both sides"),
        pytest.param(cropped(50, 0, 0, 0), id="cut at one side"),
        pytest.param(cropped(-150, 0, 30, -80), id="off centre and cut"),
        pytest.param(bordered(40), id="dark grey border"),
        pytest.param(bordered(128), id="grey border"),
        pytest.param(bordered(255), id="white border"),
        pytest.param(dimmed, id="a rim that fades"),
        pytest.param(darkened, id="one side dark"),
        pytest.param(saved, id="a coarse JPEG"),
    ],
)
def test_the_field_is_found_however_it_is_framed_and_lit(change: Change):
    for phantom in PHANTOMS:
        picture, x, y = change(phantom.rgb)
        assert_found(find_field_of_view(picture), x, y)


@pytest.mark.parametrize("defect", list(Defect))
def test_a_defect_does_not_hide_the_field(defect: Defect):
    phantom: Phantom = render_phantom("D2", eye=Laterality.RIGHT, seed=4, size=SIZE, defect=defect)

    assert_found(find_field_of_view(phantom.rgb), CENTRE, CENTRE)


def test_a_picture_of_nothing_but_fundus_is_taken_whole():
    inner = PHANTOMS[0].rgb[90:230, 90:230]

    field = find_field_of_view(inner)

    assert (field.center_x, field.center_y) == (70, 70)
    assert crop_to_field(inner, size=64, field=field)[32, 32].max() > 40


def test_a_lit_shape_that_is_no_disc_has_no_field_of_view():
    board = np.kron(np.indices((5, 5)).sum(axis=0) % 2, np.full((40, 40), 200)).astype(np.uint8)[..., None].repeat(3, 2)
    noise = (np.random.default_rng(0).random((200, 200, 3)) < 0.03).astype(np.uint8) * 255

    for picture in (board, noise, np.full((200, 200, 3), 5, np.uint8)):
        with pytest.raises(BadPhoto) as caught:
            find_field_of_view(picture)
        assert caught.value.reason == "no_field_of_view"
