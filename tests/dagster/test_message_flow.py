"""The asset that shows what waits, and its alarms: each raised, each quiet again once somebody has acted."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from eye_dx_core.errors import ServiceUnavailable
from eye_dx_core.message_flow import CLAIMS
from eye_dx_core.queue.announcing import announce_diagnosis
from eye_dx_core.queue.draining import drain_screenings
from eye_dx_core.queue.memory import MemoryQueue
from eye_dx_core.queue.outbox import deliver_outbox
from eye_dx_core.queue.port import Message
from eye_dx_core.queue.topology import QueueNames
from eye_dx_core.records.memory import MemoryRecords
from eye_dx_core.records.port import MAX_ATTEMPTS
from eye_dx_core.settings import Settings
from eye_dx_dagster.defs.diagnosis.jobs import utc_now
from eye_dx_dagster.defs.housekeeping.flow import message_flow
from tests.builders import a_case, a_diagnosis, a_nested_body
from tests.faults.tally import EVER

pytestmark = pytest.mark.filterwarnings("ignore::dagster.BetaWarning", "ignore::DeprecationWarning")
NAMES = QueueNames()


class Ward:
    """Queue and records on a Dagster instance, and what one look at them says."""

    def __init__(self, folder: Path, instance: dg.DagsterInstance) -> None:
        self.instance, self.settings = instance, Settings(state_dir=folder)
        self.queue, self.records = MemoryQueue(names=NAMES), MemoryRecords()

    def look(self, *, raises: bool = True) -> dg.ExecuteInProcessResult:
        given = {"settings": self.settings, "queue": self.queue, "records": self.records}
        return dg.materialize([message_flow], resources=given, instance=self.instance, raise_on_error=raises)

    def broken(self, result: dg.ExecuteInProcessResult) -> dict[str, tuple[str, str | None]]:
        checks = result.get_asset_check_evaluations()
        assert len(checks) == len(CLAIMS)
        return {check.check_name: (check.severity.value, check.description) for check in checks if not check.passed}


@pytest.fixture
def ward(tmp_path: Path) -> Iterator[Ward]:
    with dg.instance_for_test() as instance:
        yield Ward(tmp_path, instance)


def metadata(result: dg.ExecuteInProcessResult) -> dict[str, object]:
    (event,) = result.get_asset_materialization_events()
    return {name: one.value for name, one in event.step_materialization_data.materialization.metadata.items()}


def test_where_nothing_waits_every_claim_holds(ward: Ward):
    result = ward.look()

    assert ward.broken(result) == {}
    shown = metadata(result)
    assert (shown["waiting"], shown["dead_letters"], shown["oldest_unsent_minutes"]) == (0, 0, 0.0)
    assert str(shown["queues"]).count("\n") == 11  # a head, its line, and ten queues


def test_a_dead_letter_warns_with_its_reason_until_it_is_replayed(ward: Ward):
    ward.queue.publish(NAMES.screenings, Message(body=b'{"phone": "13800138000"', message_id="m-1"))
    drain_screenings(ward.queue, ward.records, names=NAMES, limit=10, now=utc_now)

    result = ward.look()

    assert ward.broken(result) == {"no_dead_letters": ("WARN", "1 dead letters, the oldest since 0 min (see `eye-dx queue dead`)")}
    assert "not JSON" in str(metadata(result)["set_aside"])
    ward.queue.replay_dead_letters(limit=10)
    assert ward.broken(ward.look()) == {}


def test_an_old_undelivered_result_is_an_error_until_it_is_sent(ward: Ward):
    case, diagnosis = a_case(), a_diagnosis()
    ward.records.add_case(case, b"{}")
    ward.records.add_diagnosis(diagnosis, [announce_diagnosis(case, diagnosis, names=NAMES, now=utc_now() - timedelta(hours=2, minutes=5))])

    result = ward.look()

    said = "1 unsent, the oldest since 2 h 5 min; the limit is 15 min"
    assert ward.broken(result) == {"every_result_is_delivered_in_time": ("ERROR", said)}
    assert metadata(result)["oldest_unsent_minutes"] == pytest.approx(125, abs=1)
    deliver_outbox(ward.queue, ward.records, now=utc_now)
    assert ward.broken(ward.look()) == {}


def test_a_case_that_waits_too_long_or_is_stuck_is_an_error(ward: Ward):
    ward.records.add_case(a_case().model_copy(update={"received_at": utc_now() - timedelta(days=1, hours=2)}), b"{}")
    said = ("ERROR", "1 undiagnosed, the oldest since 1 d 2 h; the limit is 15 min")
    assert ward.broken(ward.look()) == {"every_case_is_read_in_time": said}

    for _ in range(MAX_ATTEMPTS):
        assert ward.records.claim_undiagnosed(limit=1, lease_seconds=0)
    stuck = ("ERROR", "1 stuck: mend the cause, then `eye-dx records rearm`")
    assert ward.broken(ward.look()) == {"every_case_is_read_in_time": said, "no_case_is_stuck": stuck}

    ward.records.rearm_stuck()
    ward.records.add_diagnosis(a_diagnosis(), [])
    assert ward.broken(ward.look()) == {}


def test_a_case_that_came_now_raises_no_alarm(ward: Ward):
    ward.records.add_case(a_case().model_copy(update={"received_at": utc_now()}), b"{}")

    assert ward.broken(ward.look()) == {}


def test_what_does_not_answer_fails_the_run_and_shows_no_zeros(ward: Ward):
    class Silent(MemoryQueue):
        def depth(self, queue: str) -> int:
            raise ServiceUnavailable("RabbitMQ does not answer")

    ward.queue = Silent(names=NAMES)

    result = ward.look(raises=False)

    assert not result.success
    assert result.get_asset_materialization_events() == []
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert "RabbitMQ does not answer" in str(failure.step_failure_data.user_failure_data)


def test_dagster_is_told_of_no_person(ward: Ward):
    case, diagnosis = a_case(photos=("Name_of_patient_OD.jpg",)), a_diagnosis()
    ward.records.add_case(case, b"{}")
    ward.records.add_diagnosis(diagnosis, [announce_diagnosis(case, diagnosis, names=NAMES, now=utc_now())])
    ward.queue.publish(NAMES.screenings, Message(body='{"name": "测试甲", "phone": "13800138000"}'.encode(), message_id="of-测试甲"))
    drain_screenings(ward.queue, ward.records, names=NAMES, limit=10, now=utc_now)
    assert ward.queue.depth(NAMES.dead) == 1

    result = ward.look()

    said = " ".join(str(entry) for entry in ward.instance.all_logs(result.run_id))
    for secret in ("测试甲", "13800138000", "Name_of_patient", "P2025001"):
        assert secret not in said


def test_screenings_that_nobody_takes_in_are_an_error(ward: Ward):
    """The sensor is off, or a run hangs: what waits on a queue is in no record yet."""
    ward.queue.publish(NAMES.screenings, Message(body=a_nested_body(), message_id="m-1"))
    drain_screenings(ward.queue, ward.records, names=NAMES, limit=10, now=lambda: utc_now() - timedelta(hours=2))
    ward.records.add_diagnosis(a_diagnosis(next(ward.records.case_records(**EVER)).case.case_id), [])
    assert ward.broken(ward.look()) == {}

    ward.queue.publish(NAMES.screenings, Message(body=a_nested_body("P2"), message_id="m-2"))

    assert ward.broken(ward.look()) == {"every_screening_is_taken_in_time": ("ERROR", "1 wait; the last was taken in 2 h 0 min ago")}
    drain_screenings(ward.queue, ward.records, names=NAMES, limit=10, now=utc_now)
    assert "every_screening_is_taken_in_time" not in ward.broken(ward.look())
