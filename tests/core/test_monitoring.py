"""What is watched: every number follows what is done in queue and records, and looking changes nothing."""

from collections import Counter
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eye_dx_core.monitoring import (
    ChampionState,
    DayState,
    Growth,
    Waiting,
    look_at_champion,
    look_at_day,
    look_at_disk,
    look_at_queue,
    look_at_records,
)
from eye_dx_core.queue.memory import MemoryQueue
from eye_dx_core.queue.port import DeadLetter, Message
from eye_dx_core.queue.topology import QueueNames
from eye_dx_core.records.memory import MemoryRecords
from eye_dx_core.records.outgoing import OutboxMessage
from eye_dx_core.registry.memory import MemoryRegistry
from eye_dx_core.registry.port import CHAMPION
from eye_dx_core.schema.case import Laterality
from eye_dx_core.schema.diagnosis import Outcome
from eye_dx_core.schema.report import GuardOutcome
from tests.builders import NOON, a_case, a_diagnosis, a_rejected_eye, a_report, a_review, an_eye_diagnosis
from tests.checkpoints import a_checkpoint

NAMES, HOUR, UTC = QueueNames(), timedelta(hours=1), ZoneInfo("UTC")


class Unread(MemoryQueue):
    """A queue that notices when somebody reads its messages, as RabbitMQ must hand them out for that."""

    def dead_letters(self, *, limit: int) -> tuple[DeadLetter, ...]:
        raise AssertionError("a look takes nothing")


def test_messages_are_counted_and_none_is_taken():
    queue = Unread(names=NAMES)
    for number in range(3):
        queue.publish(NAMES.screenings, Message(body=b"{}", message_id=f"m-{number}"))
    queue.reject(queue.receive(NAMES.screenings, limit=1)[0], reason="not JSON")

    first, second = look_at_queue(queue, NAMES), look_at_queue(queue, NAMES)

    assert first == second
    assert (first.depths[NAMES.screenings], first.dead) == (2, 1)
    assert len(queue.receive(NAMES.screenings, limit=9)) == 2
    assert Counter(first.roles.values()) == {"screenings": 3, "reviews": 2, "results": 4, "dead": 1}


def test_a_case_waits_for_one_thing_after_another_and_its_age_is_told():
    records = MemoryRecords()
    records.add_case(a_case(), b"{}")
    steps = (
        lambda: records.add_diagnosis(
            a_diagnosis(), [OutboxMessage(message_id="m", case_id="case-1", queue="q", type="t", body=b"{}", created_at=NOON + HOUR)]
        ),
        lambda: records.add_review(a_review()),
        lambda: records.add_report(a_report(), []),
        lambda: records.mark_sent("m", sent_at=NOON + 2 * HOUR),
    )
    seen = [look_at_records(records, at=NOON + 3 * HOUR)]
    for step in steps:
        step()
        seen.append(look_at_records(records, at=NOON + 3 * HOUR))

    old, none = Waiting(count=1, oldest_seconds=3 * 3600), Waiting(count=0, oldest_seconds=0)
    assert [one.cases["diagnosis"] for one in seen] == [old, none, none, none, none]
    assert [one.cases["review"] for one in seen] == [none, old, none, none, none]
    assert [one.cases["report"] for one in seen] == [none, none, old, none, none]
    assert [one.unsent.oldest_seconds for one in seen] == [0, 2 * 3600, 2 * 3600, 2 * 3600, 0]
    assert [(one.census.diagnosed, one.census.reported) for one in seen] == [(0, 0), (1, 0), (1, 0), (1, 1), (1, 1)]


def test_an_urgent_case_is_overdue_after_its_hours():
    records = MemoryRecords()
    records.add_case(a_case(), b"{}")
    diagnosis = a_diagnosis()
    assert diagnosis.routing is not None
    records.add_diagnosis(diagnosis, [])
    due = NOON + timedelta(hours=diagnosis.routing.urgency.review_hours)

    before, after = (look_at_records(records, at=due + timedelta(minutes=minutes)) for minutes in (-1, 1))

    assert (before.overdue, before.overdue_urgent) == (0, 0)
    assert (after.overdue, after.overdue_urgent) == (1, 1)
    assert after.for_review[diagnosis.routing.urgency.value] == 1


