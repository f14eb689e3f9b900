"""What waits in queues and records at one moment, and the claims that must hold of it; Dagster and `eye-dx health` show the same words."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta

from pydantic import AwareDatetime

from eye_dx_core.queue.port import Queue
from eye_dx_core.queue.topology import QueueNames
from eye_dx_core.records.port import Backlog, Records
from eye_dx_core.schema.frozen import Frozen

SHOWN_DEAD_LETTERS = 50


class SetAside(Frozen):
    """A dead letter without its content: a body is a patient's, and a sender may put anything into a message id."""

    queue: str
    reason: str
    died_at: AwareDatetime


class MessageFlow(Frozen):
    """What waits where. `waiting` messages are ours to take in; the results in `depths` are the partners' to fetch."""

    at: AwareDatetime
    depths: dict[str, int]
    waiting: int
    waiting_screenings: int
    dead: int
    oldest_dead: tuple[SetAside, ...]
    backlog: Backlog

    def age(self, since: datetime | None) -> timedelta:
        """How long ago that was; nothing for what does not wait, or when a clock was set back."""
        return max(timedelta(), self.at - since) if since is not None else timedelta()


class Finding(Frozen):
    """Whether a claim holds, and why in words."""

    claim: str
    holds: bool
    reason: str


Rule = Callable[[MessageFlow, timedelta], tuple[bool, str]]


def count_depths(queue: Queue, names: QueueNames) -> dict[str, int]:
    """How many messages wait on each queue that we take from, send to, or set aside in."""
    ours = (*names.screening_queues, *names.review_queues)
    theirs = (names.ai_results, names.reports, names.partner_ai_results, names.partner_reports)
    return {name: queue.depth(name) for name in (*ours, *theirs, names.dead)}


def look_at_flow(queue: Queue, records: Records, *, names: QueueNames, at: datetime) -> MessageFlow:
    """Count what waits, and take nothing.

    Raises:
        ServiceUnavailable: the queue or the records do not answer. Zeros in their place would say that all is well.
    """
    depths = count_depths(queue, names)
    letters = queue.dead_letters(limit=SHOWN_DEAD_LETTERS)
    return MessageFlow(
        at=at,
        depths=depths,
        waiting=sum(depths[name] for name in names.screening_queues + names.review_queues),
        waiting_screenings=sum(depths[name] for name in names.screening_queues),
        dead=depths[names.dead],
        oldest_dead=tuple(SetAside(queue=one.queue, reason=one.reason, died_at=one.died_at) for one in letters),
        backlog=records.backlog(),
    )


def no_dead_letters(flow: MessageFlow, alarm_after: timedelta) -> tuple[bool, str]:
    """No message is set aside. Mend what the reason names, then send them again with `eye-dx queue dead --replay`."""
    if not flow.dead:
        return True, "none"
    oldest = max((flow.age(one.died_at) for one in flow.oldest_dead), default=timedelta())
    return False, f"{flow.dead} dead letters, the oldest since {in_words(oldest)} (see `eye-dx queue dead`)"


def every_result_is_delivered_in_time(flow: MessageFlow, alarm_after: timedelta) -> tuple[bool, str]:
    """No result waits longer than EYE_DX_ALARM_MINUTES to be sent; if one does, the broker refuses it or no run is started."""
    return _in_time(flow.backlog.unsent, flow.age(flow.backlog.oldest_unsent_at), alarm_after, "unsent")


def every_screening_is_taken_in_time(flow: MessageFlow, alarm_after: timedelta) -> tuple[bool, str]:
    """Screenings that wait on a queue are taken in. If none was for EYE_DX_ALARM_MINUTES, look for the sensor and the daemon."""
    if not flow.waiting_screenings:
        return True, "none waits"
    taken_at = flow.backlog.last_taken_at
    idle = "none was ever taken in" if taken_at is None else f"the last was taken in {in_words(flow.age(taken_at))} ago"
    return taken_at is not None and flow.age(taken_at) <= alarm_after, f"{flow.waiting_screenings} wait; {idle}"


def every_case_is_read_in_time(flow: MessageFlow, alarm_after: timedelta) -> tuple[bool, str]:
    """No case waits longer than EYE_DX_ALARM_MINUTES for the model; if one does, see the diagnosis runs: they say what is missing."""
    return _in_time(flow.backlog.undiagnosed, flow.age(flow.backlog.oldest_undiagnosed_at), alarm_after, "undiagnosed")


def no_case_is_stuck(flow: MessageFlow, alarm_after: timedelta) -> tuple[bool, str]:
    """No case failed so often that it is not tried any more. After the cause is mended: `eye-dx records rearm`."""
    stuck = flow.backlog.stuck
    return stuck == 0, f"{stuck} stuck: mend the cause, then `eye-dx records rearm`" if stuck else "none"


CLAIMS: tuple[Rule, ...] = (
    no_dead_letters,
    every_screening_is_taken_in_time,
    every_case_is_read_in_time,
    every_result_is_delivered_in_time,
    no_case_is_stuck,
)


def judge(flow: MessageFlow, *, alarm_after: timedelta) -> tuple[Finding, ...]:
    """Every claim, each with its reason."""
    judged = ((rule.__name__, *rule(flow, alarm_after)) for rule in CLAIMS)
    return tuple(Finding(claim=claim, holds=holds, reason=reason) for claim, holds, reason in judged)


def in_words(age: timedelta) -> str:
    """An age by its two largest units, such as `3 d 4 h` or `12 min`."""
    minutes = int(age.total_seconds()) // 60
    days, hours, minutes = minutes // 1440, minutes // 60 % 24, minutes % 60
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def queues_table(flow: MessageFlow) -> str:
    """Markdown: every queue with the messages that wait there."""
    return _table(("queue", "messages"), flow.depths.items())


def backlog_table(flow: MessageFlow) -> str:
    """Markdown: what waits in the records, with the age of the oldest where it is known."""
    oldest = {"undiagnosed": flow.backlog.oldest_undiagnosed_at, "unsent": flow.backlog.oldest_unsent_at}
    ages = {what: in_words(flow.age(since)) for what, since in oldest.items() if since is not None}
    return _table(("what", "count", "oldest"), ((what, count, ages.get(what, "–")) for what, count in count_backlog(flow).items()))


def dead_letters_table(flow: MessageFlow) -> str:
    """Markdown: the oldest dead letters, with reason and age."""
    return _table(("from queue", "reason", "age"), ((one.queue, one.reason, in_words(flow.age(one.died_at))) for one in flow.oldest_dead))


def count_backlog(flow: MessageFlow) -> dict[str, int]:
    """What waits in the records, by what it waits for."""
    return flow.backlog.model_dump(include={"undiagnosed", "unreviewed", "unreported", "unsent", "stuck"})


def _in_time(count: int, oldest: timedelta, alarm_after: timedelta, what: str) -> tuple[bool, str]:
    if not count:
        return True, "none waits"
    return oldest <= alarm_after, f"{count} {what}, the oldest since {in_words(oldest)}; the limit is {in_words(alarm_after)}"


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    cells = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in row) + " |" for row in cells)
