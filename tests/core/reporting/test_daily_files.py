"""The files of a day: the table of eyes, the PDF, and the tallies that drift rests on."""

from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from eye_dx_core.files.folders import FolderFiles
from eye_dx_core.records.figures import figures_of
from eye_dx_core.records.memory import MemoryRecords
from eye_dx_core.records.port import CaseRecord, Rejection
from eye_dx_core.reporting.daily.columns import COLUMNS
from eye_dx_core.reporting.daily.frames import frames_of
from eye_dx_core.reporting.daily.report import count_day
from eye_dx_core.reporting.daily.tables import day_tables
from eye_dx_core.reporting.daily.tallies import Tallies
from eye_dx_core.reporting.daily.writing import write_day
from eye_dx_core.schema.case import Laterality
from eye_dx_core.schema.diagnosis import PhotoPrediction
from eye_dx_core.schema.review import EyeReview
from tests.builders import NOON, a_case, a_diagnosis, a_review
from tests.core.reporting.test_daily import a_record, reviewed_by_eye
from tests.services import open_records

DAY, ZONE = date(2026, 3, 2), ZoneInfo("Asia/Shanghai")
MIDNIGHT = datetime(2026, 3, 2, tzinfo=ZONE)
NEXT = MIDNIGHT + timedelta(days=1)
SAID = ("白内障", "高度近视", "未见明显异常")
AT = NOON + timedelta(days=2)


def with_camera(record: CaseRecord, camera: str) -> CaseRecord:
    assert record.diagnosis is not None

    def seen(photo: PhotoPrediction) -> PhotoPrediction:
        return photo.model_copy(update={"camera": camera})

    eyes = tuple(eye.model_copy(update={"photos": tuple(map(seen, eye.photos))}) for eye in record.diagnosis.eyes)
    return record.model_copy(update={"diagnosis": record.diagnosis.model_copy(update={"eyes": eyes})})


