"""The report of a day of 100,000 screenings from SQLite, on one core: counted from what is kept beside the cases, and from whole records.

The old way opens the four sealed documents of every case; both give the same report. Then a month of days
in one go, each a hundredth as busy.
"""

import argparse
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random
from typing import TypeVar
from zoneinfo import ZoneInfo

sys.path.insert(0, str(Path(__file__).parents[1]))

from sqlalchemy import insert

from eye_dx_core.files.folders import FolderFiles
from eye_dx_core.records.engine import open_engine, writing
from eye_dx_core.records.figures import VERSION, figures_of, write_kept
from eye_dx_core.records.outgoing import OutboxMessage
from eye_dx_core.records.port import CaseRecord
from eye_dx_core.records.rows import REPORTED, case_row, outbox_row
from eye_dx_core.records.sql import SqlRecords
from eye_dx_core.records.tables import cases, diagnoses, figures, outbox, reports, reviews
from eye_dx_core.reporting.daily.frames import frames_of
from eye_dx_core.reporting.daily.report import DailyReport, count_day
from eye_dx_core.reporting.daily.writing import report_of_day, write_day
from eye_dx_core.schema.case import Laterality
from eye_dx_core.schema.diagnosis import EvidenceMap
from eye_dx_core.schema.review import EyeReview
from eye_dx_core.vault import Vault, new_key
from tests.builders import a_case, a_diagnosis, a_report, a_review

