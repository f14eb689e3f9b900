"""What comes by queue is stored before it is settled, and what cannot be understood is set aside."""

import json
import time
from datetime import timedelta

import pytest

from eye_dx_core.errors import ServiceUnavailable, Unroutable
from eye_dx_core.queue.announcing import announce_diagnosis
from eye_dx_core.queue.draining import DrainResult, drain_reviews, drain_screenings
from eye_dx_core.queue.memory import MemoryQueue
from eye_dx_core.queue.outbox import deliver_outbox
from eye_dx_core.queue.port import Delivery, Message
from eye_dx_core.queue.topology import QueueNames
from eye_dx_core.records.memory import MemoryRecords
from eye_dx_core.records.port import Rejection
from eye_dx_core.schema.case import Case
from tests.builders import NOON, a_case, a_diagnosis, a_nested_body, a_report

NAMES = QueueNames()
DAY = timedelta(days=1)


def now():
    return NOON


def a_queue(*messages: tuple[str, bytes, str | None]) -> MemoryQueue:
    queue = MemoryQueue(names=NAMES)
    for name, body, message_id in messages:
        queue.publish(name, Message(body=body, message_id=message_id))
    return queue


def drain(queue: MemoryQueue, records: MemoryRecords) -> DrainResult:
    return drain_screenings(queue, records, names=NAMES, limit=100, now=now)


def test_every_wire_format_is_drained():
    flat = json.dumps({"patient_id": "P2", "photos": ["OD.jpg"]}).encode()
    check = json.dumps({"id": "abc", "odFundusImg": "/a.jpg"}).encode()
    queue = a_queue((NAMES.screenings, a_nested_body(), "1"), (NAMES.flat_screenings, flat, None), (NAMES.partner_screenings, check, None))
    records = MemoryRecords()

    assert drain(queue, records) == DrainResult(new=3)
    assert len(records.claim_undiagnosed(limit=10, lease_seconds=60)) == 3
    assert sum(queue.depth(name) for name in NAMES.screening_queues) == 0


def test_unknown_fields_of_screenings_and_reviews_are_summed_up():
    screening = json.dumps({"patient_id": "P1", "shoe_size": 43, "photos": [{"location": "OD.jpg", "camera": "x"}]}).encode()
    review = json.dumps(json.loads(review_body("case-1")) | {"mood": "good"}).encode()
    queue = a_queue((NAMES.screenings, screening, "1"), (NAMES.screenings, a_nested_body(), "2"), (NAMES.reviews, review, "r"))
    records = MemoryRecords()
    records.add_case(a_case(), b"{}")

    assert drain(queue, records) == DrainResult(new=2, unknown_fields=2)
    assert drain_reviews(queue, records, names=NAMES, limit=10, now=now) == DrainResult(new=1, unknown_fields=1)


def test_a_message_sent_twice_is_stored_once():
    queue, records = a_queue((NAMES.screenings, a_nested_body(), "1"), (NAMES.screenings, a_nested_body(), "1")), MemoryRecords()

    assert drain(queue, records) == DrainResult(new=1, repeated=1)


def test_a_bad_message_is_set_aside_and_the_others_are_stored():
    queue = a_queue((NAMES.screenings, b"not json", "1"), (NAMES.screenings, a_nested_body(), "2"))
    records = MemoryRecords()

    assert drain(queue, records) == DrainResult(new=1, rejected=1)
    assert [letter.reason for letter in queue.dead_letters(limit=5)] == ["not JSON in UTF-8, or nested too deeply"]
    assert [one.reason for one in records.rejections(since=NOON, until=NOON + timedelta(1))] == ["not JSON in UTF-8, or nested too deeply"]


def test_one_id_with_two_bodies_is_an_incident():
    queue = a_queue((NAMES.screenings, a_nested_body("P1"), "1"), (NAMES.screenings, a_nested_body("P2"), "1"))

    assert drain(queue, MemoryRecords()) == DrainResult(new=1, rejected=1)
    assert "another body" in queue.dead_letters(limit=1)[0].reason


