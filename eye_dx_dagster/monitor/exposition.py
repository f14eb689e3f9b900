"""What was seen, as Prometheus reads it. Labels are names of queues, jobs, sensors and states: never an id, never a sender's text."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric

from eye_dx_core.monitoring import ChampionState, DayState, DiskState, QueueState, RecordsState
from eye_dx_dagster.monitor.looking import Seen
from eye_dx_dagster.monitor.platform import History, PlatformState

Value = TypeVar("Value")
Rows = Iterable[tuple[Sequence[str], float | None]]


def _gauge(name: str, meaning: str, labels: Sequence[str], rows: Rows) -> Metric:
    """Also of nothing seen: then it has its help and no value, so that a scrape always tells of the same metrics."""
    family = GaugeMetricFamily(f"eye_dx_{name}", meaning, labels=labels)
    for values, number in rows:
        if number is not None:
            family.add_metric(values, number)
    return family


def _of(value: Value | None, rows: Callable[[Value], Rows]) -> Rows:
    return rows(value) if value is not None else ()


def _one(value: Value | None, number: Callable[[Value], float | None]) -> Rows:
    return [((), number(value))] if value is not None else ()


def _by(counts: Iterable[tuple[str, float]]) -> Rows:
    return [((name,), number) for name, number in counts]


def parts(seen: Mapping[str, Seen[object]]) -> Iterator[Metric]:
    """Whether each part answered. What did not is missing from the other metrics: a zero would say that all is well."""
    answered = [((name,), float(one.problem is None)) for name, one in seen.items()]
    yield _gauge("part_up", "Whether this part of the installation answered the last look: 1 or 0.", ["part"], answered)
    took = [((name,), one.seconds) for name, one in seen.items()]
    yield _gauge("part_look_duration_seconds", "How long the last look at this part took.", ["part"], took)
    when = [((name,), one.at) for name, one in seen.items()]
    yield _gauge("part_look_timestamp_seconds", "When this part was last looked at.", ["part"], when)


def queue(state: QueueState | None) -> Iterator[Metric]:
    """Messages by queue."""
    meaning = "Messages waiting on a queue: screenings and reviews are ours to take, results a partner's, dead are set aside."
    waiting = _of(state, lambda one: [((name, one.roles[name]), float(depth)) for name, depth in one.depths.items()])
    yield _gauge("queue_messages", meaning, ["queue", "role"], waiting)
    yield _gauge("dead_letters", "Messages set aside because nobody could read them.", [], _one(state, lambda one: one.dead))


def records(state: RecordsState | None, *, diagnosed: int, reported: int) -> Iterator[Metric]:
    """Cases and results by what they wait for."""
    yield _gauge(
        "cases_waiting",
        "Cases by what they wait for: diagnosis, review or report.",
        ["step"],
        _of(state, lambda one: _by((what, waiting.count) for what, waiting in one.cases.items())),
    )
    yield _gauge(
        "cases_oldest_waiting_seconds",
        "Age of the case that has waited longest, since its message came; 0 where none waits.",
        ["step"],
        _of(state, lambda one: _by((what, waiting.oldest_seconds) for what, waiting in one.cases.items())),
    )
    yield _gauge(
        "cases_for_review",
        "Cases that wait for a doctor by the AI's urgency; needs_second counts those that a second doctor must sign.",
        ["urgency"],
        _of(state, lambda one: _by(one.for_review.items())),
    )
    yield _gauge("cases_overdue", "Cases that no doctor looked at in time, of any urgency.", [], _one(state, lambda one: one.overdue))
    yield _gauge(
        "cases_overdue_urgent",
        "Those of them that the AI calls urgent or an emergency.",
        [],
        _one(state, lambda one: one.overdue_urgent),
    )
    yield _gauge("cases_stuck", "Cases that failed too often and are not tried any more.", [], _one(state, lambda one: one.stuck))
    yield _gauge("outbox_messages", "Results stored and not yet confirmed by the broker.", [], _one(state, lambda one: one.unsent.count))
    yield _gauge(
        "outbox_oldest_seconds",
        "Age of the oldest result that is not confirmed; 0 where none waits.",
        [],
        _one(state, lambda one: one.unsent.oldest_seconds),
    )
    yield _gauge(
        "last_taken_timestamp_seconds",
        "When a screening was last taken from a queue, stored or set aside.",
        [],
        _one(state, lambda one: one.last_taken_at.timestamp() if one.last_taken_at else None),
    )
    yield _gauge("cases_stored", "Cases in the records.", [], _one(state, lambda one: one.census.cases))
    for name, meaning, total in (
        ("cases_diagnosed", "Cases read since this process began.", diagnosed),
        ("cases_reported", "Reports written since this process began.", reported),
    ):
        yield CounterMetricFamily(f"eye_dx_{name}", meaning, value=total)
    schema = InfoMetricFamily("eye_dx_schema", "The form of the records' database.")
    if state is not None:
        schema.add_metric([], {"revision": state.census.schema_revision})
    yield schema


def day(state: DayState | None) -> Iterator[Metric]:
    """The clinic's day so far; it begins anew at local midnight, so these go up and down."""
    yield _gauge(
        "today_cases",
        "Cases received today (local time), and how many of them are diagnosed, reviewed and reported by now.",
        ["stage"],
        _of(state, lambda one: _by(one.cases.items())),
    )
    yield _gauge(
        "today_eyes",
        "Eyes of today's cases by the AI's outcome.",
        ["outcome"],
        _of(state, lambda one: _by(one.eyes.items())),
    )
    yield _gauge(
        "today_ungradable_ratio",
        "Share of today's eyes that could not be assessed; missing before the first.",
        [],
        _one(state, lambda one: one.ungradable_ratio),
    )
    yield _gauge("today_compared_cases", "Today's cases in which AI and doctor can be compared.", [], _one(state, lambda one: one.compared))
    yield _gauge(
        "today_override_ratio",
        "Share of the compared cases in which the doctor did not confirm the AI; missing before the first.",
        [],
        _one(state, lambda one: one.override_ratio),
    )
    yield _gauge(
        "today_guard_texts",
        "The language model's texts of today's cases by what the guard said.",
        ["outcome"],
        _of(state, lambda one: _by(one.guard.items())),
    )


