"""Every adapter of the port `Records` keeps the same promises."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from uuid import uuid4

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, event, insert, make_url, select

from eye_dx_core.errors import ConflictingMessage, NotFound, ServiceUnavailable, Unstorable
from eye_dx_core.records import migrating
from eye_dx_core.records.audit import AuditEvent
from eye_dx_core.records.engine import one_at_a_time, open_engine, writing
from eye_dx_core.records.outgoing import OutboxMessage
from eye_dx_core.records.port import FARTHEST_SECONDS, MAX_ATTEMPTS, Backlog, Records, Rejection, Runs, Work, pause_after
from eye_dx_core.records.sql import SqlRecords
from eye_dx_core.records.tables import cases, metadata, outbox
from eye_dx_core.schema.case import WireFormat
from tests.builders import NOON, a_case, a_diagnosis, a_patient, a_report, a_review
from tests.services import open_records, own_postgres

DAY = timedelta(days=1)
PROJECT = Path(__file__).parents[2]


class Clock:
    """The wall clock of the process that a test can turn."""

    def __init__(self) -> None:
        self._shift = 0.0

    def advance(self, seconds: float) -> None:
        self._shift += seconds

    def time(self) -> float:
        return time.monotonic() + 1_770_000_000 + self._shift


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    turned = Clock()
    for module in ("memory", "sql"):
        monkeypatch.setattr(f"eye_dx_core.records.{module}.time", turned)
    return turned


def an_announcement(case_id: str = "case-1", kind: str = "ai-result") -> OutboxMessage:
    return OutboxMessage(message_id=f"{kind}-{case_id}", case_id=case_id, queue="eye_dx_ai_results", type=kind, body=b"{}", created_at=NOON)


def add_announced(records: Records, case_id: str, *kinds: str) -> None:
    """A case with a diagnosis and messages that announce it."""
    records.add_case(a_case(case_id), b"{}")
    records.add_diagnosis(a_diagnosis(case_id), [an_announcement(case_id, kind) for kind in kinds or ("ai-result",)])


def ids(messages: Sequence[OutboxMessage]) -> list[str]:
    return [message.message_id for message in messages]


def test_a_case_comes_back_as_it_was_stored(records: Records):
    case = a_case()

    assert records.add_case(case, b"{}") is True
    assert records.get_case("case-1") == case


def test_a_case_keeps_the_runs_that_were_the_first_to_do_each_step(records: Records):
    for run in ("first", "again"):
        records.add_case(a_case(), b"{}", run_id=f"{run}-drain")
        records.add_diagnosis(a_diagnosis(), [], run_id=f"{run}-read")
    records.add_review(a_review())
    assert records.get_case_record("case-1").runs == Runs(took_in="first-drain", read="first-read", wrote=None)

    records.add_report(a_report(), [], run_id="first-report")
    records.add_report(a_report(), [], run_id="again-report")

    assert [one.runs for one in records.case_records(since=NOON, until=NOON + DAY)] == [
        Runs(took_in="first-drain", read="first-read", wrote="first-report")
    ]


def test_what_was_done_by_command_line_names_no_run(records: Records):
    records.add_case(a_case(), b"{}")
    records.add_diagnosis(a_diagnosis(), [])

    assert records.get_case_record("case-1").runs == Runs()


def test_a_message_sent_twice_is_one_case(records: Records):
    assert [records.add_case(a_case(), b"{}"), records.add_case(a_case(), b"{}")] == [True, False]


def test_a_message_id_with_another_body_is_a_conflict(records: Records):
    records.add_case(a_case(), b"{}")

    with pytest.raises(ConflictingMessage, match="another body"):
        records.add_case(a_case().model_copy(update={"body_sha256": "1" * 64}), b"{}")


def test_what_a_later_message_does_not_tell_of_a_person_is_kept(records: Records):
    records.add_case(a_case(), b"{}")
    silent = a_patient().model_copy(update={"name": None, "phone": "13900139000"})
    second = a_case("case-2")
    records.add_case(second.model_copy(update={"screening": second.screening.model_copy(update={"patient": silent})}), b"{}")

    patient = records.get_case("case-1").screening.patient

    assert patient is not None
    assert (patient.name, patient.phone) == ("测试甲", "13900139000")


def test_an_unknown_case_is_not_found(records: Records):
    with pytest.raises(NotFound, match="case-9"):
        records.get_case("case-9")
    with pytest.raises(NotFound):
        records.add_review(a_review("case-9"))


def test_a_partners_id_finds_its_newest_case(records: Records):
    for number, at in (("1", NOON), ("2", NOON + DAY)):
        case = a_case(f"case-{number}", wire=WireFormat.FOUR_QUEUE)
        records.add_case(case.model_copy(update={"external_id": "abc", "received_at": at}), b"{}")

    here = ("eye_dx_screenings",)
    assert records.find_case_id(external_id="abc", source_queues=here) == "case-2"
    assert records.find_case_id(external_id="xyz", source_queues=here) is None
    assert records.find_case_id(external_id="abc", source_queues=("check_queue",)) is None


def test_an_id_that_two_senders_use_is_nobodys(records: Records):
    for producer in ("a", "b"):
        case = a_case(f"case-{producer}", wire=WireFormat.FOUR_QUEUE)
        records.add_case(case.model_copy(update={"external_id": "abc", "producer": producer}), b"{}")

    with pytest.raises(ConflictingMessage, match="name the case by case_id"):
        records.find_case_id(external_id="abc", source_queues=("eye_dx_screenings",))


def test_a_claimed_case_is_not_claimed_again_before_its_lease_runs_out(records: Records):
    records.add_case(a_case(), b"{}")

    assert [case.case_id for case in records.claim_undiagnosed(limit=5, lease_seconds=0.2)] == ["case-1"]
    assert records.claim_undiagnosed(limit=5, lease_seconds=60) == ()
    time.sleep(0.3)
    assert [case.case_id for case in records.claim_undiagnosed(limit=5, lease_seconds=60)] == ["case-1"]


def test_oldest_cases_are_claimed_first(records: Records):
    for number, at in (("2", NOON + DAY), ("1", NOON), ("3", NOON + 2 * DAY)):
        records.add_case(a_case(f"case-{number}").model_copy(update={"received_at": at}), b"{}")

    assert [case.case_id for case in records.claim_undiagnosed(limit=2, lease_seconds=60)] == ["case-1", "case-2"]


def test_a_case_that_was_tried_before_is_claimed_alone(records: Records):
    for number, at in (("1", NOON), ("2", NOON + DAY), ("3", NOON + 2 * DAY), ("4", NOON + 3 * DAY)):
        records.add_case(a_case(f"case-{number}").model_copy(update={"received_at": at}), b"{}")
    records.claim_undiagnosed(limit=2, lease_seconds=0)  # its reader dies

    claims = [[case.case_id for case in records.claim_undiagnosed(limit=4, lease_seconds=60)] for _ in range(4)]
    assert claims == [["case-1"], ["case-2"], ["case-3", "case-4"], []]


def test_a_released_case_is_free_at_once_and_the_claim_does_not_count(records: Records):
    records.add_case(a_case(), b"{}")
    for _ in range(MAX_ATTEMPTS + 1):
        records.claim_undiagnosed(limit=1, lease_seconds=60)
        records.release_case("case-1")

    assert len(records.claim_undiagnosed(limit=1, lease_seconds=60)) == 1


def test_a_case_released_for_later_waits_until_then(records: Records):
    records.add_case(a_case(), b"{}")
    records.claim_undiagnosed(limit=1, lease_seconds=60)
    records.release_case("case-1", after_seconds=60)

    assert records.claim_undiagnosed(limit=1, lease_seconds=60) == ()
    assert records.get_case_record("case-1").attempts == 0


def test_a_case_that_keeps_failing_is_stuck_and_no_longer_handed_out(records: Records):
    records.add_case(a_case(), b"{}")
    for _ in range(MAX_ATTEMPTS):
        records.claim_undiagnosed(limit=1, lease_seconds=0)

    assert records.claim_undiagnosed(limit=1, lease_seconds=0) == ()
    backlog = records.backlog()
    assert (backlog.stuck, backlog.undiagnosed, records.find_work().to_diagnose) == (1, 1, False)
    assert records.rearm_stuck() == 1
    assert len(records.claim_undiagnosed(limit=1, lease_seconds=0)) == 1


def test_a_case_has_one_diagnosis_and_its_announcement(records: Records):
    records.add_case(a_case(), b"{}")

    assert records.add_diagnosis(a_diagnosis(), [an_announcement()]) is True
    assert records.add_diagnosis(a_diagnosis(), [an_announcement()]) is False
    assert records.find_diagnosis("case-1") == a_diagnosis()
    assert records.claim_unsent(limit=10, lease_seconds=60) == (an_announcement(),)


def test_a_case_goes_from_diagnosis_over_review_to_report(records: Records):
    records.add_case(a_case(), b"{}")
    assert records.claim_unreported(limit=1, lease_seconds=60) == ()

    records.add_diagnosis(a_diagnosis(), [])
    records.add_review(a_review())
    assert [case.case_id for case in records.claim_unreported(limit=1, lease_seconds=60)] == ["case-1"]
    assert records.add_report(a_report(), [an_announcement(kind="report")]) is True

    assert records.claim_unreported(limit=1, lease_seconds=60) == ()
    assert records.add_report(a_report(), []) is False
    assert records.find_report("case-1") == a_report()


def test_a_review_may_come_before_the_diagnosis(records: Records):
    records.add_case(a_case(), b"{}")
    records.add_review(a_review())
    records.add_diagnosis(a_diagnosis(), [])

    assert len(records.claim_unreported(limit=1, lease_seconds=60)) == 1


def test_the_newest_review_counts_until_the_report_is_written(records: Records):
    records.add_case(a_case(), b"{}")
    records.add_diagnosis(a_diagnosis(), [])
    assert records.add_review(a_review()) is True
    assert records.add_review(a_review()) is False
    records.add_review(a_review(review_id="review-2", conclusion="白内障"))
    assert records.find_review("case-1") == a_review(review_id="review-2", conclusion="白内障")

    records.add_report(a_report(), [])
    with pytest.raises(ConflictingMessage, match="report already"):
        records.add_review(a_review(review_id="review-3"))


def test_a_review_id_with_other_content_is_a_conflict(records: Records):
    records.add_case(a_case(), b"{}")
    records.add_review(a_review())

    with pytest.raises(ConflictingMessage):
        records.add_review(a_review(conclusion="白内障"))


def test_an_outbox_message_waits_until_it_is_marked_sent(records: Records):
    add_announced(records, "case-1")
    assert records.claim_unsent(limit=1, lease_seconds=0) == (an_announcement(),)
    assert records.find_work().to_send is True

    records.mark_sent("ai-result-case-1", sent_at=NOON)

    assert records.claim_unsent(limit=1, lease_seconds=0) == ()
    assert records.find_work().to_send is False
    records.mark_failed("ai-result-case-1", reason="too late")  # by somebody whose lease was over
    records.mark_sent("ai-result-case-1", sent_at=NOON + DAY)
    (sent,) = records.get_case_record("case-1").outbox
    assert (sent.sent_at, sent.attempts, sent.last_error) == (NOON, 1, None)


def test_a_claimed_message_is_given_to_nobody_else_until_it_is_released_or_its_lease_is_over(records: Records, clock: Clock):
    add_announced(records, "case-1")
    add_announced(records, "case-2")

    assert ids(records.claim_unsent(limit=1, lease_seconds=60)) == ["ai-result-case-1"]
    assert ids(records.claim_unsent(limit=9, lease_seconds=60)) == ["ai-result-case-2"]
    assert (records.claim_unsent(limit=9, lease_seconds=60), records.find_work().to_send) == ((), False)
    records.release_messages(["ai-result-case-2"])
    assert records.find_work().to_send is True
    assert ids(records.claim_unsent(limit=9, lease_seconds=60)) == ["ai-result-case-2"]
    clock.advance(61)
    (first, second) = records.claim_unsent(limit=9, lease_seconds=60)
    assert (first.message_id, second.message_id) == ("ai-result-case-1", "ai-result-case-2")
    assert (first.attempts, records.backlog().unsent) == (0, 2)


def test_the_next_message_of_a_case_goes_out_only_when_the_one_before_it_has(records: Records):
    add_announced(records, "case-1", "ai-result", "report")

    assert ids(records.claim_unsent(limit=9, lease_seconds=60)) == ["ai-result-case-1"]
    assert (records.claim_unsent(limit=9, lease_seconds=60), records.find_work().to_send) == ((), False)
    records.mark_sent("ai-result-case-1", sent_at=NOON)
    assert ids(records.claim_unsent(limit=9, lease_seconds=60)) == ["report-case-1"]
    records.mark_sent("report-case-1", sent_at=NOON)
    records.release_messages(["report-case-1"])
    assert (records.claim_unsent(limit=9, lease_seconds=60), records.backlog().unsent) == ((), 0)


def test_what_failed_pauses_with_all_messages_of_its_case_and_never_holds_up_the_rest(records: Records, clock: Clock):
    for number in range(4):
        add_announced(records, f"case-{number}", *(("ai-result", "later") if number == 0 else ("ai-result",)))
    for number in (0, 1):
        records.mark_failed(f"ai-result-case-{number}", reason="no such queue")

    assert ids(records.claim_unsent(limit=10, lease_seconds=0)) == ["ai-result-case-2", "ai-result-case-3"]
    clock.advance(pause_after(1) + 1)
    order = ids(records.claim_unsent(limit=10, lease_seconds=0))
    assert order == ["ai-result-case-2", "ai-result-case-3", "ai-result-case-0", "ai-result-case-1"]
    assert ids(records.claim_unsent(limit=2, lease_seconds=0)) == ["ai-result-case-2", "ai-result-case-3"]
    assert records.get_case_record("case-1").outbox[0].attempts == 1
    assert records.get_case_record("case-1").outbox[0].last_error == "no such queue"


def test_several_that_deliver_at_once_get_no_message_twice(records: Records):
    for number in range(60):
        add_announced(records, f"case-{number:02}", "ai-result", "report")
    taken: list[list[str]] = [[] for _ in range(4)]

    def deliver(mine: list[str]) -> None:
        while claimed := records.claim_unsent(limit=5, lease_seconds=60):
            for message in claimed:
                mine.append(message.message_id)
                records.mark_sent(message.message_id, sent_at=NOON)

    threads = [threading.Thread(target=deliver, args=(mine,)) for mine in taken]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    deliver(taken[0])  # what came up behind another's message when all had looked

    sent = [message_id for mine in taken for message_id in mine]
    assert len(sent) == len(set(sent)) == 120
    assert records.backlog().unsent == 0


def test_a_message_erased_while_it_is_sent_is_let_be(records: Records):
    add_announced(records, "case-1")
    (claimed,) = records.claim_unsent(limit=1, lease_seconds=60)
    erased = AuditEvent(at=NOON, actor="test", action="erase", subject="p")
    assert records.erase_patient("P2025001", erased) == ("case-1",)

    records.mark_failed(claimed.message_id, reason="no such queue")
    records.mark_sent(claimed.message_id, sent_at=NOON)
    records.release_messages([claimed.message_id])

    assert records.backlog().unsent == 0


def test_pauses_grow_and_end_at_an_hour():
    assert [pause_after(attempts) for attempts in (1, 2, 3, 99)] == [30, 60, 120, 3600]


def test_the_messages_of_a_case_keep_their_order_when_the_clock_goes_back(records: Records):
    records.add_case(a_case(), b"{}")
    records.add_diagnosis(a_diagnosis(), [an_announcement()])
    records.add_review(a_review())
    records.add_report(a_report(), [an_announcement(kind="report").model_copy(update={"created_at": NOON - DAY})])

    (first,) = records.claim_unsent(limit=2, lease_seconds=60)
    records.mark_sent(first.message_id, sent_at=NOON)
    (second,) = records.claim_unsent(limit=2, lease_seconds=60)
    assert (first.type, second.type) == ("ai-result", "report")


def test_a_claim_from_before_the_clock_went_back_is_over(records: Records, clock: Clock):
    records.add_case(a_case(), b"{}")
    records.claim_undiagnosed(limit=1, lease_seconds=60)

    clock.advance(-2 * FARTHEST_SECONDS)

    assert records.find_work().to_diagnose
    assert len(records.claim_undiagnosed(limit=1, lease_seconds=60)) == 1


def test_a_value_that_the_database_cannot_hold_is_not_taken_for_an_outage(records: Records):
    rejection = Rejection(source_queue="q", message_id="\x00", body_sha256="0" * 64, reason="r", rejected_at=NOON)
    if isinstance(records, SqlRecords) and records._engine.dialect.name == "postgresql":
        with pytest.raises(Unstorable):
            records.add_rejection(rejection)
    else:
        records.add_rejection(rejection)  # the others hold it


def test_case_records_hold_everything_in_order_of_receipt(records: Records):
    for number, at in (("2", NOON + timedelta(hours=1)), ("1", NOON), ("3", NOON + DAY)):
        records.add_case(a_case(f"case-{number}").model_copy(update={"received_at": at}), b"{}")
    records.add_diagnosis(a_diagnosis("case-1"), [an_announcement("case-1")])
    records.add_review(a_review("case-1"))

    found = list(records.case_records(since=NOON, until=NOON + DAY))

    assert [record.case.case_id for record in found] == ["case-1", "case-2"]
    assert found[0] == records.get_case_record("case-1")
    assert (found[0].diagnosis, found[0].review, found[0].outbox) == (a_diagnosis(), a_review(), (an_announcement(),))


def test_times_come_back_aware_and_in_utc(records: Records):
    shanghai = timezone(timedelta(hours=8))
    records.add_case(a_case().model_copy(update={"received_at": datetime(2026, 3, 2, 20, 0, tzinfo=shanghai)}), b"{}")
    records.add_rejection(Rejection(source_queue="q", message_id=None, body_sha256="0" * 64, reason="not JSON", rejected_at=NOON))

    assert records.get_case("case-1").received_at == NOON
    assert [one.rejected_at.tzinfo for one in records.rejections(since=NOON, until=NOON + DAY)] == [UTC]
    assert records.rejections(since=NOON + DAY, until=NOON + 2 * DAY) == ()


def test_the_backlog_counts_each_case_where_it_waits(records: Records):
    for number in range(4):
        records.add_case(a_case(f"case-{number}"), b"{}")
    for number in range(3):
        records.add_diagnosis(a_diagnosis(f"case-{number}"), [an_announcement(f"case-{number}")])
    for number in range(2):
        records.add_review(a_review(f"case-{number}", review_id=f"review-{number}"))
    records.add_report(a_report("case-0"), [])
    records.claim_undiagnosed(limit=1, lease_seconds=60)

    backlog = records.backlog()

    assert (backlog.undiagnosed, backlog.unreviewed, backlog.unreported, backlog.unsent, backlog.stuck) == (1, 1, 1, 3, 0)
    assert (backlog.oldest_undiagnosed_at, backlog.oldest_unsent_at, backlog.last_taken_at) == (NOON, NOON, NOON)
    assert (backlog.oldest_unreviewed_at, backlog.oldest_unreported_at) == (NOON, NOON)
    assert records.find_work() == Work(to_diagnose=False, to_report=True, to_send=True)


def test_the_backlog_tells_since_when_the_oldest_waits_and_nothing_where_none_does(records: Records):
    assert records.backlog() == Backlog(undiagnosed=0, unreviewed=0, unreported=0, unsent=0, stuck=0)
    for number, hours in ((0, 2), (1, 1), (2, 3)):
        records.add_case(a_case(f"case-{number}").model_copy(update={"received_at": NOON + hours * timedelta(hours=1)}), b"{}")
        records.add_diagnosis(a_diagnosis(f"case-{number}"), [])
    records.add_review(a_review("case-1"))

    backlog = records.backlog()

    assert (backlog.oldest_undiagnosed_at, backlog.oldest_unsent_at) == (None, None)
    assert backlog.oldest_unreviewed_at == NOON + timedelta(hours=2)
    assert backlog.oldest_unreported_at == NOON + timedelta(hours=1)


def test_the_census_counts_what_is_stored_and_whom_it_forgot_no_more(records: Records):
    for number in range(3):
        records.add_case(a_case(f"case-{number}"), b"{}")
    for number in range(2):
        records.add_diagnosis(a_diagnosis(f"case-{number}"), [])
    records.add_review(a_review("case-0"))
    records.add_report(a_report("case-0"), [])

    counted = records.census()

    assert (counted.cases, counted.diagnosed, counted.reported) == (3, 2, 1)
    assert counted.schema_revision == (migrating.HEAD if isinstance(records, SqlRecords) else "none")
    records.erase_patient("P2025001", AuditEvent(at=NOON, actor="a", action="erase", subject="P2025001"))
    assert records.census().cases == 0


def test_two_workers_never_claim_one_case(records: Records):
    for number in range(40):
        records.add_case(a_case(f"case-{number:02}"), b"{}")
    claimed: list[str] = []

    def work() -> None:
        while cases := records.claim_undiagnosed(limit=3, lease_seconds=60):
            claimed.extend(case.case_id for case in cases)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    assert sorted(claimed) == [f"case-{number:02}" for number in range(40)]


def test_the_schema_is_made_once_by_processes_that_start_together(url: str):
    script = "import sys; sys.path.insert(0, '.'); from tests.services import open_records; open_records(sys.argv[1]).close()"
    starting = [subprocess.Popen([sys.executable, "-c", script, url], cwd=PROJECT) for _ in range(3)]

    assert [process.wait(60) for process in starting] == [0, 0, 0]


# Opens one new file after the other, each at the same moment as the other processes do.
OPEN_TOGETHER = """
import sys, time
from sqlalchemy import text
from eye_dx_core.records.engine import open_engine, writing, reading
for number in range(40):
    time.sleep(max(0, float(sys.argv[2]) + 0.03 * number - time.time()))
    engine = open_engine(f"sqlite:///{sys.argv[1]}/{number}.db")
    with reading(engine) as connection:
        connection.execute(text("SELECT * FROM sqlite_master")).all()
    engine.dispose()
