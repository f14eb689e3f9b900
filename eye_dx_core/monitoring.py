"""What whoever is on call watches: the installation at one moment, in plain numbers. A look takes nothing and names nobody."""

import shutil
from collections import Counter
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from pydantic import AwareDatetime

from eye_dx_core.alerts import list_overdue_urgent
from eye_dx_core.message_flow import count_depths
from eye_dx_core.queue.port import Queue
from eye_dx_core.queue.topology import QueueNames
from eye_dx_core.records.figures import CASE_COLUMNS, EYE_COLUMNS, DayFigures, Figures
from eye_dx_core.records.port import Census, Records
from eye_dx_core.registry.port import CHAMPION, ModelRegistry
from eye_dx_core.schema.diagnosis import Outcome
from eye_dx_core.schema.frozen import Frozen
from eye_dx_core.schema.report import GuardOutcome


class Waiting(Frozen):
    """How many wait for the same thing, and for how many seconds the oldest has; none where nothing waits."""

    count: int
    oldest_seconds: float


class QueueState(Frozen):
    """Messages by queue, and what they are: `screenings` and `reviews` are ours to take, `results` a partner's, `dead` are set aside.

    Since when the oldest waits is not told: a broker says so only to whoever takes the message.
    """

    depths: dict[str, int]
    roles: dict[str, str]
    dead: int


class RecordsState(Frozen):
    """What waits in the records. Cases by what they wait for: `diagnosis`, `review`, `report`."""

    cases: dict[str, Waiting]
    unsent: Waiting
    stuck: int
    for_review: dict[str, int]
    """By the AI's urgency; `needs_second` beside them."""
    overdue: int
    overdue_urgent: int
    last_taken_at: AwareDatetime | None
    """When a screening was last taken in or set aside."""
    census: Census


class DayState(Frozen):
    """The clinic's day so far, by its local clock. Every stage and outcome is there, so that none is missing in the morning."""

    day: date
    cases: dict[str, int]
    """Received today and since `received`, `diagnosed`, `reviewed`, `reported`."""
    eyes: dict[Outcome, int]
    compared: int
    overridden: int
    guard: dict[GuardOutcome, int]
    """What became of the language model's texts."""

    @property
    def ungradable_ratio(self) -> float | None:
        """Share of eyes that could not be assessed; None before the first."""
        eyes = sum(self.eyes.values())
        return self.eyes[Outcome.NOT_ASSESSED] / eyes if eyes else None

    @property
    def override_ratio(self) -> float | None:
        """Share of compared cases in which the doctor did not confirm the AI; None before the first."""
        return self.overridden / self.compared if self.compared else None


class ChampionState(Frozen):
    """The trusted model version, or no version."""

    version: str | None = None
    checkpoint_sha256: str | None = None


class DiskState(Frozen):
    """Of the disk on which the state folder lies."""

    free_bytes: int
    size_bytes: int


class Growth:
    """How much a count has grown since it was first seen, for a counter.

    A patient who is erased makes the count smaller. A counter that does so is taken for one that began anew, and everything in it
    would be counted once more.
    """

    def __init__(self) -> None:
        self._last: int | None = None
        self.total = 0

    def see(self, count: int) -> int:
        """Take a new look at the count; the growth so far."""
        if self._last is not None:
            self.total += max(0, count - self._last)
        self._last = count
        return self.total


def look_at_queue(queue: Queue, names: QueueNames) -> QueueState:
    """Count messages. The dead letters are counted, not read: to read one, RabbitMQ must hand it out.

    Raises:
        ServiceUnavailable: the queue does not answer.
    """
    depths = count_depths(queue, names)
    taken = dict.fromkeys(names.screening_queues, "screenings") | dict.fromkeys(names.review_queues, "reviews") | {names.dead: "dead"}
    return QueueState(depths=depths, roles={name: taken.get(name, "results") for name in depths}, dead=depths[names.dead])


def look_at_records(records: Records, *, at: datetime) -> RecordsState:
    """Count what waits in the records.

    Raises:
        ServiceUnavailable: the records do not answer.
    """
    backlog, work = records.backlog(), dict(records.count_work(now=at))

    def waiting(count: int, since: datetime | None) -> Waiting:
        return Waiting(count=count, oldest_seconds=max(0.0, (at - since).total_seconds()) if since else 0.0)

    return RecordsState(
        cases={
            "diagnosis": waiting(backlog.undiagnosed, backlog.oldest_undiagnosed_at),
            "review": waiting(backlog.unreviewed, backlog.oldest_unreviewed_at),
            "report": waiting(backlog.unreported, backlog.oldest_unreported_at),
        },
        unsent=waiting(backlog.unsent, backlog.oldest_unsent_at),
        stuck=backlog.stuck,
        overdue=work.pop("overdue"),
        for_review=work,
        overdue_urgent=list_overdue_urgent(records, at=at, limit=1).total,
        last_taken_at=backlog.last_taken_at,
        census=records.census(),
    )


def look_at_day(records: Figures, *, zone: ZoneInfo, at: datetime) -> DayState:
    """Count the local day so far by what is kept for the daily report, and by its rules.

    Raises:
        ServiceUnavailable: the records do not answer.
    """
    # pandas is for the process that looks at days.
    from eye_dx_core.reporting.daily.agreement import measure_agreement
    from eye_dx_core.reporting.daily.frames import frames_of

    midnight = at.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0)
    figures = records.day_figures(since=midnight, until=at + timedelta(seconds=1))
    agreement = measure_agreement(frames_of(figures))
    outcomes = Counter(row[EYE_COLUMNS.index("outcome")] for row in figures.eyes)
    guard = Counter(row[CASE_COLUMNS.index("guard")] for row in figures.cases)
    return DayState(
        day=midnight.date(),
        cases=_count_stages(figures),
        eyes={one: outcomes[one] for one in Outcome},
        compared=agreement.compared_cases,
        overridden=agreement.overridden_cases,
        guard={one: guard[one] for one in GuardOutcome},
    )


def _count_stages(figures: DayFigures) -> dict[str, int]:
    moments: Mapping[str, str] = {
        "received": "received_at",
        "diagnosed": "diagnosed_at",
        "reviewed": "reviewed_at",
        "reported": "written_at",
    }
    return {stage: sum(row[CASE_COLUMNS.index(moment)] is not None for row in figures.cases) for stage, moment in moments.items()}


def look_at_champion(registry: ModelRegistry) -> ChampionState:
    """Who reads the photographs.

    Raises:
        ServiceUnavailable: the registry does not answer.
    """
    champion = registry.find_by_alias(CHAMPION)
    return ChampionState(version=champion.version, checkpoint_sha256=champion.checkpoint_sha256) if champion else ChampionState()


def look_at_disk(folder: Path) -> DiskState:
    """How much room there is."""
    usage = shutil.disk_usage(folder)
    return DiskState(free_bytes=usage.free, size_bytes=usage.total)