def test_a_clock_that_was_set_back_makes_no_negative_age():
    records = MemoryRecords()
    records.add_case(a_case(), b"{}")

    assert look_at_records(records, at=NOON - HOUR).cases["diagnosis"].oldest_seconds == 0


def read_day(records: MemoryRecords) -> DayState:
    return look_at_day(records, zone=UTC, at=NOON + HOUR)


def test_the_day_counts_eyes_that_could_not_be_read_and_doctors_who_saw_it_otherwise():
    records = MemoryRecords()
    assert (read_day(records).ungradable_ratio, read_day(records).override_ratio) == (None, None)
    for number, eyes in enumerate(
        ((an_eye_diagnosis(Laterality.RIGHT), an_eye_diagnosis(Laterality.LEFT, "N")), (a_rejected_eye(Laterality.RIGHT),))
    ):
        records.add_case(a_case(f"case-{number}"), b"{}")
        records.add_diagnosis(a_diagnosis(f"case-{number}").model_copy(update={"eyes": eyes}), [])
    records.add_review(a_review("case-0", conclusion="白内障"))
    records.add_report(a_report("case-0").model_copy(update={"guard": GuardOutcome.REFUSED}), [])

    day = read_day(records)

    assert day.cases == {"received": 2, "diagnosed": 2, "reviewed": 1, "reported": 1}
    assert day.eyes == {Outcome.ASSESSED: 2, Outcome.UNCERTAIN: 0, Outcome.NOT_ASSESSED: 1}
    assert day.ungradable_ratio == pytest.approx(1 / 3)
    assert (day.compared, day.overridden, day.override_ratio) == (1, 1, 1.0)
    assert day.guard == dict.fromkeys(GuardOutcome, 0) | {GuardOutcome.REFUSED: 1}


def test_the_day_begins_at_the_clinics_midnight():
    records = MemoryRecords()
    for number, hours in enumerate((-20, -21)):  # 16:00 and 15:00 UTC the day before: midnight and 23 o'clock in Shanghai
        records.add_case(a_case(f"case-{number}").model_copy(update={"received_at": NOON + hours * HOUR}), b"{}")

    day = look_at_day(records, zone=ZoneInfo("Asia/Shanghai"), at=NOON)

    assert (day.cases["received"], day.day.isoformat()) == (1, "2026-03-02")


def test_the_champion_is_named_or_missing(tmp_path: Path):
    registry = MemoryRegistry(tmp_path / "registry")
    assert look_at_champion(registry) == ChampionState()
    version = registry.add_candidate(a_checkpoint(tmp_path / "checkpoint"), metrics={}, tags={})
    assert look_at_champion(registry).version is None

    registry.set_alias(CHAMPION, version.version)

    assert look_at_champion(registry) == ChampionState(version=version.version, checkpoint_sha256=version.checkpoint_sha256)
    assert len(version.checkpoint_sha256) == 64


def test_the_disk_has_room(tmp_path: Path):
    disk = look_at_disk(tmp_path)

    assert 0 < disk.free_bytes <= disk.size_bytes


def test_a_counter_begins_at_nothing_and_never_falls_when_a_patient_is_erased():
    growth = Growth()

    assert [growth.see(count) for count in (100, 100, 103, 90, 92)] == [0, 0, 3, 3, 5]


@given(st.lists(st.integers(min_value=0, max_value=1000)))
def test_a_counter_never_falls_whatever_is_counted(counts: list[int]):
    growth = Growth()
    told = [growth.see(count) for count in counts]

    assert told == sorted(told)
    assert all(rise >= 0 for rise in told)
