"""Every place that holds photographs keeps the promises of the port."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import fsspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eye_dx_core.dataset.photo_file import MAX_BYTES
from eye_dx_core.errors import BadPhoto, ServiceUnavailable
from eye_dx_core.files.object_store import open_store
from eye_dx_core.inference.sources.allowed import BucketPrefix, WebHost
from eye_dx_core.inference.sources.folders import FolderPhotos
from eye_dx_core.inference.sources.memory import MemoryPhotos
from eye_dx_core.inference.sources.object_store import BucketPhotos
from eye_dx_core.inference.sources.places import PhotoPlaces
from eye_dx_core.inference.sources.port import PhotoSource
from eye_dx_core.inference.sources.web import WebPhotos
from tests.forwarder import a_server_context, an_authority
from tests.photo_server import PhotoServer, answer, serving
from tests.services import own_s3

SECRET = b"a file that is nobody's photograph"
KINDS = ("memory", "folders", "http", "https", "store", "s3", "a base on the web", "a base in a store")


class Place(NamedTuple):
    """A source with what a test needs to fill it: where a name lies, how it comes there, what lies outside."""

    source: PhotoSource
    location: Callable[[str], str]
    put: Callable[[str, bytes], None]
    outside: tuple[str, ...] = ()


def in_memory() -> Place:
    photos: dict[str, bytes | None] = {}
    return Place(MemoryPhotos(photos), str, photos.__setitem__)


def in_folders(folder: Path) -> Place:
    inside = folder / "photos"
    for one in (inside, folder / "secret"):
        one.mkdir()
        (one / "file.jpg").write_bytes(SECRET if one.name == "secret" else b"x")
    (inside / "link").symlink_to(folder / "secret")
    (inside / "link.jpg").symlink_to(folder / "secret" / "file.jpg")

    def put(name: str, content: bytes) -> None:
        with (inside / name).open("wb") as file:
            if len(content) > MAX_BYTES:
                file.truncate(len(content))  # takes no room on the disk
            else:
                file.write(content)

    outside = (f"{folder}/secret/file.jpg", "../secret/file.jpg", "link/file.jpg", "link.jpg", "x/../../secret/file.jpg", "/dev/zero")
    return Place(FolderPhotos([inside], base=inside), str, put, outside)


def on_the_web(server: PhotoServer, source: WebPhotos, start: str) -> Place:
    def put(name: str, content: bytes) -> None:
        server.answers[f"/files/{quote(name)}"] = answer(200, content)

    put("file.jpg", SECRET)
    outside = (
        f"http://127.0.0.2:{server.port}/files/file.jpg",
        f"http://user@127.0.0.1:{server.port}/files/file.jpg",
        "file:///etc/passwd",
    )
    return Place(source, lambda name: start + quote(name), put, outside)


def in_a_store(store: fsspec.AbstractFileSystem) -> Place:
    for path in ("fundus/clinic/file.jpg", "fundus/clinical/file.jpg", "other/clinic/file.jpg"):
        with contextlib.suppress(FileExistsError):
            store.mkdir(path.partition("/")[0])
        store.pipe_file(path, SECRET)
    outside = (
        "s3://fundus/clinical/file.jpg",
        "s3://other/clinic/file.jpg",
        "s3://fundus/clinic/../clinical/file.jpg",
        "s3://fundus/clinic/",
    )
    source = BucketPhotos([BucketPrefix("fundus", "clinic/")], store=store)
    return Place(source, "s3://fundus/clinic/{}".format, lambda name, content: store.pipe_file(f"fundus/clinic/{name}", content), outside)


@pytest.fixture(scope="module")
def s3_store() -> Iterator[fsspec.AbstractFileSystem]:
    with own_s3() as address:
        yield open_store(address)


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    with contextlib.ExitStack() as stack:
        yield build(request.param, tmp_path, stack, request)


def build(kind: str, folder: Path, stack: contextlib.ExitStack, request: pytest.FixtureRequest) -> Place:
    if kind == "memory":
        return in_memory()
    if kind == "folders":
        return in_folders(folder)
    if kind in ("store", "a base in a store"):
        store = fsspec.filesystem("memory", skip_instance_cache=True)
        store.store = {}  # the class keeps one for all
        place = in_a_store(store)
    elif kind == "s3":
        return in_a_store(request.getfixturevalue("s3_store"))
    elif kind == "https":
        authority = an_authority(folder, "authority")
        server = stack.enter_context(serving(a_server_context(authority, folder, "photos.test")))
        host = WebHost("https", "photos.test", server.port)
        source = WebPhotos([], private_hosts=[host], ca_file=authority.file, resolve=lambda *_: ["127.0.0.1"])
        return on_the_web(server, source, f"https://photos.test:{server.port}/files/")
    else:
        server = stack.enter_context(serving())
        start = f"http://127.0.0.1:{server.port}/files/"
        place = on_the_web(server, WebPhotos([WebHost("http", "127.0.0.1", server.port)]), start)
    if not kind.startswith("a base"):
        return place
    scheme, start = ("http", place.location("")) if "web" in kind else ("s3", "s3://fundus/clinic/")
    return place._replace(source=PhotoPlaces(FolderPhotos([folder], base=None), {scheme: place.source}, base_address=start), location=str)


@pytest.mark.parametrize("name", ["OD.jpg", "张三 右眼 #2.jpg"])
def test_a_photograph_comes_byte_for_byte(place: Place, name: str):
    content = bytes(range(256)) * 500
    place.put(name, content)

    assert place.source.find_photo(place.location(name)) == content
    assert place.source.find_photo(place.location(name)) == content


def test_an_empty_file_comes_as_it_is(place: Place):
    place.put("OD.jpg", b"")

    assert place.source.find_photo(place.location("OD.jpg")) == b""


def test_what_is_not_there_is_missing_and_its_name_is_not_told(place: Place):
    place.put("OD.jpg", b"x")

    with pytest.raises(BadPhoto) as caught:
        place.source.find_photo(place.location("zhang-san.jpg"))

    assert caught.value.reason == "missing"
    assert "zhang" not in str(caught.value)


def test_nothing_is_read_that_is_larger_than_a_photograph(place: Place):
    place.put("zhang-san.jpg", bytes(MAX_BYTES + 1))

    with pytest.raises(BadPhoto, match="larger than 64 MiB") as caught:
        place.source.find_photo(place.location("zhang-san.jpg"))

    assert caught.value.reason == "too_large"


def test_nothing_outside_is_read(place: Place):
    for location in place.outside:
        with pytest.raises(BadPhoto) as caught:
            place.source.find_photo(location)
        assert caught.value.reason in ("outside_roots", "missing", "unsupported_location", "host_not_allowed", "bucket_not_allowed"), (
            location
        )
        assert "file.jpg" not in str(caught.value)


any_text = st.text(alphabet=st.characters(exclude_categories=()), max_size=60)
parts = (
    "/",
    "..",
    "\\",
    "%2e%2e",
    "%2f",
    "#",
    "?",
    "@",
    ":",
    "//",
    "link",
    "x",
    "file.jpg",
    "secret",
    "clinical",
    "other",
    "127.0.0.1",
    "s3://fundus",
)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "memory"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(location=any_text | st.lists(st.sampled_from(parts) | any_text, max_size=8).map("".join), is_inside=st.booleans())
def test_whatever_a_location_says_it_leads_to_photographs_or_nowhere(
    kind: str, places: dict[str, Place], location: str, *, is_inside: bool
):
    place = places[kind]
    with contextlib.suppress(BadPhoto, ServiceUnavailable):
        content = place.source.find_photo(place.location("") + location if is_inside else location)
        assert content == b"photograph"


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[dict[str, Place]]:
    with contextlib.ExitStack() as stack:
        built = {kind: build(kind, tmp_path_factory.mktemp("place"), stack, request) for kind in KINDS}
        for place in built.values():
            place.put("file.jpg", b"photograph")
        (tmp_path_factory.getbasetemp()).joinpath("x").write_bytes(SECRET)
        yield built
