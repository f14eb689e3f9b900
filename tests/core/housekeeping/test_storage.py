"""What each part takes, and when the disk will be full: measured on real folders, foretold only when there is enough to go by."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from eye_dx_core.files.object_store import ObjectFiles
from eye_dx_core.housekeeping.storage import Forecast, FreeSpace, Storage, forecast_disk, judge_disk, measure_storage
from eye_dx_core.settings import Settings

START, GB = datetime(2026, 5, 1, 3, 45, tzinfo=UTC), 10**9


def nights(*free: float) -> list[FreeSpace]:
    return [FreeSpace(at=START + timedelta(days=number), free=int(one)) for number, one in enumerate(free)]


def write(path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)


def test_every_part_is_measured_once(tmp_path: Path):
    sizes = {
        "data/photos/A/1.jpg": 1_000_000,
        "data/incoming/2.jpg": 500_000,
        "data/prepared/cache/a.shard.npy": 2_000_000,
        "data/records.db": 300_000,
        "data/records.db-wal": 100_000,
        "data/queue.db": 200_000,
        "data/reports/case.html": 50_000,
        "data/daily/2026-05-01/report.pdf": 50_000,
        "mlruns/mlflow.db": 400_000,
        "dagster_home/history/runs.db": 600_000,
        "elsewhere/not_ours.bin": 9_000_000,
    }
    for name, size in sizes.items():
        write(tmp_path / name, size)
    (tmp_path / "data" / "link").symlink_to(tmp_path / "elsewhere")

    measured = measure_storage(Settings(state_dir=tmp_path))

    expected = {
        "photos": 1_500_000,
        "prepared": 2_000_000,
        "records": 400_000,
        "queue": 200_000,
        "reports": 100_000,
        "mlruns": 400_000,
        "dagster_home": 600_000,
    }
    assert {part: pytest.approx(size, abs=20_000) for part, size in expected.items()} == measured.parts
    assert 0 < measured.free <= measured.total


def test_reports_in_a_store_are_counted_there_and_one_that_is_away_has_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write(tmp_path / "data" / "incoming" / "2.jpg", 500_000)
    settings = Settings(state_dir=tmp_path, files_url="s3://clinic/files", mlflow_artifacts="s3://clinic/models")
    store = fsspec.filesystem("memory", skip_instance_cache=True)
    store.store = {}  # the class keeps one for all
    monkeypatch.setattr("eye_dx_core.wiring.open_files", lambda _: ObjectFiles(store, "clinic/files"))
    assert "reports" not in measure_storage(settings).parts

    for name in ("reports/case.html", "daily/tallies/2026-05-01.json"):
        store.pipe_file(f"clinic/files/{name}", b"x" * 50_000)

    parts = measure_storage(settings).parts
    assert (parts["reports"], parts["photos"]) == (100_000, pytest.approx(500_000, abs=20_000))


def test_training_photographs_elsewhere_count_and_a_served_database_has_no_part(tmp_path: Path):
    write(tmp_path / "scans" / "A" / "1.jpg", 700_000)
    (tmp_path / "state" / "data").mkdir(parents=True)
    served = SecretStr("postgresql+psycopg://somebody@127.0.0.1/records")

    measured = measure_storage(Settings(state_dir=tmp_path / "state", photos_dir=tmp_path / "scans", records_url=served))

    assert measured.parts["photos"] == pytest.approx(700_000, abs=20_000)
    assert "records" not in measured.parts


def test_a_disk_that_fills_evenly_is_full_on_the_day():
    forecast = forecast_disk(nights(*(100 * GB - 2 * GB * night for night in range(10))))

    assert forecast.days_until_full == pytest.approx(82 / 2)
    assert forecast.bytes_per_day == pytest.approx(2 * GB)


@given(st.integers(3, 12), st.sampled_from([-60 * GB, 60 * GB]))
def test_one_night_of_cleaning_or_copying_moves_it_little(night: int, jump: int):
    """A fitted line would be off by half and more."""
    even = [200 * GB - 2 * GB * one for one in range(16)]
    stepped = [free + (jump if one == night else 0) for one, free in enumerate(even)]

    assert forecast_disk(nights(*stepped)).bytes_per_day == pytest.approx(2 * GB, rel=0.1)


@pytest.mark.parametrize("known", [nights(), nights(*[GB] * 4), [FreeSpace(at=START + timedelta(hours=n), free=GB) for n in range(9)]])
def test_few_nights_are_no_forecast(known: list[FreeSpace]):
    forecast = forecast_disk(known)

    assert forecast.days_until_full is None
    assert forecast.reason.startswith("not known yet")


def test_a_disk_that_empties_is_never_full():
    forecast = forecast_disk(nights(*(GB * night for night in range(1, 9))))

    assert forecast.days_until_full is None
    assert "does not shrink" in forecast.reason


@pytest.mark.parametrize(
    ("free", "days", "passes"),
    [(50, None, True), (50, 14.5, True), (50, 13.5, False), (9, None, False), (11, 300.0, True), (9, 300.0, False)],
)
def test_the_alarm_is_for_two_weeks_and_for_a_tenth(free: int, days: float | None, *, passes: bool):
    disk = Storage(parts={}, free=free, total=100)

    passed, reason = judge_disk(disk, Forecast(days_until_full=days, reason="so it is"))

    assert passed is passes
    assert reason == f"{free}% of the disk is free; so it is"
