"""Workers prepare what the process itself would, and neither a file nor a kill spoils more than one photograph."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eye_dx_core import wiring
from eye_dx_core.dataset.phantom_folders import write_phantom_photo
from eye_dx_core.errors import BadPhoto, ServiceUnavailable
from eye_dx_core.inference.files import PhotoFile
from eye_dx_core.inference.intake import PhotoIntake
from eye_dx_core.inference.preparing import Prepared, PreparedPhoto, prepare_or_refuse
from eye_dx_core.inference.sources.folders import FolderPhotos
from eye_dx_core.inference.workers import PhotoWorkers
from eye_dx_core.schema.case import Laterality
from eye_dx_core.schema.diagnosis import EyeClaimSource
from eye_dx_core.settings import Settings
from tests.dying_words import BABBLE, DIE, DIE_ONCE, GROW, HANG
from tests.hostile_files import FUNDUS, dicom, hostile_files, jpeg, picture, saved, tiff

PROJECT = Path(__file__).parents[3]
SIZE, DIED = 64, "decoder_died"


def vouched(*paths: Path) -> list[PhotoFile]:
    return [(path, None) for path in paths]


@pytest.fixture(scope="module")
def workers() -> Iterator[PhotoWorkers]:
    with PhotoWorkers(2, seconds=20, program="tests.dying_worker") as some:
        yield some


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    write_phantom_photo(tmp_path / "good.jpg", "D2", eye=Laterality.RIGHT, seed=1, size=160)
    return tmp_path / "good.jpg"


def assert_same(one: Prepared, other: Prepared):
    if isinstance(other, BadPhoto):
        assert isinstance(one, BadPhoto)
        assert (one.reason, str(one)) == (other.reason, str(other))
        return
    assert isinstance(one, PreparedPhoto)
    assert np.array_equal(one.square, other.square)
    assert {name: value for name, value in vars(one).items() if name != "square"} == {
        name: value for name, value in vars(other).items() if name != "square"
    }


def a_file(folder: Path, content: bytes) -> Path:
    path = folder / content[:9].decode().strip()
    path.write_bytes(content)
    return path


def test_a_whole_hostile_folder_comes_back_in_order_as_the_process_itself_would_read_it(workers: PhotoWorkers, tmp_path: Path):
    paths = [tmp_path / kind.name for kind in hostile_files()]
    for kind, path in zip(hostile_files(), paths, strict=True):
        kind.make(path)
    intake = PhotoIntake(FolderPhotos([], base=tmp_path), workers)

    read = list(intake.prepare_files(vouched(*paths), size=SIZE))

    assert [one.reason if isinstance(one, BadPhoto) else None for one in read] == [kind.reason for kind in hostile_files()]
    for one, path in zip(read, paths, strict=True):
        assert_same(one, prepare_or_refuse(path, size=SIZE))
    assert len(workers.process_ids) <= 2


def test_bytes_and_a_dicom_tag_get_through(workers: PhotoWorkers):
    prepared = workers.prepare(dicom(ImageLaterality="L"), size=SIZE)

    assert isinstance(prepared, PreparedPhoto)
    assert (EyeClaimSource.DICOM, Laterality.LEFT) in [(claim.source, claim.eye) for claim in prepared.eye_claims]
    assert_same(prepared, prepare_or_refuse(dicom(ImageLaterality="L"), size=SIZE))


def test_what_kills_or_confuses_a_worker_spoils_only_itself(workers: PhotoWorkers, photo: Path):
    bad = [a_file(photo.parent, word) for word in (DIE, GROW, BABBLE)]
    intake = PhotoIntake(FolderPhotos([], base=photo.parent), workers)

    read = list(intake.prepare_files(vouched(photo, bad[0], photo, bad[1], bad[2], photo), size=SIZE))

    assert [one.reason if isinstance(one, BadPhoto) else None for one in read] == [None, DIED, None, DIED, DIED, None]


def test_what_hangs_is_ended_and_spoils_only_itself(photo: Path):
    hanging = a_file(photo.parent, HANG)
    with PhotoWorkers(2, seconds=1.5, program="tests.dying_worker") as some:
        read = list(PhotoIntake(FolderPhotos([], base=photo.parent), some).prepare_files(vouched(photo, hanging, photo, photo), size=SIZE))

        assert [one.reason if isinstance(one, BadPhoto) else None for one in read] == [None, "decoder_timed_out", None, None]


def test_a_photograph_is_not_blamed_when_something_else_kills_its_worker(workers: PhotoWorkers, photo: Path, tmp_path: Path):
    mark = a_file(tmp_path, b"mark")

    once = workers.prepare(DIE_ONCE + os.fsencode(mark), size=SIZE)
    for pid in workers.process_ids:
        os.kill(pid, signal.SIGKILL)
    after = workers.prepare(photo, size=SIZE)

    assert isinstance(once, BadPhoto)
    assert once.reason == "not_an_image"  # its words, read at the second try
    assert isinstance(after, PreparedPhoto)


def test_workers_are_used_again_and_start_only_when_they_are_needed(photo: Path):
    with PhotoWorkers(2) as some:
        assert some.process_ids == ()
        some.prepare(photo, size=SIZE)
        first = some.process_ids
        some.prepare(photo, size=SIZE)
        assert some.process_ids == first
    assert some.process_ids == ()
    assert not any(psutil.pid_exists(pid) for pid in first)


def test_the_first_can_be_started_before_it_is_needed(photo: Path):
    with PhotoWorkers(2) as some:
        some.start()
        [first] = some.process_ids
        some.get_ready()
        assert isinstance(some.prepare(photo, size=SIZE), PreparedPhoto)
        assert some.process_ids == (first,)


def test_those_that_do_not_start_say_nothing_of_a_photograph(photo: Path):
    with PhotoWorkers(1, program="tests.no_such_worker") as some, pytest.raises(ServiceUnavailable):
        some.prepare(photo, size=SIZE)


def test_no_more_is_prepared_ahead_than_is_soon_needed(workers: PhotoWorkers, photo: Path):
    asked: list[str] = []

    class Places(FolderPhotos):
        def find_photo(self, location: str) -> Path:
            asked.append(location)
            return super().find_photo(location)

    coming = PhotoIntake(Places([], base=photo.parent), workers).prepare([photo.name] * 200, size=SIZE)
    next(coming)
    coming.close()

    assert len(asked) < 50


def test_all_batches_of_a_process_go_through_the_same_workers(tmp_path: Path, photo: Path):
    first, second = (wiring.photo_intake(Settings(state_dir=tmp_path)) for _ in range(2))

    list(first.prepare_files(vouched(photo), size=SIZE))
    before = wiring._photo_workers().process_ids
    list(second.prepare_files(vouched(photo), size=SIZE))

    assert wiring._photo_workers().process_ids == before
    wiring._photo_workers().close()


def test_a_worker_loads_no_torch():
    code = "import sys, eye_dx_core.inference.worker; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], cwd=PROJECT, check=False).returncode == 0


PARENT = """
import signal, sys, time
from pathlib import Path
from eye_dx_core.inference.intake import PhotoIntake
from eye_dx_core.inference.sources.folders import FolderPhotos
from eye_dx_core.inference.workers import PhotoWorkers

signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs in the background was started to ignore it
good, hanging, seconds = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
workers = PhotoWorkers(2, seconds=seconds, program="tests.dying_worker")
files = [(path, None) for path in (good, good, good, hanging)]
coming = PhotoIntake(FolderPhotos([], base=good.parent), workers).prepare_files(files, size=64)
for _ in range(3):
    next(coming)
while len(workers.process_ids) < 2:
    workers.prepare(good, size=64)
print(*workers.process_ids, flush=True)
time.sleep(600)  # busy with what it has, while the next one hangs
"""


def end_of(pids: list[int], *, seconds: float) -> bool:
    """Whether all of them are gone soon."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in pids):
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_no_worker_outlives_the_process_that_started_it(how: signal.Signals, photo: Path):
    hanging = a_file(photo.parent, HANG)
    # Of a killed process the worker that hangs learns nothing, and ends itself; one that is told to stop does not wait for it.
    seconds = {signal.SIGKILL: 2, signal.SIGINT: 300}[how]
    command = [sys.executable, "-c", PARENT, str(photo), str(hanging), str(seconds)]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as parent:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        parent.send_signal(how)
        has_ended = end_of([parent.pid], seconds=30)
        parent.kill()

    assert has_ended
    assert len(pids) == 2
    assert end_of(pids, seconds=30)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_bytes_come_back_as_a_square_or_a_reason(workers: PhotoWorkers, data: st.DataObject):
    whole = [jpeg(), saved(picture(), "PNG"), tiff(FUNDUS), dicom()]
    content = bytearray(data.draw(st.sampled_from(whole)))
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))

    prepared = workers.prepare(bytes(content), size=SIZE)

    assert isinstance(prepared, BadPhoto) or prepared.square.shape == (SIZE, SIZE, 3)
    assert not isinstance(prepared, BadPhoto) or prepared.reason not in ("decoder_died", "cannot_be_prepared")
