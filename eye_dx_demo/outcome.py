"""What the demo's receivers got, and whether every case is in its place."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo

from eye_dx_cli.showing import console, show_table
from eye_dx_core import casework, wiring
from eye_dx_core.errors import EyeDxError
from eye_dx_core.queue.port import DeadLetter, Delivery, Queue
from eye_dx_core.records.port import CaseRecord
from eye_dx_core.schema.case import Laterality
from eye_dx_core.schema.diagnosis import EyeDiagnosis, PhotoPrediction
from eye_dx_core.schema.routing import NOT_SIGNED_EN, Routing
from eye_dx_core.settings import Settings
from eye_dx_demo.desk_visit import DeskUser
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
    """A table of cases, one of eyes, and whether anybody has signed the rules by which urgency is proposed."""
    numbered = [(number, record, screenings[record.case.case_id]) for number, record in enumerate(records, start=1)]
    zone = ZoneInfo(settings.timezone)
    columns = ("no.", "screening", "drawn", "AI proposes", "doctor", "delivered")
    show_table("Cases", columns, [(number, *_case_row(record, screening, zone)) for number, record, screening in numbered])
    columns = ("no.", "eye", "AI reads", "conf.", "quality", "eye known by", "evidence", "AI proposes")
    show_table("Eyes", columns, [(number, *row) for number, record, _ in numbered for row in _eye_rows(record)])
    if any(record.diagnosis and record.diagnosis.routing and not record.diagnosis.routing.rules_signed_by for record in records):
        console.print(f"What the AI proposes counts when a doctor confirms it; {NOT_SIGNED_EN} (EYE_DX_ROUTING_FILE).")


def _case_row(record: CaseRecord, screening: DemoScreening, zone: ZoneInfo) -> tuple[object, ...]:
    delivered = max((one.sent_at for one in record.outbox if one.sent_at), default=None)
    return (
        screening.title,
        screening.truth,
        _urgency(record.diagnosis.routing if record.diagnosis else None),
        record.review.conclusion if record.review else None,
        f"{delivered.astimezone(zone):%H:%M:%S}" if delivered else None,
    )


def _eye_rows(record: CaseRecord) -> list[tuple[object, ...]]:
    return [
        (
            eye.eye or "?",
            eye.conclusion or f"{eye.outcome}: {eye.reason}".replace("_", " "),
            None if eye.confidence is None else f"{eye.confidence:.2f}",
            ", ".join(dict.fromkeys(_quality(photo) for photo in eye.photos)),
            _known_by(eye),
            ", ".join(f"{area.zone} {area.strength:.0%}" for area in eye.abnormal_areas).replace("_", " ") or None,
            _urgency(eye.routing),
        )
        for eye in (record.diagnosis.eyes if record.diagnosis else ())
    ]


def _quality(photo: PhotoPrediction) -> str:
    if photo.quality is None:
        return "no picture"
    return " ".join((photo.quality.level, *photo.quality.issues)).replace("_", " ")


def _known_by(eye: EyeDiagnosis) -> str | None:
    """Who says so; whoever says the other eye stands with it."""
    claims = dict.fromkeys((claim.source, claim.eye) for photo in eye.photos for claim in photo.eye_claims)
    return ", ".join(source if said is eye.eye else f"{source}:{said}" for source, said in claims).replace("file_name", "name") or None


def _urgency(routing: Routing | None) -> str | None:
    return f"{routing.urgency} ≤ {routing.within_days} d".replace("_", " ") if routing else None


def show_dead_letters(queue: Queue, message_ids: set[str | None]) -> tuple[DeadLetter, ...]:
    """The table of dead letters of this demo."""
    letters = tuple(one for one in queue.dead_letters(limit=1000) if one.message.message_id in message_ids)
    show_table("Dead letters", ("queue", "message", "why"), ((one.queue, one.message.message_id, one.reason) for one in letters))
    return letters


def show_signed_case(settings: Settings, record: CaseRecord, doctor: DeskUser, patient_link: str, pdf: str | None) -> None:
    """The case that was signed at the desk: its pages, its runs and its report."""
    desk, dagster = (f"http://127.0.0.1:{port}" for port in (settings.desk_port, settings.dagster_port))
    case_id, runs = record.case.case_id, record.runs
    console.print(
        f"\nSigned at the desk:    {desk}/cases/{case_id}\n"
        f"Why this report:       {desk}/cases/{case_id}/why\n"
        f"The patient's link:    {desk}{patient_link}\n"
        f"The report as PDF:     {pdf}\n"
        f"Runs that made it:     {', '.join(f'{dagster}/runs/{run}' for run in (runs.read, runs.wrote))}\n"
        f"Log in at {desk} as {doctor.user_name}, password {doctor.password} (an invented doctor: eye-dx users block {doctor.user_name}).\n"
        "The desk and Dagster's UI do not run now: `make up` starts both, `.venv/bin/eye-dx desk` the desk alone.",
        soft_wrap=True,
        highlight=False,
    )


def missing_of_desk(settings: Settings, record: CaseRecord, pdf: str | None) -> list[str]:
    """In what the case at the desk is not as it should be."""
    lines = [] if record.review is not None and record.review.source == "desk" else ["the review that was signed at the desk"]
    files, name = wiring.open_files(settings), casework.report_pdf(record.case.case_id)
    if pdf != files.address(name) or name not in files.sizes("reports"):
        lines.append("the PDF that the report run names")
    if record.runs.read is None or record.runs.took_in is None:
        lines.append("the runs that took the case in and read it")
    return lines


def show_where_to_look(settings: Settings, day: str) -> None:
    """Where a person goes from here."""
    files = wiring.open_files(settings)
    console.print(
        f"\nReports for patients: {files.address('reports')}/case-….html and .pdf\n"
        f"The day in numbers:   {files.address(f'daily/{day}.html')} and .pdf, .csv, .parquet\n"
        f"Look around:          make up, then http://127.0.0.1:{settings.dagster_port} (Dagster) "
        f"and http://127.0.0.1:{settings.mlflow_port} (MLflow)\n"
        "Doctors of your own:  .venv/bin/eye-dx users add NAME --display 唐医生 --role doctor\n"
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
