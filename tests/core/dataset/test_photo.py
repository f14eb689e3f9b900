"""Whatever a clinic's folders hold is decoded or refused by name."""

import io
import os
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.uid import JPEGBaseline8Bit

from eye_dx_core.dataset import photo_file
from eye_dx_core.dataset.field_of_view import crop_to_field, find_field_of_view, read_square
from eye_dx_core.dataset.phantom import render_phantom
from eye_dx_core.dataset.photo import decode_photo
from eye_dx_core.errors import BadPhoto
from eye_dx_core.schema.case import Laterality
from tests.hostile_files import dicom, jpeg, saved, tiff

FUNDUS = render_phantom("D2", eye=Laterality.RIGHT, seed=1, size=160).rgb


def encoded(picture: Image.Image, kind: str, exif: Image.Exif | None = None) -> bytes:
    buffer = io.BytesIO()
    if exif is None:
        picture.save(buffer, kind)
    else:
        picture.save(buffer, kind, exif=exif)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_lossless_formats_come_back_pixel_by_pixel(kind: str):
    assert np.array_equal(decode_photo(encoded(Image.fromarray(FUNDUS), kind)), FUNDUS)


def test_content_decides_and_not_the_suffix(tmp_path: Path):
    (tmp_path / "photo.tiff").write_bytes(encoded(Image.fromarray(FUNDUS), "PNG"))

    assert decode_photo(tmp_path / "photo.tiff").shape == FUNDUS.shape


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "LA"])
def test_other_colour_modes_become_rgb(mode: str):
    kind = "TIFF" if mode in ("CMYK", "LA") else "PNG"

    assert decode_photo(encoded(Image.fromarray(FUNDUS).convert(mode), kind)).shape == FUNDUS.shape


@pytest.mark.parametrize(("brightest", "expected"), [(200, 200), (900, 225), (4000, 250), (16_000, 250), (64_000, 250)])
def test_sixteen_bit_grey_is_scaled_by_the_bits_in_use_and_not_by_its_own_brightness(brightest: int, expected: int):
    deep = (np.linspace(0, brightest, 100 * 100).reshape(100, 100)).astype(np.uint16)

    rgb = decode_photo(encoded(Image.fromarray(deep), "TIFF"))

    assert (rgb.min(), rgb.max()) == (0, expected)


def test_the_camera_s_rotation_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 6

    turned = decode_photo(encoded(Image.fromarray(FUNDUS[:, :100]), "JPEG", exif))

    assert turned.shape == (100, 160, 3)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"just text", "not_an_image"),
        (b"", "empty"),
        (encoded(Image.fromarray(FUNDUS), "JPEG")[:900], "truncated"),
        (encoded(Image.new("RGB", (1, 1)), "PNG"), "too_small"),
        (encoded(Image.new("L", (20_000, 6_000)), "PNG"), "too_many_pixels"),
    ],
)
def test_what_cannot_be_read_is_named(content: bytes, reason: str):
    with pytest.raises(BadPhoto) as caught:
        decode_photo(content)

    assert caught.value.reason == reason


def test_a_missing_file_is_named_without_its_path(tmp_path: Path):
    with pytest.raises(BadPhoto) as caught:
        decode_photo(tmp_path / "Name_of_a_person.jpg")

    assert caught.value.reason == "missing"
    assert "person" not in str(caught.value)


def test_a_huge_file_is_refused_before_it_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(photo_file, "MAX_BYTES", 1000)
    (tmp_path / "a.png").write_bytes(os.urandom(2000))

    with pytest.raises(BadPhoto, match="larger"):
        decode_photo(tmp_path / "a.png")