DAY, ZONE = date(2026, 3, 2), ZoneInfo("Asia/Shanghai")
AT = datetime(2026, 4, 5, tzinfo=ZONE)
CODES = ("N", "N", "N", "N", "D", "D", "A", "C", "CSC", "G", "RP", "RVO")
CONCLUSIONS = tuple(
    f"{eye}：{name}" for eye in ("右眼", "左眼", "双眼") for name in ("未见明显异常", "白内障", "高度近视", "糖尿病视网膜病变")
)
T = TypeVar("T")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--screenings", type=int, default=100_000)
    parser.add_argument("--month", type=int, default=30, help="days of the backfill")
    args = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        url, vault = f"sqlite:///{folder}/records.db", Vault([new_key()])
        records = SqlRecords(url, vault=vault)
        _timed("writing the day", lambda: write_cases(url, vault, DAY, args.screenings))
        print(f"{(folder / 'records.db').stat().st_size / 1e6:.0f} MB")
        new, seconds = _timed("from what is kept", lambda: report_of_day(records, DAY, zone=ZONE, files=FolderFiles(folder), at=AT))
        _timed("with all its files", lambda: write_day(records, DAY, zone=ZONE, files=FolderFiles(folder), at=AT))
        old, old_seconds = _timed("from whole records", lambda: from_whole_records(records))
        print(f"{old_seconds / seconds:.1f} times as fast; {'the same report' if old == new else 'ANOTHER REPORT'}")
        for number in range(args.month):
            write_cases(url, vault, DAY + timedelta(days=1 + number), args.screenings // 100)
        backfill(records, folder, args.month)
        print(f"most memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")
        records.close()


def from_whole_records(records: SqlRecords) -> DailyReport:
    since = datetime(DAY.year, DAY.month, DAY.day, tzinfo=ZONE)
    whole = records.case_records(since=since, until=since + timedelta(days=1))
    return count_day(frames_of(figures_of(whole)), [], day=DAY, at=AT)


def backfill(records: SqlRecords, folder: Path, days: int) -> None:
    month = [DAY + timedelta(days=1 + number) for number in range(days)]

    def write_all() -> None:
        for day in month:
            write_day(records, day, zone=ZONE, files=FolderFiles(folder), at=AT)

    _timed(f"a backfill of {days} days", write_all)


def write_cases(url: str, vault: Vault, day: date, screenings: int) -> None:
    """Rows as the port would write them, many at a time; the documents are as long as real ones."""
    engine = open_engine(url)
    patterns = [a_record(Random(seed)) for seed in range(400)]
    rows: dict[object, list[dict[str, object]]] = {table: [] for table in (cases, diagnoses, reviews, reports, outbox, figures)}
    for number in range(screenings):
        add_rows(vault, rows, renamed(patterns[number % len(patterns)], day, number, screenings))
        if number % 5000 == 4999 or number == screenings - 1:
            with writing(engine) as connection:
                for table, waiting in rows.items():
                    connection.execute(insert(table), waiting)
                    waiting.clear()
    engine.dispose()


def add_rows(vault: Vault, rows: dict[object, list[dict[str, object]]], record: CaseRecord) -> None:
    seal, case_id = vault.seal, record.case.case_id
    diagnosis, review, report = record.diagnosis, record.review, record.report
    rows[cases].append(case_row(record.case, vault) | {"state": REPORTED})
    rows[diagnoses].append(
        {"case_id": case_id, "model_version": "3", "diagnosed_at": diagnosis.diagnosed_at, "sealed": seal(diagnosis.model_dump_json())}
    )
    rows[reviews].append(
        {"review_id": review.review_id, "case_id": case_id, "reviewed_at": review.reviewed_at, "position": 0}
        | {"sealed": seal(review.model_dump_json())}
    )
    rows[reports].append({"case_id": case_id, "written_at": report.written_at, "sealed": seal(report.model_dump_json())})
    rows[outbox] += [outbox_row(one, position, vault) for position, one in enumerate(record.outbox)]
    kept = seal(write_kept(record))
    rows[figures].append({"case_id": case_id, "state": REPORTED, "version": VERSION, "sealed": kept})


def a_record(random: Random) -> CaseRecord:
    """One visit: two eyes with evidence, a review by eye or by text, a report, two messages."""
    right, left = random.choice(CODES), random.choice(CODES)
    diagnosis = a_diagnosis("?", right=right, left=left)
    weights = tuple(random.randrange(256) for _ in range(14 * 14))
    evidence = EvidenceMap(rows=14, columns=14, weights=weights, deletion_score=1.0)
    eyes = tuple(
        eye.model_copy(
            update={
                "confidence": (sure := round(random.betavariate(8, 2), 4)),
                "photos": tuple(
                    one.model_copy(
                        update={"evidence": evidence, "confidence": sure, "distance": round(random.random(), 4), "camera": "Topcon NW400"}
                    )
                    for one in eye.photos
                ),
            }
        )
        for eye in diagnosis.eyes
    )
    said = [code if random.random() < 0.9 else random.choice(CODES) for code in (right, left)]
    by_eye = tuple(EyeReview(eye=eye, labels=(code,)) for eye, code in zip(Laterality, said, strict=True))
    review = a_review("?", conclusion=random.choice(CONCLUSIONS))
    review = review.model_copy(update={"eyes": by_eye if random.random() < 0.7 else ()})
    return CaseRecord(case=a_case("?"), diagnosis=diagnosis.model_copy(update={"eyes": eyes}), review=review, report=a_report("?"))


def renamed(record: CaseRecord, day: date, number: int, screenings: int) -> CaseRecord:
    case_id = f"{day}-{number}"
    at = (datetime(day.year, day.month, day.day, 8, tzinfo=ZONE) + timedelta(seconds=36_000 * number / screenings)).astimezone(UTC)
    later = [at + timedelta(seconds=seconds) for seconds in (20, 3000, 3040, 3045)]
    mine = {"case_id": case_id}
    messages = tuple(
        OutboxMessage(
            message_id=f"{kind}-{case_id}",
            case_id=case_id,
            queue="q",
            type=f"eye-dx/{kind}/1",
            body=b"{}" * 1000,
            created_at=at,
            sent_at=at,
        )
        for kind in ("ai-result", "report")
    )
    return CaseRecord.model_construct(
        case=record.case.model_copy(update=mine | {"message_id": case_id, "received_at": at}),
        diagnosis=record.diagnosis.model_copy(update=mine | {"diagnosed_at": later[0]}),
        review=record.review.model_copy(update=mine | {"review_id": case_id, "reviewed_at": later[1]}),
        report=record.report.model_copy(update=mine | {"report_id": case_id, "written_at": later[2]}),
        outbox=tuple(one.model_copy(update={"created_at": later[2], "sent_at": later[3]}) for one in messages),
        attempts=0,
    )


def _timed(what: str, act: Callable[[], T]) -> tuple[T, float]:
    started, cpu = time.perf_counter(), time.process_time()
    result = act()
    seconds = time.perf_counter() - started
    print(f"{what:40} {seconds:7.1f} s   ({time.process_time() - cpu:.1f} s of processor time)", flush=True)
    return result, seconds


if __name__ == "__main__":
    main()
