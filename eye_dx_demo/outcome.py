"""What the demo's receivers got, and whether every case is in its place."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo

from eye_dx_cli.showing import console, show_table
from eye_dx_core.casework import report_page
from eye_dx_core.errors import EyeDxError
from eye_dx_core.queue.port import DeadLetter, Delivery, Queue
from eye_dx_core.records.port import CaseRecord
from eye_dx_core.schema.case import Laterality
from eye_dx_core.settings import Settings
from eye_dx_demo.screenings import DemoScreening


def ai_queues(settings: Settings) -> tuple[str, ...]:
    """Where AI results go out."""
    return (settings.queue_names.ai_results, settings.queue_names.partner_ai_results)


def report_queues(settings: Settings) -> tuple[str, ...]:
    """Where reports go out."""
    return (settings.queue_names.reports, settings.queue_names.partner_reports)


def result_queues(settings: Settings) -> tuple[str, ...]:
    """Everything that goes out."""
    return ai_queues(settings) + report_queues(settings)


def collect(
    queue: Queue, names: Sequence[str], case_ids: set[str], *, timeout_seconds: float, show: Callable[[dict[str, Any]], None]
) -> dict[str, dict[str, Any]]:
    """Receive the results of the given cases as the screening sites would, dropping repeats by message id.

    Raises:
        EyeDxError: not all came in time; the text says how many are missing.
    """
    got: dict[str, dict[str, Any]] = {}
    until = time.monotonic() + timeout_seconds
    while set(got) != case_ids:
        if time.monotonic() > until:
            raise EyeDxError(f"{len(case_ids - set(got))} of {len(case_ids)} results did not come within {timeout_seconds:.0f} s")
        for delivery in (one for name in names for one in queue.receive(name, limit=50)):
            case_id = _take(queue, delivery, case_ids)
            if case_id is not None and case_id not in got:
                got[case_id] = json.loads(delivery.message.body)
                show(got[case_id])
        time.sleep(1)
    return got


def _take(queue: Queue, delivery: Delivery, case_ids: set[str]) -> str | None:
    """Settle a result of ours; one that is not is left for whom it is meant."""
    if delivery.message.correlation_id not in case_ids:
        queue.retry(delivery)
        return None
    queue.ack(delivery)
    return delivery.message.correlation_id


def show_cases(settings: Settings, records: Sequence[CaseRecord], screenings: Mapping[str, DemoScreening]) -> None:
    """The table of cases, one row per eye."""
    columns = ("screening", "drawn", "eye", "AI conclusion", "conf.", "abnormal areas", "doctor", "report", "delivered at")
    show_table("Cases", columns, [row for record in records for row in _rows(settings, record, screenings[record.case.case_id])])


def _rows(settings: Settings, record: CaseRecord, screening: DemoScreening) -> list[tuple[object, ...]]:
    delivered = max((one.sent_at for one in record.outbox if one.sent_at), default=None)
    zone = ZoneInfo(settings.timezone)
    page = report_page(settings.report_folder, record.case.case_id).name if record.report else None
    rows: list[tuple[object, ...]] = []
    for eye in record.diagnosis.eyes if record.diagnosis else ():
        confidence = None if eye.confidence is None else f"{eye.confidence:.2f}"
        areas = "、".join(area.zone.name_zh for area in eye.abnormal_areas) or None
        reason = f" ({eye.reason})" if eye.reason else ""
        rows.append(("", "", eye.eye, f"{eye.conclusion_zh}{reason}", confidence, areas, "", "", ""))
    if rows:
        head = (screening.title, screening.truth)
        tail = (record.review.conclusion if record.review else None, page, f"{delivered.astimezone(zone):%H:%M:%S}" if delivered else None)
        rows[0] = (*head, *rows[0][2:6], *tail)
    return rows


def show_dead_letters(queue: Queue, message_ids: set[str | None]) -> tuple[DeadLetter, ...]:
    """The table of dead letters of this demo."""
    letters = tuple(one for one in queue.dead_letters(limit=1000) if one.message.message_id in message_ids)
    show_table("Dead letters", ("queue", "message", "why"), ((one.queue, one.message.message_id, one.reason) for one in letters))
    return letters


def show_where_to_look(settings: Settings, day: str) -> None:
    """Where a person goes from here."""
    console.print(
        f"\nReports for patients: {settings.report_folder}\nThe day in numbers:   {settings.data / 'daily' / f'{day}.md'}\n"
        f"Look around:          make up, then http://127.0.0.1:{settings.dagster_port} (Dagster) "
        f"and http://127.0.0.1:{settings.mlflow_port} (MLflow)\n"
        "Command line:         .venv/bin/eye-dx --help, eye-dx health, eye-dx queue dead, eye-dx registry list\n"
        "Phantoms show that the platform works, not that a model is good.",
        soft_wrap=True,
    )


def missing(
    records: Sequence[CaseRecord], case_ids: Mapping[str, DemoScreening], results: set[str], reports: set[str], dead: Sequence[DeadLetter]
) -> list[str]:
    """Every way in which the demo did not end as it should."""
    lines = [f"AI result of {case_ids[one].title}" for one in case_ids.keys() - results]
    lines += [f"report of {case_ids[one].title}" for one in case_ids.keys() - reports]
    lines += [f"confirmed delivery of {one.case.case_id}" for one in records if not all(message.sent_at for message in one.outbox)]
    if not any("not JSON" in letter.reason for letter in dead):
        lines.append("the message that is no JSON among the dead letters")
    for record in records:
        right = record.diagnosis.find_eye(Laterality.RIGHT) if record.diagnosis else None
        if "unreadable" in case_ids[record.case.case_id].title and (right is None or right.conclusion is not None):
            lines.append("`not assessed` for the unreadable photograph")
    return lines