def champion(state: ChampionState | None) -> Iterator[Metric]:
    """Who reads."""
    yield _gauge(
        "champion_present",
        "Whether a model version is trusted to read: 1 or 0.",
        [],
        _one(state, lambda one: float(one.version is not None)),
    )
    info = InfoMetricFamily("eye_dx_champion", "The model version that reads, and the SHA-256 of its checkpoint.")
    if state is not None and state.version is not None:
        info.add_metric([], {"version": state.version, "sha256": state.checkpoint_sha256 or ""})
    yield info


def platform(state: PlatformState | None) -> Iterator[Metric]:
    """Dagster's daemon, what runs and what ticks."""
    runs = _of(state, lambda one: list(one.runs.items()))
    yield _gauge("runs", "Dagster runs that are QUEUED or STARTED now.", ["job_name", "state"], runs)
    yield _gauge(
        "tick_timestamp_seconds",
        "When a sensor or schedule last ticked.",
        ["kind", "name"],
        _of(state, lambda one: [((tick.kind, tick.name), tick.last_at) for tick in one.ticking]),
    )
    yield _gauge(
        "tick_failing",
        "Whether the last ticks failed, three of a sensor or one of a schedule: 1 or 0.",
        ["kind", "name"],
        _of(state, lambda one: [((tick.kind, tick.name), float(tick.is_failing)) for tick in one.ticking]),
    )
    yield _gauge(
        "tick_on",
        "Whether the sensor or schedule is switched on: 1 or 0.",
        ["kind", "name"],
        _of(state, lambda one: [((tick.kind, tick.name), float(tick.is_on)) for tick in one.ticking]),
    )
    yield _gauge(
        "daemon_up",
        "Whether this thread of Dagster's daemon gave a sign of life in the last five minutes: 1 or 0.",
        ["daemon"],
        _of(state, lambda one: [((daemon.name,), float(daemon.is_well)) for daemon in one.daemons]),
    )
    yield _gauge(
        "daemon_heartbeat_timestamp_seconds",
        "When it last did.",
        ["daemon"],
        _of(state, lambda one: [((daemon.name,), daemon.heartbeat_at) for daemon in one.daemons]),
    )


def history(state: History | None) -> Iterator[Metric]:
    """How runs ended."""
    yield _gauge(
        "runs_ended_last_day",
        "Dagster runs of the last 24 hours that ended as SUCCESS, FAILURE or CANCELED.",
        ["job_name", "state"],
        _of(state, lambda one: list(one.ended.items())),
    )
    yield _gauge(
        "job_failing",
        "Whether the job failed in the last 24 hours and has not succeeded since: 1 or 0.",
        ["job_name"],
        _of(state, lambda one: [((job,), float(job in one.failing_jobs)) for job in dict.fromkeys(job for job, _ in one.ended)]),
    )


def disk(state: DiskState | None) -> Iterator[Metric]:
    """Room on the disk of the state folder."""
    yield _gauge("state_disk_free_bytes", "Free bytes on the disk of the state folder.", [], _one(state, lambda one: one.free_bytes))
    yield _gauge("state_disk_size_bytes", "Size of that disk.", [], _one(state, lambda one: one.size_bytes))