def tables_of(records: list[CaseRecord], folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    for suffix, content in day_tables(frames_of(figures_of(records)), DAY, zone=ZONE).items():
        (folder / f"{DAY}.{suffix}").write_bytes(content)
    return pd.read_csv(folder / f"{DAY}.csv", encoding="utf-8-sig"), parquet.read_table(folder / f"{DAY}.parquet").to_pandas()


def test_both_tables_have_one_row_per_eye_and_say_the_same(tmp_path: Path):
    amd, normal = EyeReview(eye=Laterality.RIGHT, labels=("A",)), EyeReview(eye=Laterality.LEFT, labels=("G",))
    text, table = tables_of([a_record(1), reviewed_by_eye(2, amd, normal), CaseRecord(case=a_case("case-3"))], tmp_path)

    assert list(text.columns) == list(table.columns) == list(COLUMNS)
    assert table[["visit", "eye", "conclusion", "doctor", "agrees"]].fillna("-").to_numpy().tolist() == [
        [1, "OD", "A", "-", "-"],
        [1, "OS", "N", "-", "-"],
        [2, "OD", "A", "A", True],
        [2, "OS", "N", "G", False],
    ]
    assert table["hour"].tolist() == [20] * 4  # noon in UTC, by the clinic's clock
    assert text["minutes_to_ai"].tolist() == table["minutes_to_ai"].tolist() == [1.0] * 4


def test_the_parquet_file_says_what_its_columns_mean(tmp_path: Path):
    tables_of([a_record(1)], tmp_path)

    fields = parquet.read_schema(tmp_path / f"{DAY}.parquet")

    assert {field.name: field.metadata[b"description"].decode() for field in fields} == {name: told for name, (_, told) in COLUMNS.items()}


def test_no_row_leads_to_a_person(tmp_path: Path):
    tables_of([with_camera(a_record(1), "张三的相机")], tmp_path)

    content = (tmp_path / f"{DAY}.csv").read_text("utf-8-sig") + str(parquet.read_table(tmp_path / f"{DAY}.parquet").to_pylist())

    assert not any(secret in content for secret in ("case-1", "P2025001", "测试甲", "唐医生", "visit/", "张三", "高度近视"))


def test_a_cameras_name_is_no_formula(tmp_path: Path):
    text, table = tables_of([with_camera(a_record(number), "=1+1") for number in range(10)], tmp_path)

    assert set(text["camera"]) == {"'=1+1"}
    assert set(table["camera"]) == {"=1+1"}


def test_an_empty_day_has_empty_tables(tmp_path: Path):
    text, table = tables_of([], tmp_path)

    assert (len(text), len(table)) == (0, 0)
    assert list(table.columns) == list(COLUMNS)


def test_the_same_report_is_the_same_pdf(tmp_path: Path):
    records = MemoryRecords()
    records.add_case(a_case(), b"{}")
    records.add_diagnosis(a_diagnosis(), [])

    once, again = (
        files.read(write_day(records, DAY, zone=ZONE, files=files, at=AT)[1].file("pdf"))
        for files in (FolderFiles(tmp_path / "a"), FolderFiles(tmp_path / "b"))
    )

    assert once == again
    assert once.startswith(b"%PDF")


def test_a_reason_that_no_font_can_show_spoils_no_pdf(tmp_path: Path):
    records = MemoryRecords()
    reason = "bad fields: 🙈\u0000\u202e#let x = 1"
    records.add_rejection(Rejection(source_queue="q", message_id=None, body_sha256="0" * 64, reason=reason, rejected_at=NOON))

    pages = write_day(records, DAY, zone=ZONE, files=FolderFiles(tmp_path), at=AT)[1]

    assert (tmp_path / pages.file("pdf")).read_bytes().startswith(b"%PDF")


def test_a_day_is_counted_again_only_when_another_case_was_read(tmp_path: Path):
    records, tallies = MemoryRecords(), None
    for number in range(3):
        records.add_case(a_case(f"case-{number}"), b"{}")
    records.add_diagnosis(a_diagnosis("case-0"), [])
    tallies = Tallies(FolderFiles(tmp_path), records)

    first = tallies.of(DAY, MIDNIGHT, NEXT)
    kept = (tmp_path / "daily/tallies" / f"{DAY}.json").stat().st_mtime_ns
    assert tallies.of(DAY, MIDNIGHT, NEXT) == first
    assert (tmp_path / "daily/tallies" / f"{DAY}.json").stat().st_mtime_ns == kept
    records.add_diagnosis(a_diagnosis("case-1"), [])

    assert [one.cases_read for one in tallies.of(DAY, MIDNIGHT, NEXT).values()] == [2]


@pytest.mark.parametrize("damage", ["", "{", '{"version": 1}'])
def test_a_damaged_tally_is_counted_again(tmp_path: Path, damage: str):
    records = MemoryRecords()
    records.add_case(a_case(), b"{}")
    records.add_diagnosis(a_diagnosis(), [])
    FolderFiles(tmp_path).write(f"daily/tallies/{DAY}.json", damage.encode())

    assert [one.cases_read for one in Tallies(FolderFiles(tmp_path), records).of(DAY, MIDNIGHT, NEXT).values()] == [1]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(cases=st.lists(st.tuples(st.sampled_from(("A", "N", "D3", None)), st.integers(0, 3), st.sampled_from(SAID)), max_size=6))
def test_a_report_from_what_is_kept_is_that_from_the_whole_records(tmp_path: Path, cases: list[tuple[str | None, int, str]]):
    (tmp_path / "records.db").unlink(missing_ok=True)
    records = open_records(f"sqlite:///{tmp_path}/records.db")
    for number, (right, steps, said) in enumerate(cases):
        case_id = f"case-{number}"
        records.add_case(a_case(case_id), b"{}")
        if steps > 0:
            records.add_diagnosis(a_diagnosis(case_id, right=right), [])
        if steps > 1:
            eyes = (EyeReview(eye=Laterality.RIGHT, diseases=(said,)),) if steps > 2 else ()
            records.add_review(a_review(case_id, review_id=case_id, conclusion=said).model_copy(update={"eyes": eyes}))

    kept = records.day_figures(since=MIDNIGHT, until=NEXT)
    whole = figures_of(records.case_records(since=MIDNIGHT, until=NEXT))
    records.close()

    assert count_day(frames_of(kept), [], day=DAY, at=AT) == count_day(frames_of(whole), [], day=DAY, at=AT)