def test_a_message_is_acked_only_after_its_case_is_stored():
    class WatchedQueue(MemoryQueue):
        def ack(self, delivery: Delivery) -> None:
            assert records.backlog().undiagnosed == 1
            super().ack(delivery)

    queue, records = WatchedQueue(names=NAMES), MemoryRecords()
    queue.publish(NAMES.screenings, Message(body=a_nested_body()))

    assert drain(queue, records).new == 1
    assert queue.depth(NAMES.screenings) == 0


class DeadRecords(MemoryRecords):
    """Records whose database is down from the second case on."""

    def __init__(self) -> None:
        super().__init__()
        self.stored = 0

    def add_case(self, case: Case, raw: bytes, *, run_id: str | None = None) -> bool:
        self.stored += 1
        if self.stored > 1:
            raise ServiceUnavailable("the records did not answer")
        return super().add_case(case, raw, run_id=run_id)


def test_when_the_records_are_down_what_is_not_stored_is_given_back_as_if_it_had_not_been_taken():
    queue = a_queue(*((NAMES.screenings, a_nested_body(f"P{n}"), str(n)) for n in range(4)))

    with pytest.raises(ServiceUnavailable, match="the records did not answer"):
        drain(queue, DeadRecords())

    assert [(one.message.message_id, one.delivery_count) for one in queue.receive(NAMES.screenings, limit=9)] == [
        ("1", 1),
        ("2", 1),
        ("3", 1),
    ]
    assert queue.dead_letters(limit=1) == ()


def test_a_long_outage_of_the_records_uses_up_no_messages_delivery_limit():
    queue, records = a_queue((NAMES.screenings, a_nested_body(), "1")), DeadRecords()
    records.stored = 1

    for _ in range(20):
        with pytest.raises(ServiceUnavailable):
            drain(queue, records)

    assert drain(queue, MemoryRecords()) == DrainResult(new=1)


def test_when_the_queue_is_down_too_the_first_error_is_raised_and_the_second_logged(caplog: pytest.LogCaptureFixture):
    class DownQueue(MemoryQueue):
        def release(self, delivery: Delivery) -> None:
            raise ServiceUnavailable("the queue did not answer")

    queue, records = DownQueue(names=NAMES), DeadRecords()
    records.stored = 1
    queue.publish(NAMES.screenings, Message(body=a_nested_body()))

    with pytest.raises(ServiceUnavailable, match="the records did not answer"):
        drain(queue, records)
    assert "could not be given back and come again later: the queue did not answer" in caplog.text


def test_what_was_set_aside_before_the_records_went_down_is_not_given_back(caplog: pytest.LogCaptureFixture):
    class NoRejections(MemoryRecords):
        def add_rejection(self, rejection: Rejection) -> None:
            raise ServiceUnavailable("the records did not answer")

    queue = a_queue((NAMES.screenings, b"not json", "1"), (NAMES.screenings, a_nested_body(), "2"))

    with pytest.raises(ServiceUnavailable):
        drain(queue, NoRejections())
    assert (queue.depth(NAMES.screenings), queue.depth(NAMES.dead)) == (1, 1)
    assert "was settled or lost before it could be given back" in caplog.text


def test_a_message_that_trips_us_is_set_aside_and_its_batch_is_stored():
    class Tripping(MemoryRecords):
        def add_case(self, case: Case, raw: bytes, *, run_id: str | None = None) -> bool:
            if case.message_id == "1":
                raise OverflowError("测试甲")
            return super().add_case(case, raw, run_id=run_id)

    queue, records = a_queue(*((NAMES.screenings, a_nested_body(f"P{n}"), str(n)) for n in range(3))), Tripping()

    assert drain(queue, records) == DrainResult(new=2, rejected=1)
    (letter,) = queue.dead_letters(limit=5)
    assert letter.reason == "an error of ours (OverflowError); replay it after the fix"


