"""Takes waiting messages in: store, then settle; what cannot be understood is set aside with its reason."""

import logging
from collections.abc import Callable, Sequence
from datetime import datetime

from eye_dx_core.errors import BadMessage, NotFound, ServiceUnavailable, StaleDelivery
from eye_dx_core.logs import working_on
from eye_dx_core.queue.port import Delivery, Queue
from eye_dx_core.queue.topology import QueueNames
from eye_dx_core.records.port import Records, Rejection
from eye_dx_core.schema.frozen import Frozen
from eye_dx_core.schema.message import ReviewMessage, body_sha256, parse_review, parse_screening
from eye_dx_core.schema.review import DoctorReview

_log = logging.getLogger(__name__)
Clock = Callable[[], datetime]

# Small, so that a message is settled soon after it was taken.
_BATCH = 20

_NO_CASE = "no case has this id"
_FIRST_WAIT_SECONDS = 5


class DrainResult(Frozen):
    """What a drain did: new values stored, repeats settled, messages set aside, reviews that wait for their case.

    `unknown_fields` counts what the read messages held that nobody here knows: when it rises, a sender has changed.
    """

    new: int = 0
    repeated: int = 0
    rejected: int = 0
    unknown_fields: int = 0
    waiting: int = 0

    def __add__(self, other: "DrainResult") -> "DrainResult":
        return DrainResult(**{field: getattr(self, field) + getattr(other, field) for field in DrainResult.model_fields})


def drain_screenings(
    queue: Queue, records: Records, *, names: QueueNames, limit: int, now: Clock, run_id: str | None = None
) -> DrainResult:
    """Store waiting screenings as cases and settle their messages.

    A message is settled only after its case is stored, so a crash in between brings the message again, and `add_case`
    then finds that it knows the case. `run_id` names the orchestrator's run that does it.
    """

    def take(delivery: Delivery) -> DrainResult:
        message = delivery.message
        case = parse_screening(message.body, source_queue=delivery.queue, message_id=message.message_id, received_at=now())
        return _taken(is_new=records.add_case(case, message.body, run_id=run_id), unknown_fields=case.unknown_fields)

    return _drain(queue, records, names.screening_queues, take, limit=limit, now=now)


def drain_reviews(queue: Queue, records: Records, *, names: QueueNames, limit: int, now: Clock) -> DrainResult:
    """Store waiting reviews, each with what the AI has said of its case by now, and settle their messages.

    Screenings and reviews come on different queues, so a review can overtake its screening: it waits for it, longer each time.
    """

    def take(delivery: Delivery) -> DrainResult:
        message = delivery.message
        parsed = parse_review(message.body, message_id=message.message_id, received_at=now())
        return _taken(is_new=records.add_review(_to_review(records, names, delivery.queue, parsed)), unknown_fields=parsed.unknown_fields)

    return _drain(queue, records, names.review_queues, take, limit=limit, now=now)


def _taken(*, is_new: bool, unknown_fields: int) -> DrainResult:
    return DrainResult(new=int(is_new), repeated=int(not is_new), unknown_fields=unknown_fields)


def _to_review(records: Records, names: QueueNames, queue: str, parsed: ReviewMessage) -> DoctorReview:
    answered = names.screenings_answered_by(queue)
    case_id = parsed.case_id or records.find_case_id(external_id=parsed.external_id or "", source_queues=answered)
    if case_id is None:
        raise NotFound(_NO_CASE)
    diagnosis = records.find_diagnosis(case_id)
    return DoctorReview(
        # Message ids are unique at their producer only.
        review_id=f"{parsed.producer or queue}:{parsed.review_id}",
        case_id=case_id,
        conclusion=parsed.conclusion,
        doctor_name=parsed.doctor_name,
        recommendation=parsed.recommendation,
        eyes=parsed.eyes,
        reviewed_at=parsed.reviewed_at,
        source="queue",
        ai_conclusion=diagnosis.conclusion if diagnosis else None,
        ai_model_version=diagnosis.model_version if diagnosis else None,
    )


def _drain(
    queue: Queue, records: Records, sources: tuple[str, ...], take: Callable[[Delivery], DrainResult], *, limit: int, now: Clock
) -> DrainResult:
    """Drain the queues in turn; one bad message never takes its batch along."""
    total = DrainResult()
    for source in sources:
        left = limit
        while left > 0 and (deliveries := queue.receive(source, limit=min(_BATCH, left))):
            left -= len(deliveries)
            for settled, delivery in enumerate(deliveries):
                try:
                    with working_on(message_sha256=body_sha256(delivery.message.body)):
                        total += _settle(queue, records, delivery, take, now)
                except ServiceUnavailable:
                    _release(queue, deliveries[settled:])
                    raise
    return total


def _release(queue: Queue, deliveries: Sequence[Delivery]) -> None:
    """Give back what an outage kept us from taking in; what cannot be given back comes again by itself."""
    for delivery in deliveries:
        try:
            queue.release(delivery)
        except StaleDelivery:
            _log.warning("a message of %s was settled or lost before it could be given back", delivery.queue)
        except ServiceUnavailable as error:
            _log.warning("messages of %s could not be given back and come again later: %s", delivery.queue, error)
            return


def _settle(queue: Queue, records: Records, delivery: Delivery, take: Callable[[Delivery], DrainResult], now: Clock) -> DrainResult:
    """Take one message in. When a service is down, the message stays unsettled."""
    try:
        taken = take(delivery)
    except ServiceUnavailable:
        raise
    except NotFound:
        return _wait_for_case(queue, records, delivery, now)
    except BadMessage as error:
        _set_aside(queue, records, delivery, reason=str(error), at=now())
        return DrainResult(rejected=1)
    except Exception as error:  # noqa: BLE001 - our own mistake: unsettled, it would take its batch along at every try
        # The class only: another library's text may hold a value.
        _set_aside(queue, records, delivery, reason=f"an error of ours ({type(error).__name__}); replay it after the fix", at=now())
        return DrainResult(rejected=1)
    try:
        queue.ack(delivery)
    except StaleDelivery:
        # It is stored; when it comes again it is a repeat.
        _log.warning("a message of %s was stored after its lease had run out", delivery.queue)
    return taken


def _wait_for_case(queue: Queue, records: Records, delivery: Delivery, now: Clock) -> DrainResult:
    if delivery.delivery_count >= queue.delivery_limit:
        _set_aside(queue, records, delivery, reason=_NO_CASE, at=now())
        return DrainResult(rejected=1)
    try:
        queue.retry(delivery, delay_seconds=_FIRST_WAIT_SECONDS * 4 ** (delivery.delivery_count - 1))
    except StaleDelivery:
        _log.warning("a review on %s comes again without a pause: its lease had run out", delivery.queue)
    return DrainResult(waiting=1)


def _set_aside(queue: Queue, records: Records, delivery: Delivery, *, reason: str, at: datetime) -> None:
    """To the dead letters first: dying before the row is written loses a line of statistics, not the message."""
    try:
        queue.reject(delivery, reason=reason)
    except StaleDelivery:
        _log.warning("a bad message of %s comes again: its lease had run out", delivery.queue)
        return
    records.add_rejection(
        Rejection(
            source_queue=delivery.queue,
            message_id=delivery.message.message_id,
            body_sha256=body_sha256(delivery.message.body),
            reason=reason,
            rejected_at=at,
        )
    )
    _log.warning("a message of %s was set aside: %s", delivery.queue, reason)
