"""All parts of one installation: what a scrape tells of them, and whether they are well."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import TypeVar
from zoneinfo import ZoneInfo

import dagster as dg
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from eye_dx_core import monitoring, wiring
from eye_dx_core.queue.port import Queue
from eye_dx_core.records.port import Records
from eye_dx_core.settings import Settings
from eye_dx_dagster.monitor import exposition
from eye_dx_dagster.monitor.looking import Part, Seen
from eye_dx_dagster.monitor.platform import Names, PlatformState, look_at_history, look_at_platform

PATIENCE_SECONDS = 5.0
"""Under Prometheus's own 10 seconds: what hangs is told as that, and the rest of the scrape arrives."""
_KEEP_SECONDS, _KEEP_LONG_SECONDS, _LAG_SECONDS = 2.0, 60.0, 300.0
_MISSING = "no champion: train a candidate, then promote it (`eye-dx registry promote VERSION --reason …`)"
Found = TypeVar("Found")


class Watch(Collector):
    """Looks at queue, records, day, registry, Dagster and disk; each opened for one look, as after a restore it may be another file."""

    def __init__(self, settings: Settings, instance: dg.DagsterInstance, names: Names, *, version: str) -> None:
        self._settings, self._version = settings, version
        self._diagnosed, self._reported = monitoring.Growth(), monitoring.Growth()
        zone = ZoneInfo(settings.timezone)
        self._queue = Part("queue", self._with_queue, keep_seconds=_KEEP_SECONDS)
        self._records = Part("records", self._count_records, keep_seconds=_KEEP_SECONDS)
        self._day = Part(
            "day",
            lambda: self._with_records(lambda one: monitoring.look_at_day(one, zone=zone, at=_now())),
            keep_seconds=_KEEP_LONG_SECONDS,
            lag_seconds=_LAG_SECONDS,
        )
        self._registry = Part(
            "registry",
            lambda: monitoring.look_at_champion(wiring.open_registry(settings)),
            keep_seconds=_KEEP_LONG_SECONDS / 4,
            lag_seconds=_KEEP_LONG_SECONDS,
        )
        self._platform = Part("dagster", lambda: look_at_platform(instance, names), keep_seconds=_KEEP_SECONDS)
        self._history = Part("history", lambda: look_at_history(instance, names), keep_seconds=_KEEP_LONG_SECONDS, lag_seconds=_LAG_SECONDS)
        self._disk = Part("disk", lambda: monitoring.look_at_disk(settings.state), keep_seconds=_KEEP_SECONDS)

    def begin(self) -> None:
        """Start all looks at once: the slowest one is what a scrape costs."""
        for part in (self._queue, self._records, self._day, self._registry, self._platform, self._history, self._disk):
            part.begin()

    def collect(self) -> Iterator[Metric]:
        """One scrape."""
        began = time.monotonic()
        until = began + PATIENCE_SECONDS
        self.begin()
        queue, records, day = self._queue.wait(until=until), self._records.wait(until=until), self._day.wait(until=until)
        registry, platform = self._registry.wait(until=until), self._platform.wait(until=until)
        history, disk = self._history.wait(until=until), self._disk.wait(until=until)
        seen: dict[str, Seen[object]] = {
            "queue": _any(queue),
            "records": _any(records),
            "day": _any(day),
            "registry": _any(registry),
            "dagster": _any(platform),
            "history": _any(history),
            "disk": _any(disk),
        }
        yield from exposition.parts(seen)
        yield from exposition.queue(queue.value)
        yield from exposition.records(records.value, diagnosed=self._diagnosed.total, reported=self._reported.total)
        yield from exposition.day(day.value)
        yield from exposition.champion(registry.value)
        yield from exposition.platform(platform.value)
        yield from exposition.history(history.value)
        yield from exposition.disk(disk.value)
        yield InfoMetricFamily("eye_dx_build", "The version of Eye Dx that watches.", value={"version": self._version})
        alarm = 60 * self._settings.alarm_minutes
        yield GaugeMetricFamily("eye_dx_alarm_seconds", "EYE_DX_ALARM_MINUTES: what waits longer raises the alarm.", value=alarm)
        yield GaugeMetricFamily("eye_dx_scrape_duration_seconds", "How long this scrape took.", value=time.monotonic() - began)

    def find_problems(self) -> dict[str, str]:
        """Why the installation cannot work now, by part; empty when it can."""
        until = time.monotonic() + PATIENCE_SECONDS
        for part in (self._queue, self._records, self._registry, self._platform):
            part.begin()
        queue, records = self._queue.wait(until=until), self._records.wait(until=until)
        registry, platform = self._registry.wait(until=until), self._platform.wait(until=until)
        missing = _MISSING if registry.value is not None and registry.value.version is None else None
        problems = {
            "queue": queue.problem,
            "records": records.problem,
            "registry": registry.problem or missing,
            "dagster": platform.problem or _silent(platform.value),
        }
        return {part: problem for part, problem in problems.items() if problem is not None}

    def _count_records(self) -> monitoring.RecordsState:
        """Counters grow here, where one look comes after another, and not in scrapes, of which two may be under way."""
        state = self._with_records(lambda one: monitoring.look_at_records(one, at=_now()))
        self._diagnosed.see(state.census.diagnosed)
        self._reported.see(state.census.reported)
        return state

    def _with_queue(self) -> monitoring.QueueState:
        with closing[Queue](wiring.open_queue(self._settings)) as queue:
            return monitoring.look_at_queue(queue, self._settings.queue_names)

    def _with_records(self, look: Callable[[Records], Found]) -> Found:
        with closing[Records](wiring.open_records(self._settings)) as records:
            return look(records)


def _any(seen: Seen[Found]) -> Seen[object]:
    return Seen(seen.value, seen.problem, seen.at, seen.seconds)


def _silent(platform: PlatformState | None) -> str | None:
    unwell = platform.unwell_daemons if platform else ()
    return f"the daemon gives no sign of life ({', '.join(unwell)}): start it with `eye-dx up`" if unwell else None


def _now() -> datetime:
    return datetime.now(UTC)
