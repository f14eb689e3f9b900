"""Where a location is looked for, and what the settings make of it."""

from pathlib import Path

import pytest

from eye_dx_core import wiring
from eye_dx_core.dataset.phantom_folders import write_phantom_photo
from eye_dx_core.errors import BadPhoto, BadSettings, ServiceUnavailable
from eye_dx_core.files.object_store import open_store
from eye_dx_core.inference.intake import PhotoIntake
from eye_dx_core.inference.sources.allowed import BucketPrefix
from eye_dx_core.inference.sources.folders import FolderPhotos
from eye_dx_core.inference.sources.memory import MemoryPhotos
from eye_dx_core.inference.sources.object_store import BucketPhotos
from eye_dx_core.inference.sources.patience import Patience
from eye_dx_core.inference.sources.places import PhotoPlaces
from eye_dx_core.inference.sources.port import PhotoSource
from eye_dx_core.schema.case import Laterality
from eye_dx_core.settings import Settings, get_settings
from tests.photo_server import answer, serving

BASE = "https://his.example.org/files/"


def reason_of(source: PhotoSource, location: str) -> str:
    with pytest.raises(BadPhoto) as caught:
        source.find_photo(location)
    return caught.value.reason


def places(folder: Path, *known: str, base: str = BASE) -> PhotoPlaces:
    source = MemoryPhotos({name: name.encode() for name in known})
    return PhotoPlaces(FolderPhotos([folder], base=None), {"https": source, "s3": source}, base_address=base)


def test_an_address_goes_to_who_reads_such_addresses(tmp_path: Path):
    source = places(tmp_path, "https://a/b", "HTTPS://a/b", "s3://a/b")

    assert [source.find_photo(one) for one in ("https://a/b", "HTTPS://a/b", "s3://a/b")] == [b"https://a/b", b"HTTPS://a/b", b"s3://a/b"]
    for location in ("gs://a/b", "file:///etc/passwd", "//a/b", "\\\\a\\b", "a\x00"):
        assert reason_of(source, location) == "unsupported_location"


def test_a_path_in_a_folder_is_read_there_and_any_other_below_the_base(tmp_path: Path):
    (tmp_path / "local.jpg").write_bytes(b"local")
    source = places(tmp_path, f"{BASE}upload/1.jpg", f"{BASE}OD%232.jpg", f"{BASE}show?id=5", f"{BASE}{str(tmp_path)[1:]}/other.jpg")

    assert source.find_photo(f"{tmp_path}/local.jpg") == b"local"
    for location in ("upload/1.jpg", "/upload/1.jpg"):
        assert source.find_photo(location) == f"{BASE}upload/1.jpg".encode()
    assert source.find_photo("OD#2.jpg").endswith(b"OD%232.jpg")
    assert source.find_photo("/show?id=5").endswith(b"show?id=5")
    assert source.find_photo(f"{tmp_path}/other.jpg").startswith(BASE.encode())
    assert reason_of(source, "local.jpg") == "missing"


def test_no_path_climbs_out_of_the_base(tmp_path: Path):
    for location in ("../x", "/a/../../x", "a/..%2f../x", "%2e%2e/x", "a\\..\\..\\x", "..", "a?b=/../x"):
        assert reason_of(places(tmp_path, f"{BASE}x"), location) == "outside_roots"


def test_a_folder_that_is_not_mounted_is_not_looked_for_on_the_web(tmp_path: Path):
    (tmp_path / "mount").mkdir()

    with pytest.raises(ServiceUnavailable):
        places(tmp_path / "mount").find_photo(f"{tmp_path}/mount/1.jpg")


def said_by(source: PhotoSource, location: str) -> str:
    with pytest.raises(ServiceUnavailable) as caught:
        source.find_photo(location)
    assert "zhang" not in str(caught.value)
    return str(caught.value)