def test_a_review_is_stored_with_what_the_ai_had_said():
    queue, records = a_queue((NAMES.reviews, review_body("case-1"), "r")), MemoryRecords()
    records.add_case(a_case(), b"{}")
    records.add_diagnosis(a_diagnosis(), [])

    assert drain_reviews(queue, records, names=NAMES, limit=10, now=now) == DrainResult(new=1)
    review = records.find_review("case-1")
    assert review is not None
    assert (review.conclusion, review.ai_conclusion, review.ai_model_version, review.source) == ("高度近视", "A", "3", "queue")


def test_two_producers_may_give_one_message_id_to_two_reviews():
    queue, records = a_queue(), MemoryRecords()
    for producer in ("a", "b"):
        head = {"schema": "eye-dx/review/1", "message_id": "r", "producer": producer}
        body = json.loads(review_body("case-1")) | {"recommendation": producer}
        queue.publish(NAMES.reviews, Message(body=json.dumps(head | {"body": body}).encode()))
    records.add_case(a_case(), b"{}")

    assert drain_reviews(queue, records, names=NAMES, limit=10, now=now) == DrainResult(new=2)


def test_a_review_of_a_reported_case_is_set_aside():
    queue, records = a_queue((NAMES.reviews, review_body("case-1"), "s")), MemoryRecords()
    records.add_case(a_case(), b"{}")
    records.add_report(a_report(), [])

    assert drain_reviews(queue, records, names=NAMES, limit=10, now=now) == DrainResult(rejected=1)
    assert [letter.reason for letter in queue.dead_letters(limit=5)] == ["case-1 has its report already"]


def test_a_partners_review_never_lands_on_another_senders_case():
    """Ids are each sender's own, and two senders that count use the same ones."""
    check = json.dumps({"id": "1024", "osFundusImg": "/a/OS.jpg"}).encode()
    flat = json.dumps({"patient_id": "P1", "id": 1024, "photos": ["OD.jpg"]}).encode()
    queue, records = a_queue((NAMES.partner_screenings, check, "c"), (NAMES.flat_screenings, flat, "f")), MemoryRecords()
    drain(queue, records)
    by_queue = {one.case.source_queue: one.case.case_id for one in records.case_records(since=NOON - DAY, until=NOON + DAY)}
    queue.publish(NAMES.partner_reviews, Message(body=json.dumps({"id": "1024", "osFundusDisease": "黄斑变性"}).encode()))

    assert drain_reviews(queue, records, names=NAMES, limit=10, now=now).new == 1

    assert records.find_review(by_queue[NAMES.partner_screenings]) is not None
    assert records.find_review(by_queue[NAMES.flat_screenings]) is None


def test_a_review_that_overtook_its_screening_waits_for_it():
    clock, records = [NOON], MemoryRecords()
    queue = MemoryQueue(names=NAMES, now=lambda: clock[0])
    queue.publish(NAMES.reviews, Message(body=review_body("case-1"), message_id="r"))

    assert drain_reviews(queue, records, names=NAMES, limit=10, now=now) == DrainResult(waiting=1)
    records.add_case(a_case(), b"{}")
    assert drain_reviews(queue, records, names=NAMES, limit=10, now=now) == DrainResult()
    clock[0] += timedelta(seconds=5)
    assert drain_reviews(queue, records, names=NAMES, limit=10, now=now) == DrainResult(new=1)


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        (NAMES.reviews, {"case_id": "case-9", "final_conclusion": "高度近视", "doctor_name": "唐医生"}),
        (NAMES.partner_reviews, {"id": "abc", "osFundusDisease": "黄斑变性"}),
    ],
)
def test_a_review_whose_case_never_comes_waits_longer_each_time_and_is_then_set_aside(name: str, fields: dict[str, str]):
    clock, records, waits = [NOON], MemoryRecords(), []
    queue = MemoryQueue(names=NAMES, delivery_limit=4, now=lambda: clock[0])
    queue.publish(name, Message(body=json.dumps(fields).encode(), message_id="r"))

    while (drained := drain_reviews(queue, records, names=NAMES, limit=10, now=now)) == DrainResult(waiting=1):
        waits.append(0)
        while not queue.depth(name):
            clock[0] += timedelta(seconds=1)
            waits[-1] += 1

    assert (drained, waits) == (DrainResult(rejected=1), [5, 20, 80])
    assert [letter.reason for letter in queue.dead_letters(limit=5)] == ["no case has this id"]
    assert [one.reason for one in records.rejections(since=NOON, until=NOON + timedelta(1))] == ["no case has this id"]


