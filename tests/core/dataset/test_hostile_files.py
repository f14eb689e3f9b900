"""Every kind of file gives its named reason or the right picture."""

from pathlib import Path

import numpy as np
import pytest

from eye_dx_core.dataset.field_of_view import crop_to_field, read_square
from eye_dx_core.dataset.photo import read_photo
from eye_dx_core.errors import BadPhoto
from tests.hostile_files import FUNDUS, Hostile, grey_of, hostile_files

SIZE = 96
SQUARE = crop_to_field(FUNDUS, size=SIZE)
GREY_SQUARE = crop_to_field(np.repeat(grey_of(FUNDUS)[..., None], 3, axis=2), size=SIZE)


def test_there_are_many_kinds():
    assert len({kind.name for kind in hostile_files()}) == len(hostile_files()) >= 90


@pytest.mark.parametrize("kind", hostile_files(), ids=lambda kind: kind.name.encode("ascii", "replace").decode())
def test_a_file_gives_its_named_reason_or_the_right_picture(kind: Hostile, tmp_path: Path):
    path = tmp_path / kind.name
    kind.make(path)

    if kind.reason is not None:
        with pytest.raises(BadPhoto) as caught:
            read_photo(path, enough_for=SIZE)
        assert caught.value.reason == kind.reason
        assert kind.name not in str(caught.value)
        return
    photo = read_photo(path, enough_for=SIZE)
    assert (photo.notes, photo.eyes) == (kind.notes, kind.eyes)
    off = np.abs(read_square(path, size=SIZE).astype(int) - (GREY_SQUARE if kind.is_grey else SQUARE))
    assert off.mean() <= kind.off