def test_a_store_that_is_down_is_for_a_later_try(monkeypatch: pytest.MonkeyPatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    allowed, impatient = [BucketPrefix("fundus", "")], Patience(connect=0.2, silence=0.2, total=0.4)
    with serving() as server:
        endpoint = f"http://127.0.0.1:{server.port}"
        server.answers["/fundus/zhang.jpg"] = answer(500)
        assert "answered with an error" in said_by(BucketPhotos(allowed, store=open_store(endpoint)), "s3://fundus/zhang.jpg")
        server.answers["/fundus/zhang.jpg"] = lambda: server.wait(3)
        silent = BucketPhotos(allowed, store=open_store(endpoint, connect_seconds=0.2, silence_seconds=0.2), patience=impatient)
        said = [said_by(silent, "s3://fundus/zhang.jpg") for _ in range(4)]

    assert ["left alone" in one for one in said] == [False, False, False, True]


def test_a_photograph_comes_through_the_settings_into_the_intake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_phantom_photo(tmp_path / "OD.jpg", "N", eye=Laterality.RIGHT, seed=1, size=128)
    with serving() as server:
        server.answers["/files/upload/OD.jpg"] = answer(200, (tmp_path / "OD.jpg").read_bytes())
        monkeypatch.setenv("EYE_DX_STATE_DIR", str(tmp_path))
        monkeypatch.setenv("EYE_DX_PHOTO_HOSTS", f"pacs.example.org, http://127.0.0.1:{server.port}")
        monkeypatch.setenv("EYE_DX_PHOTO_BASE", f"http://127.0.0.1:{server.port}/files")
        intake: PhotoIntake = wiring.photo_intake(get_settings())

        prepared = list(intake.prepare(["/upload/OD.jpg", "/upload/OS.jpg", "http://127.0.0.1:1/OD.jpg", "s3://a/b"], size=64))

    assert [one.reason if isinstance(one, BadPhoto) else None for one in prepared] == [
        *(None, "missing", "host_not_allowed", "unsupported_location")
    ]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("EYE_DX_PHOTO_HOSTS", "pacs.example.org/files", "EYE_DX_PHOTO_HOSTS: .*list hosts such as"),
        ("EYE_DX_PHOTO_PRIVATE_HOSTS", "127.1", "EYE_DX_PHOTO_PRIVATE_HOSTS: .*list hosts such as"),
        ("EYE_DX_PHOTO_BUCKETS", "s3://fundus", "EYE_DX_PHOTO_BUCKETS: .*list buckets such as"),
        ("EYE_DX_PHOTO_BASE", "https://his.example.org/files", "EYE_DX_PHOTO_BASE must be a folder"),
        ("EYE_DX_PHOTO_BASE", "https://pacs.example.org/get?file=", "EYE_DX_PHOTO_BASE must be a folder"),
        ("EYE_DX_PHOTO_BASE", "https://user@pacs.example.org/", "list hosts such as"),
        ("EYE_DX_PHOTO_BASE", "s3://fundus/clinical/", "EYE_DX_PHOTO_BASE must be a folder"),
        ("EYE_DX_PHOTO_BASE", "ftp://pacs.example.org/", "list hosts such as"),
        ("EYE_DX_PHOTO_SECONDS", "0", "EYE_DX_PHOTO_SECONDS"),
    ],
)
def test_settings_that_cannot_work_are_named_at_the_start(name: str, value: str, words: str, monkeypatch: pytest.MonkeyPatch):
    for good, listed in (("EYE_DX_PHOTO_HOSTS", "pacs.example.org"), ("EYE_DX_PHOTO_BUCKETS", "fundus/clinic")):
        monkeypatch.setenv(good, listed)
    monkeypatch.setenv(name, value)

    with pytest.raises(BadSettings, match=words):
        get_settings()


@pytest.mark.parametrize(
    ("base", "folder", "address"),
    [
        (None, "data", None),
        ("/his/files", "/his/files", None),
        ("https://pacs.example.org/files", None, "https://pacs.example.org/files/"),
        ("s3://fundus/clinic/", None, "s3://fundus/clinic/"),
    ],
)
def test_paths_start_in_a_folder_or_at_a_listed_address(base: str | None, folder: str | None, address: str | None, tmp_path: Path):
    settings = Settings(state_dir=tmp_path, photo_hosts="pacs.example.org", photo_buckets="fundus/clinic", photo_base=base)

    assert settings.photo_base_folder == (tmp_path / folder if folder else None)
    assert settings.photo_base_address == address
    assert isinstance(wiring.photo_places(settings), PhotoPlaces)


def test_an_authority_that_cannot_be_read_is_named(tmp_path: Path):
    (tmp_path / "empty.pem").write_text("")
    for file in (tmp_path / "empty.pem", tmp_path / "none.pem"):
        with pytest.raises(BadSettings, match="EYE_DX_PHOTO_CA"):
            wiring.photo_places(Settings(state_dir=tmp_path, photo_hosts="pacs.example.org", photo_ca=file))


def test_servers_that_are_silent_are_remembered_from_pass_to_pass(tmp_path: Path):
    with serving() as server:
        settings = Settings(state_dir=tmp_path, photo_hosts=f"http://127.0.0.1:{server.port}")
    location = f"http://127.0.0.1:{server.port}/OD.jpg"

    for words in ("did not answer", "did not answer", "did not answer", "left alone"):
        with pytest.raises(ServiceUnavailable, match=words):
            wiring.photo_places(settings).find_photo(location)
