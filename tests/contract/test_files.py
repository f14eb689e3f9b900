"""Every place for finished files keeps the promises of the port, also when it is away."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import fsspec
import pytest

from eye_dx_core import wiring
from eye_dx_core.errors import BadSettings, FilesUnavailable, NotFound
from eye_dx_core.files.folders import FolderFiles
from eye_dx_core.files.object_store import ObjectFiles, open_store
from eye_dx_core.files.port import FileStore
from eye_dx_core.settings import Settings, get_settings
from tests.photo_server import answer, serving
from tests.services import own_s3

ACTS: dict[str, Callable[[FileStore], object]] = {
    "read": lambda files: files.read("reports/a.html"),
    "write": lambda files: files.write("reports/a.html", b"x"),
    "delete": lambda files: files.delete("reports/a.html"),
    "sizes": lambda files: files.sizes("reports"),
    "check": lambda files: files.check(),
}


class Place(NamedTuple):
    """A store, and what it holds by name, whoever put it there."""

    files: FileStore
    held: Callable[[], dict[str, bytes]]


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    with own_s3() as address:
        yield address


@pytest.fixture(params=["folders", "memory", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "folders":
        root = tmp_path / "data"
        return Place(
            FolderFiles(root), lambda: {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        )
    if request.param == "memory":
        store = fsspec.filesystem("memory", skip_instance_cache=True)
        store.store = {}  # the class keeps one for all
    else:
        store = open_store(request.getfixturevalue("s3"))
    bucket = f"files-{abs(hash(tmp_path))}"
    store.mkdir(bucket)
    start = f"{bucket}/clinic/"
    return Place(
        ObjectFiles(store, start),
        lambda: {path.lstrip("/").removeprefix(start): store.cat_file(path) for path in store.find(bucket)},
    )


@pytest.mark.parametrize("content", [b"", bytes(range(256)) * 4000])
def test_what_was_written_is_read_byte_for_byte(place: Place, content: bytes):
    place.files.write("reports/case-1.pdf", content)

    assert place.files.read("reports/case-1.pdf") == content
    assert place.held() == {"reports/case-1.pdf": content}


def test_a_later_file_takes_the_place_of_the_former(place: Place):
    place.files.write("daily/2026-03-02.md", b"the former, which was longer")
    place.files.write("daily/2026-03-02.md", b"the later")

    assert place.files.read("daily/2026-03-02.md") == b"the later"


def test_what_is_not_there_is_not_found(place: Place):
    place.files.write("reports/case-1.pdf", b"x")

    with pytest.raises(NotFound):
        place.files.read("reports/case-2.pdf")


def test_nothing_is_left_of_what_is_deleted_and_nothing_else_goes(place: Place):
    for name in ("reports/case-1.pdf", "reports/case-10.pdf"):
        place.files.write(name, b"x")

    place.files.delete("reports/case-1.pdf")
    place.files.delete("reports/case-1.pdf")  # of which there is nothing any more

    assert set(place.held()) == {"reports/case-10.pdf"}


def test_sizes_are_told_of_one_folder_and_all_below(place: Place):
    for name, size in (("daily/a.md", 3), ("daily/tallies/a.json", 5), ("daily-notes.md", 7), ("reports/a.pdf", 11)):
        place.files.write(name, b"x" * size)

    assert place.files.sizes("daily") == {"daily/a.md": 3, "daily/tallies/a.json": 5}
    assert place.files.sizes("shadow") == {}


def test_a_place_that_answers_is_well_and_stays_empty(place: Place):
    place.files.check()

    assert place.held() == {}


def test_who_reads_while_others_write_gets_one_of_the_whole_contents(place: Place):
    contents = [bytes([number]) * 300_000 for number in range(4)]
    place.files.write("reports/a.pdf", contents[0])
    seen: list[bytes] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.append(place.files.read("reports/a.pdf"))

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(20):
        place.files.write("reports/a.pdf", contents[number % 4])
    done.set()
    reader.join()

    assert seen
    assert all(one in contents for one in seen)


# moto's server answers 500 to one of two uploads of one name.
@pytest.mark.parametrize("place", ["folders", "memory"], indirect=True)
def test_several_who_write_one_file_leave_one_of_the_whole_contents(place: Place):
    contents = [bytes([number]) * 10 ** (number + 2) for number in range(4)]
    together = threading.Barrier(4)

    def write(content: bytes) -> None:
        together.wait()
        for _ in range(15):
            place.files.write("reports/a.pdf", content)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(write, contents)) == [None] * 4  # raises what a writer raised

    assert set(place.held()) == {"reports/a.pdf"}
    assert place.held()["reports/a.pdf"] in contents


def test_a_disk_that_refuses_a_file_keeps_no_half_of_it(tmp_path: Path):
    (tmp_path / "reports" / "a.pdf").mkdir(parents=True)

    with pytest.raises(FilesUnavailable):
        FolderFiles(tmp_path).write("reports/a.pdf", b"x")

    assert [path.name for path in (tmp_path / "reports").iterdir()] == ["a.pdf"]


def test_a_folder_drops_what_a_dead_writer_left_and_never_tells_of_it(tmp_path: Path):
    files, reports = FolderFiles(tmp_path), tmp_path / "reports"
    reports.mkdir()
    for name in ("a.pdf.draft", "a.pdf.0a1b.draft", "a.pdf.c2d3.draft", "aa.pdf.0a1b.draft"):
        (reports / name).write_bytes(b"half")

    assert files.sizes("reports") == {}
    files.delete("reports/a.pdf")
    assert [path.name for path in reports.iterdir()] == ["aa.pdf.0a1b.draft"]


def test_a_person_finds_the_file(tmp_path: Path):
    assert FolderFiles(tmp_path).address("reports/a.pdf") == str(tmp_path / "reports" / "a.pdf")
    assert ObjectFiles(open_store(None), "clinic/files/").address("reports/a.pdf") == "s3://clinic/files/reports/a.pdf"


@pytest.mark.parametrize("act", list(ACTS))
def test_a_bucket_that_is_not_there_passes_for_nothing_else(act: str, s3: str):
    with pytest.raises(FilesUnavailable, match="no such bucket"):
        ACTS[act](ObjectFiles(open_store(s3), "nowhere/clinic"))


@pytest.mark.parametrize(
    ("act", "trouble"),
    [*((act, trouble) for act in ACTS for trouble in ("forbidden", "broken", "gone")), ("read", "silent"), ("write", "silent")],
)
def test_a_store_that_is_away_is_for_a_later_try_and_its_address_is_not_told(act: str, trouble: str, monkeypatch: pytest.MonkeyPatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with serving() as server:
        port = 1 if trouble == "gone" else server.port
        store = open_store(f"http://127.0.0.1:{port}", connect_seconds=0.2, silence_seconds=0.2)
        for path in ("/fundus", "/fundus/clinic/reports/a.html"):
            server.answers[path] = {
                "forbidden": answer(403), "broken": answer(500), "silent": lambda: server.wait(1), "gone": answer(500)
            }[trouble]  # fmt: skip
        with pytest.raises(FilesUnavailable) as caught:
            ACTS[act](ObjectFiles(store, "fundus/clinic"))

    assert caught.value.is_transient
    assert not any(word in str(caught.value) for word in ("fundus", "127.0.0.1", "a.html"))


def test_a_disk_that_cannot_even_be_looked_at_is_for_a_later_try(tmp_path: Path):
    with pytest.raises(FilesUnavailable, match="the disk refused"):
        FolderFiles(tmp_path / ("x" * 300)).check()


@pytest.mark.parametrize("act", ["read", "write", "delete"])
def test_a_disk_that_refuses_is_for_a_later_try(act: str, tmp_path: Path):
    (tmp_path / "reports").write_bytes(b"a file where a folder should be")

    with pytest.raises(FilesUnavailable, match="the disk refused"):
        ACTS[act](FolderFiles(tmp_path))


def test_the_setting_chooses_the_place(tmp_path: Path, s3: str):
    assert isinstance(wiring.open_files(Settings(state_dir=tmp_path)), FolderFiles)
    in_store = Settings(state_dir=tmp_path, files_url="s3://clinic-files/eye-dx/", s3_endpoint=s3)
    files = wiring.open_files(in_store)
    assert files.address("x") == "s3://clinic-files/eye-dx/x"

    FolderFiles(in_store.data).write("reports/case-1.html", b"x")

    with pytest.raises(BadSettings, match="never erased"):
        wiring.open_files(in_store)


@pytest.mark.parametrize(
    "url", ["clinic", "/srv/files", "https://clinic.example.org/files", "s3://", "s3://user:word@clinic", "s3://clinic/../x"]
)
def test_another_address_is_refused_without_being_repeated(url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("EYE_DX_FILES_URL", url)

    with pytest.raises(BadSettings, match="EYE_DX_FILES_URL") as caught:
        get_settings()
    assert "word" not in str(caught.value)


def test_the_extra_is_asked_for_by_name(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("EYE_DX_FILES_URL", "s3://clinic")
    monkeypatch.setattr("eye_dx_core.settings.find_spec", lambda _: None)

    with pytest.raises(BadSettings, match=r"eye-dx\[s3\]"):
        get_settings()
