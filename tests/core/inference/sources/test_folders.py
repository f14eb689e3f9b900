"""Only regular files under the configured folders are read, at the moment of reading too."""

import os
import shutil
from pathlib import Path

import pytest

from eye_dx_core.errors import BadPhoto, ServiceUnavailable
from eye_dx_core.inference.sources import folders
from eye_dx_core.inference.sources.folders import FolderPhotos


@pytest.fixture
def allowed(tmp_path: Path) -> Path:
    """A folder with a photograph, beside one with a secret."""
    for folder, content in (("allowed/sub", b"photo"), ("secret", b"secret")):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "a.jpg").write_bytes(content)
    return tmp_path / "allowed"


def reason_of(source: FolderPhotos, location: str) -> str:
    with pytest.raises(BadPhoto) as caught:
        source.find_photo(location)
    assert "secret" not in str(caught.value)
    return caught.value.reason


def test_a_path_is_read_under_the_folders_and_any_other_is_relative_to_the_base(allowed: Path):
    source = FolderPhotos([allowed], base=allowed)

    assert source.find_photo(str(allowed / "sub" / "a.jpg")) == b"photo"
    assert source.find_photo("sub/a.jpg") == source.find_photo("/sub/a.jpg") == source.find_photo("sub/../sub/./a.jpg") == b"photo"
    assert source.find_file("/sub/a.jpg") == allowed / "sub" / "a.jpg"


def test_a_link_is_followed_only_inside(allowed: Path):
    (allowed / "today").symlink_to(allowed / "sub")
    (allowed / "link.jpg").symlink_to("../secret/a.jpg")
    (allowed / "folder").symlink_to(allowed.parent / "secret")
    (allowed / "circle").symlink_to("circle")
    source = FolderPhotos([allowed], base=allowed)

    assert source.find_photo("today/a.jpg") == b"photo"
    for location in (str(allowed.parent / "secret" / "a.jpg"), "../secret/a.jpg", "link.jpg", "folder/a.jpg", "sub/../../secret/a.jpg"):
        assert reason_of(source, location) in ("outside_roots", "missing")
    assert reason_of(source, "circle") == "missing"


def test_a_folder_that_starts_with_the_same_letters_lies_outside(allowed: Path):
    shutil.copytree(allowed.parent / "secret", allowed.parent / "allowed-not")

    assert reason_of(FolderPhotos([allowed], base=None), str(allowed.parent / "allowed-not" / "a.jpg")) == "outside_roots"


@pytest.mark.parametrize("swapped", ["sub", "sub/a.jpg"])
def test_what_becomes_a_link_after_it_was_checked_is_not_followed(allowed: Path, swapped: str, monkeypatch: pytest.MonkeyPatch):
    source, read = FolderPhotos([allowed], base=allowed), folders._read_below

    def swap_first(*found: Path) -> bytes:
        shutil.move(allowed / swapped, allowed.parent / "moved")
        (allowed / swapped).symlink_to(allowed.parent / "secret" / ("a.jpg" if swapped.endswith("jpg") else ""))
        return read(*found)

    monkeypatch.setattr(folders, "_read_below", swap_first)

    assert reason_of(source, "sub/a.jpg") == "missing"


@pytest.mark.parametrize("swapped", [True, False])
def test_what_is_no_regular_file_is_not_read(allowed: Path, *, swapped: bool, monkeypatch: pytest.MonkeyPatch):
    """A pipe would be waited on for ever."""
    os.mkfifo(allowed / "pipe.jpg")
    if swapped:  # after it was checked
        monkeypatch.setattr(Path, "is_file", lambda _: True)

    source = FolderPhotos([allowed], base=allowed)
    assert [reason_of(source, one) for one in ("pipe.jpg", "sub", "", ".")] == ["missing", "missing", "outside_roots", "outside_roots"]


def test_what_is_no_path_is_refused(allowed: Path):
    source = FolderPhotos([allowed], base=allowed)

    for location in ("http://127.0.0.1/a.jpg", "file:///etc/passwd", "\\\\host\\a.jpg", "//host/a.jpg", "a\x00.jpg"):
        assert reason_of(source, location) == "unsupported_location"
    for location in ("\ud800.jpg", "x" * 5000, "x/" * 3000):
        assert reason_of(source, location) == "missing"


def test_a_folder_that_is_not_mounted_is_for_a_later_try(allowed: Path, tmp_path: Path):
    """Its photographs are not gone, and a case must not be given up because of it."""
    empty = tmp_path / "mount"
    empty.mkdir()
    for missing in (empty, tmp_path / "nowhere"):
        source = FolderPhotos([missing], base=allowed)
        assert source.find_photo("sub/a.jpg") == b"photo"
        with pytest.raises(ServiceUnavailable, match="is it mounted"):
            source.find_photo(str(missing / "a.jpg"))


def test_a_disk_that_fails_is_for_a_later_try_and_a_lock_is_for_the_owner(allowed: Path, monkeypatch: pytest.MonkeyPatch):
    source = FolderPhotos([allowed], base=allowed)
    for error in (OSError(5, "I/O", "secret"), OSError(116, "stale", "secret"), PermissionError(13, "no", "secret")):

        def fail(*_: object, error: OSError = error) -> bytes:
            raise error

        monkeypatch.setattr(folders, "_read_below", fail)
        with pytest.raises((BadPhoto, ServiceUnavailable)) as caught:
            source.find_photo("sub/a.jpg")
        assert isinstance(caught.value, BadPhoto) == isinstance(error, PermissionError)
        assert "secret" not in str(caught.value)


def test_without_a_base_only_whole_paths_are_read(allowed: Path):
    source = FolderPhotos([allowed], base=None)

    assert source.find_photo(str(allowed / "sub" / "a.jpg")) == b"photo"
    assert reason_of(source, "sub/a.jpg") == "unsupported_location"
    assert reason_of(source, "/sub/a.jpg") == "outside_roots"