"""


def test_who_waited_long_enough_for_another_start_goes_on_and_locks_of_other_names_are_free(url: str):
    open_records(url).close()
    first, second = open_engine(url), open_engine(url)
    with one_at_a_time(first, "registry"):
        began = time.monotonic()
        with one_at_a_time(second, "registry", seconds=0.5):
            assert time.monotonic() - began > 0.4
        with one_at_a_time(second, "schema"):
            pass
    first.dispose()
    second.dispose()


def test_processes_that_open_a_new_file_at_once_wait_for_each_other(tmp_path: Path):
    command = [sys.executable, "-c", OPEN_TOGETHER, str(tmp_path), str(time.time() + 2)]
    opening = [subprocess.Popen(command) for _ in range(4)]

    assert [process.wait(60) for process in opening] == [0] * 4


def test_the_migrations_make_the_tables_we_declare(url: str):
    open_records(url).close()
    engine = open_engine(url)
    with engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), metadata)
    engine.dispose()

    assert differences == []


def test_the_head_we_check_for_is_the_newest_migration():
    folder = Path(migrating.__file__).parent / "migrations"

    assert ScriptDirectory(str(folder)).get_current_head() == migrating.HEAD


def test_a_killed_writer_leaves_each_diagnosis_with_its_announcement(url: str):
    records = open_records(url)
    for number in range(200):
        records.add_case(a_case(f"case-{number:03}"), b"{}")
    script = (
        "import sys; sys.path.insert(0, '.')\n"
        "from tests.services import open_records\n"
        "from tests.builders import a_diagnosis\n"
        "from tests.contract.test_records import an_announcement\n"
        "records = open_records(sys.argv[1])\n"
        "for n in range(200):\n"
        "    records.add_diagnosis(a_diagnosis(f'case-{n:03}'), [an_announcement(f'case-{n:03}')]); print(n, flush=True)\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", script, url], stdout=subprocess.PIPE, cwd=PROJECT)
    assert writer.stdout is not None
    for _ in range(30):
        writer.stdout.readline()
    os.kill(writer.pid, signal.SIGKILL)
    writer.wait()
    writer.stdout.close()

    found = list(records.case_records(since=NOON, until=NOON + DAY))

    assert 30 <= sum(record.diagnosis is not None for record in found) < 200
    assert all(len(record.outbox) == (record.diagnosis is not None) for record in found)
    records.close()


def test_an_unreachable_database_is_unavailable_and_the_text_holds_no_password():
    with pytest.raises(ServiceUnavailable) as caught:
        open_records("postgresql+psycopg://someone:geheim@127.0.0.1:1/none")

    assert "geheim" not in str(caught.value)
    assert caught.value.is_transient


@pytest.mark.service
@pytest.mark.parametrize(("wrong", "words"), [({"database": "nowhere"}, "createdb"), ({"username": "nobody_here"}, "is refused")])
def test_whom_postgresql_does_not_let_in_is_told_why(wrong: dict[str, str], words: str):
    with own_postgres() as url, pytest.raises(ServiceUnavailable, match=words) as caught:
        open_records(make_url(url).set(password="geheim", **wrong).render_as_string(hide_password=False))

    assert "geheim" not in str(caught.value)


@pytest.mark.service
def test_whose_database_belongs_to_another_is_told_so():
    with own_postgres() as url:
        owner, guest = create_engine(url, isolation_level="AUTOCOMMIT"), f"guest_{uuid4().hex[:8]}"
        with owner.connect() as connection:
            connection.exec_driver_sql(f"CREATE ROLE {guest} LOGIN")
            try:
                with pytest.raises(ServiceUnavailable, match="must belong to this user"):
                    open_records(make_url(url).set(username=guest).render_as_string(hide_password=False))
            finally:
                connection.exec_driver_sql(f"DROP ROLE {guest}")
        owner.dispose()


def test_what_runs_and_sensors_ask_reads_an_index_however_much_is_stored(url: str):
    """Many reported cases, as after years; the questions are caught as they are asked."""
    records = open_records(url)
    records.add_case(a_case(), b"{}")
    engine, asked = records._engine, list[tuple[str, object]]()
    with writing(engine) as connection:
        row = dict(connection.execute(select(cases)).mappings().one())
        done = {"state": "reported"}
        connection.execute(
            insert(cases), [row | done | {"case_id": f"c{n}", "message_id": f"m{n}", "external_id": f"x{n}"} for n in range(3000)]
        )
        sent = {"queue": "q", "type": "t", "sealed": b"", "position": 0, "created_at": NOON, "attempts": 1, "due_at": 0.0}
        connection.execute(
            insert(outbox), [sent | {"message_id": f"o{n}", "case_id": f"c{n}", "sent_at": NOON + n * DAY / 999} for n in range(3000)]
        )
        connection.exec_driver_sql("ANALYZE")

    event.listen(engine, "before_cursor_execute", lambda *given: asked.append((given[2], given[3])))
    records.find_work()
    records.claim_undiagnosed(limit=8, lease_seconds=60)
    records.claim_unreported(limit=1, lease_seconds=60)
    records.claim_unsent(limit=20, lease_seconds=60)
    records.find_case_id(external_id="x", source_queues=("q",))
    records.add_case(a_case(), b"{}")
    records.close()

    explain, slow = ("EXPLAIN QUERY PLAN ", "SCAN") if engine.dialect.name == "sqlite" else ("EXPLAIN ", "Seq Scan")
    looked = [(statement, given) for statement, given in asked if statement.startswith("SELECT")]
    assert len(looked) >= 6
    with engine.connect() as connection:
        for statement, given in looked:
            plan = [str(row[-1]) for row in connection.exec_driver_sql(explain + statement, given)]
            plan = [line for line in plan if "ix_outbox_attempts_created_at" not in line]  # it holds what is unsent alone
            assert not any(slow in line and ("cases" in line or "outbox" in line) for line in plan), (statement, plan)
    engine.dispose()