WHOLE = (
    *(encoded(Image.fromarray(FUNDUS), kind) for kind in ("JPEG", "PNG", "TIFF", "MPO")),
    tiff(FUNDUS.astype(np.uint16) << 4),
    saved(Image.fromarray(FUNDUS), "TIFF", compression="tiff_lzw"),
    saved(Image.fromarray(FUNDUS), "TIFF", compression="jpeg"),
    jpeg(Image.fromarray(FUNDUS).convert("CMYK"), progressive=True),
    dicom(FUNDUS, ImageLaterality="R"),
    dicom(FUNDUS, syntax=JPEGBaseline8Bit, encoded=jpeg(Image.fromarray(FUNDUS)), PhotometricInterpretation="YBR_FULL_422"),
)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_files_never_raise_anything_else(data: st.DataObject):
    content = bytearray(data.draw(st.sampled_from(WHOLE)))
    # Half of the blows hit the head, where a file says what it is.
    for _ in range(data.draw(st.integers(1, 8))):
        last = data.draw(st.sampled_from([min(400, len(content)), len(content)])) - 1
        content[data.draw(st.integers(0, last))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.sampled_from([len(content), data.draw(st.integers(0, len(content)))]))
    with suppress(BadPhoto):  # anything else fails the test
        assert decode_photo(bytes(content[:cut])).shape[2] == 3


def test_a_dicom_file_without_its_extra_says_which_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pydicom", None)

    with pytest.raises(BadPhoto, match=r"eye-dx\[dicom\]") as caught:
        decode_photo(dicom(FUNDUS))

    assert caught.value.reason == "unsupported_format"


def test_a_file_that_may_not_be_read_is_named(tmp_path: Path):
    (tmp_path / "a.jpg").write_bytes(jpeg())
    (tmp_path / "a.jpg").chmod(0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65_534)  # root reads everything
    try:
        with pytest.raises(BadPhoto) as caught:
            decode_photo(tmp_path / "a.jpg")
    finally:
        os.seteuid(user)

    assert caught.value.reason == "unreadable"


def test_the_field_of_view_is_found_also_where_the_frame_cuts_it():
    for seed in range(6):
        phantom = render_phantom("N", eye=Laterality.LEFT, seed=seed, size=400)
        field = find_field_of_view(phantom.rgb[40:360])
        assert abs(field.center_x - phantom.field_xy[0]) < 3
        assert abs(field.center_y + 40 - phantom.field_xy[1]) < 3
        assert abs(field.radius - phantom.field_radius) < 4


@pytest.mark.parametrize("picture", [np.zeros((200, 200, 3), np.uint8), np.eye(200, dtype=np.uint8)[..., None].repeat(3, 2) * 255])
def test_what_is_no_fundus_has_no_field_of_view(picture: np.ndarray):
    with pytest.raises(BadPhoto) as caught:
        find_field_of_view(picture)

    assert caught.value.reason == "no_field_of_view"


def test_a_crop_is_square_and_black_outside_the_field():
    square = crop_to_field(np.pad(FUNDUS, ((0, 0), (60, 20), (0, 0))), size=64)

    assert square.shape == (64, 64, 3)
    assert square[0, 0].max() == 0
    assert square[32, 32].max() > 40


def test_a_large_jpeg_is_decoded_no_larger_than_needed_and_looks_the_same():
    large = encoded(Image.fromarray(render_phantom("D2", eye=Laterality.RIGHT, seed=1, size=1200).rgb), "JPEG")
    small, full = decode_photo(large, enough_for=224), decode_photo(large)

    assert small.shape == (600, 600, 3)
    off = np.abs(read_square(large, size=224).astype(int) - crop_to_field(full, size=224).astype(int))
    assert off.mean() < 0.6
    assert np.percentile(off, 99.9) <= 8


def test_a_small_or_lossless_photograph_keeps_its_size_whatever_is_enough():
    assert decode_photo(encoded(Image.fromarray(FUNDUS), "JPEG"), enough_for=100).shape == FUNDUS.shape
    assert decode_photo(encoded(Image.fromarray(FUNDUS), "PNG"), enough_for=16).shape == FUNDUS.shape


def test_a_cut_jpeg_is_refused_at_any_size():
    content = encoded(Image.fromarray(np.repeat(np.repeat(FUNDUS, 4, 0), 4, 1)), "JPEG")

    with pytest.raises(BadPhoto) as caught:
        read_square(content[: len(content) * 2 // 3], size=64)

    assert caught.value.reason == "truncated"