def test_the_outbox_is_marked_only_after_the_confirm():
    queue, records = MemoryQueue(names=NAMES), records_with_announcements("case-1")

    assert deliver_outbox(queue, records, now=now).sent == 1
    (delivery,) = queue.receive(NAMES.ai_results, limit=5)
    assert delivery.message.correlation_id == "case-1"
    assert delivery.message.timestamp == NOON
    assert records.backlog().unsent == 0
    assert deliver_outbox(queue, records, now=now).sent == 0


def test_what_nobody_takes_waits_and_the_rest_goes_out():
    class OneQueueMissing(MemoryQueue):
        def publish(self, queue: str, message: Message) -> None:
            if message.correlation_id == "case-1":
                raise Unroutable("no queue takes this message")
            super().publish(queue, message)

    records = records_with_announcements("case-1", "case-2")

    delivered = deliver_outbox(OneQueueMissing(names=NAMES), records, now=now)

    assert (delivered.sent, delivered.failed) == (1, 1)
    assert records.get_case_record("case-1").outbox[0].last_error == "no queue takes this message"
    assert (records.backlog().unsent, records.claim_unsent(limit=5, lease_seconds=60)) == (1, ())  # it waits for its pause to be over


def test_who_is_slower_than_the_lease_leaves_the_rest_to_others():
    records = records_with_announcements("case-1", "case-2", "case-3")
    others: list[str] = []

    class Slow(MemoryQueue):
        def publish(self, queue: str, message: Message) -> None:
            super().publish(queue, message)
            if not others:
                time.sleep(0.3)
                for taken in records.claim_unsent(limit=9, lease_seconds=60):
                    others.append(taken.case_id)
                    if taken.case_id != "case-1":
                        records.mark_sent(taken.message_id, sent_at=NOON)

    queue = Slow(names=NAMES)
    assert deliver_outbox(queue, records, now=now, lease_seconds=0.2).sent == 1

    assert others == ["case-1", "case-2", "case-3"]
    assert [one.message.correlation_id for one in queue.receive(NAMES.ai_results, limit=5)] == ["case-1"]
    assert records.backlog().unsent == 0


def test_what_a_broker_did_not_take_goes_out_as_soon_as_it_is_back():
    class Gone(MemoryQueue):
        def publish(self, queue: str, message: Message) -> None:
            if message.correlation_id == "case-2":
                raise ServiceUnavailable("the broker does not answer")
            super().publish(queue, message)

    records = records_with_announcements("case-1", "case-2", "case-3")

    with pytest.raises(ServiceUnavailable):
        deliver_outbox(Gone(names=NAMES), records, now=now)

    queue = MemoryQueue(names=NAMES)
    assert deliver_outbox(queue, records, now=now).sent == 2
    assert [one.message.correlation_id for one in queue.receive(NAMES.ai_results, limit=5)] == ["case-2", "case-3"]


def records_with_announcements(*case_ids: str) -> MemoryRecords:
    records = MemoryRecords()
    for case_id in case_ids:
        records.add_case(a_case(case_id), b"{}")
        records.add_diagnosis(a_diagnosis(case_id), [announce_diagnosis(a_case(case_id), a_diagnosis(case_id), names=NAMES, now=NOON)])
    return records


def review_body(case_id: str) -> bytes:
    return json.dumps({"case_id": case_id, "final_conclusion": "高度近视", "doctor_name": "唐医生"}).encode()
