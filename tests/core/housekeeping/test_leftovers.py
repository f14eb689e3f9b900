"""Files that nobody refers to go; what is in use, young, or nobody's that we know of stays and is counted."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from eye_dx_core.files.folders import FolderFiles
from eye_dx_core.housekeeping import leftovers
from eye_dx_core.housekeeping.leftovers import Swept
from eye_dx_core.housekeeping.sweeping import file_sweeps, sweep_models
from eye_dx_core.registry.memory import MemoryRegistry, weights_sha256
from eye_dx_core.settings import Settings
from tests.checkpoints import a_checkpoint

NOW = datetime(2026, 6, 1, tzinfo=UTC)
OLD = NOW - timedelta(days=40)
KNOWN, GONE, NEW = "a" * 64, "b" * 64, "c" * 64


def write(path: Path, content: bytes = b"some bytes", *, at: datetime = OLD) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    for place in (path, path.parent):
        os.utime(place, (at.timestamp(), at.timestamp()))
    return path


def write_shard(path: Path, *hashes: str, at: datetime = OLD) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    shard = np.zeros(len(hashes), dtype=np.dtype([("pixel_sha256", "S64"), ("square", np.uint8, (4, 4, 3))]))
    shard["pixel_sha256"] = [one.encode() for one in hashes]
    np.save(path, shard)
    os.utime(path, (at.timestamp(), at.timestamp()))
    return path


def test_engines_go_with_their_checkpoint(tmp_path: Path):
    used, gone = write(tmp_path / KNOWN / "int8" / "model.bin"), write(tmp_path / GONE / "model.bin")
    tried = write(tmp_path / NEW / "model.bin", at=NOW)
    strange = write(tmp_path / "notes" / "by hand.txt")

    swept = leftovers.sweep_checkpoint_folders(tmp_path, {KNOWN}, before=NOW - timedelta(days=30))

    assert (swept.deleted, swept.left) == (1, 1)
    assert swept.bytes_freed >= len(b"some bytes")
    assert not gone.parent.exists()
    assert all(path.exists() for path in (used, tried, strange))


def test_a_link_is_never_followed(tmp_path: Path):
    outside = write(tmp_path / "outside" / "photo.jpg")
    (tmp_path / "engines").mkdir()
    (tmp_path / "engines" / GONE).symlink_to(outside.parent)

    swept = leftovers.sweep_checkpoint_folders(tmp_path / "engines", set(), before=NOW)

    assert (swept.deleted, swept.left) == (0, 1)
    assert outside.exists()


def test_squares_go_when_the_manifest_has_none_of_them(tmp_path: Path):
    used = write_shard(tmp_path / "crop-1-224" / "1.shard.npy", KNOWN, GONE)
    gone = write_shard(tmp_path / "crop-1-224" / "2.shard.npy", GONE)
    damaged = write(tmp_path / "crop-1-224" / "3.shard.npy", b"cut off")
    young = write_shard(tmp_path / "crop-1-224" / "4.shard.npy", NEW, at=NOW)

    swept = leftovers.sweep_squares(tmp_path, {KNOWN}, before=NOW - timedelta(days=30))

    assert swept.deleted == 2
    assert (used.exists(), young.exists(), gone.exists(), damaged.exists()) == (True, True, False, False)
    assert leftovers.sweep_squares(tmp_path, None, before=NOW) == Swept(left=2)  # without a manifest nobody can say


def test_a_trunk_stays_as_long_as_a_checkpoint_links_to_it(tmp_path: Path):
    used, gone = (write(tmp_path / "trunks" / f"{one}.safetensors") for one in (KNOWN, GONE))
    (tmp_path / NEW).mkdir()
    (tmp_path / NEW / "trunk.safetensors").symlink_to(used)

    assert leftovers.sweep_trunks(tmp_path, before=NOW).deleted == 1
    assert (used.exists(), gone.exists()) == (True, False)


def test_a_draft_goes_when_its_writer_must_be_gone(tmp_path: Path):
    cut_off = write(tmp_path / "reports" / "case-1.html.draft", at=NOW - timedelta(days=8))
    in_work = write(tmp_path / "cache" / "tokens" / "x.123.draft", at=NOW - timedelta(days=6))
    page = write(tmp_path / "reports" / "case-1.html", at=NOW - timedelta(days=8))

    assert leftovers.sweep_drafts([tmp_path], at=NOW).deleted == 1
    assert (cut_off.exists(), in_work.exists(), page.exists()) == (False, True, True)


def test_drafts_are_swept_wherever_finished_files_lie(tmp_path: Path):
    settings = Settings(state_dir=tmp_path)
    files = FolderFiles(settings.data)
    names = ("reports/case-1.html", "daily/2026-03-02.md", "shadow/1-against-2.md", "prepared/corrections/rows.csv")
    for name in names:
        files.write(name, b"whole")
        write(settings.data / f"{name}.0a1b.draft")

    assert file_sweeps(settings, MemoryRegistry(tmp_path / "registry"), at=NOW)["drafts"]().deleted == len(names)
    assert {path.relative_to(settings.data).as_posix() for path in settings.data.rglob("*") if path.is_file()} == set(names)


def test_a_long_log_keeps_its_end_by_whole_lines_and_its_writer_goes_on(tmp_path: Path):
    log, lines = tmp_path / "demo-daemon.log", [f"line {number:07}\n".encode() for number in range(1_000_000)]
    log.write_bytes(b"".join(lines))
    with log.open("ab") as writer:
        swept = leftovers.shorten_log(log)
        writer.write(b"and on\n")

    kept = log.read_bytes().splitlines(keepends=True)
    assert kept == [*lines[1_000_000 - len(kept) + 1 :], b"and on\n"]
    assert swept.bytes_freed == sum(map(len, lines)) - sum(map(len, kept[:-1])) > 11_000_000
    assert leftovers.shorten_log(log) == Swept()


def test_the_registry_and_the_newest_checkpoint_say_which_weights_are_in_use(tmp_path: Path):
    settings, registry = Settings(state_dir=tmp_path), MemoryRegistry(tmp_path / "registry")
    settings.prepared.mkdir(parents=True)
    newest = weights_sha256(a_checkpoint(settings.prepared / "checkpoint"))
    registered = registry.add_candidate(settings.prepared / "checkpoint", metrics={}, tags={}).checkpoint_sha256
    write(settings.prepared / "checkpoint" / "model.safetensors", b"trained again")
    again = weights_sha256(settings.prepared / "checkpoint")
    kept = [write(settings.engines / one / "gate.json") for one in (registered, again)]
    gone = write(settings.engines / GONE / "gate.json")

    counts = {place: sweep() for place, sweep in file_sweeps(settings, registry, at=NOW).items()}

    assert newest == registered
    assert (newest != again, counts["engines"].deleted, gone.exists()) == (True, 1, False)
    assert all(path.exists() for path in kept)


def test_looking_for_models_makes_no_store(tmp_path: Path):
    assert sweep_models(Settings(state_dir=tmp_path), at=NOW).runs == 0
    assert list(tmp_path.iterdir()) == []


def test_somebody_else_may_have_deleted_it(tmp_path: Path):
    kept = write(tmp_path / "kept")

    leftovers.remove(tmp_path / "gone")

    assert kept.exists()
