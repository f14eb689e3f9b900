"""Rows of the tables as values, and back; what tells of a person is sealed on the way in and opened on the way out."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Row, Select, Table, select

from eye_dx_core.records.outgoing import OutboxMessage
from eye_dx_core.records.port import CaseRecord, Runs
from eye_dx_core.records.tables import cases, diagnoses, outbox, reports, reviews, vault
from eye_dx_core.schema.case import Case, Identity
from eye_dx_core.schema.diagnosis import AiDiagnosis
from eye_dx_core.schema.report import DiagnosisReport
from eye_dx_core.schema.review import DoctorReview
from eye_dx_core.vault import Vault

# States of a case. A review may come before the diagnosis; the case is `reviewed` when it has both.
RECEIVED, DIAGNOSED, REVIEWED, REPORTED, ERASED = "received", "diagnosed", "reviewed", "reported", "erased"
NOT_ON_WORK_LIST = 9
"""Place in the work list of what was not read yet: behind every urgency."""


def case_row(case: Case, sealing: Vault, *, run_id: str | None = None) -> dict[str, Any]:
    """A new case without its patient's identity."""
    patient = case.screening.patient
    return {
        "case_id": case.case_id,
        "source_queue": case.source_queue,
        "producer": case.producer,
        "message_id": case.message_id,
        "external_id": case.external_id,
        "patient_id": patient.patient_id if patient else None,
        "body_sha256": case.body_sha256,
        "received_at": case.received_at,
        "sealed": sealing.seal(case.with_identity(Identity()).model_dump_json()),
        "has_photos": bool(case.screening.photos),
        "state": RECEIVED,
        "attempts": 0,
        "claimed_until": 0.0,
        "work_order": NOT_ON_WORK_LIST,
        "needs_second": False,
        "held_until": 0.0,
        "run_id": run_id,
    }


def outbox_row(message: OutboxMessage, position: int, sealing: Vault) -> dict[str, Any]:
    """A new message, at its position among those of its case."""
    return message.model_dump(exclude={"body"}) | {"sealed": sealing.seal(message.body), "position": position, "due_at": 0.0}


def to_outbox(row: Row[Any], sealing: Vault) -> OutboxMessage:
    """A message as it was stored."""
    kept = {field: getattr(row, field) for field in OutboxMessage.model_fields if field != "body"}
    return OutboxMessage.model_validate(kept | {"body": sealing.unseal(row.sealed)})


def case_rows() -> Select[Any, Any, Any, Any, Any]:
    """Cases with the sealed identity of their patient, oldest first; those that were erased are not there."""
    joined = cases.outerjoin(vault, cases.c.patient_id == vault.c.patient_id)
    columns = select(cases.c.case_id, cases.c.patient_id, cases.c.sealed, cases.c.attempts, vault.c.sealed.label("identity"))
    return columns.select_from(joined).where(cases.c.state != ERASED).order_by(cases.c.received_at, cases.c.case_id)


def to_case(row: Row[Any, Any, Any, Any, Any], sealing: Vault) -> Case:
    """A case with its patient's identity, as far as that is still known."""
    case = Case.model_validate_json(sealing.unseal(row.sealed))
    return case.with_identity(Identity.model_validate_json(sealing.unseal(row.identity))) if row.identity else case


def records_of(connection: Connection, case_ids: Sequence[str], sealing: Vault) -> list[CaseRecord]:
    """Everything known of these cases, in six queries for any number of them."""
    said, written = (_contents(connection, table, case_ids, sealing) for table in (diagnoses, reports))
    latest_reviews = _contents(connection, reviews, case_ids, sealing, order=reviews.c.position)
    messages: dict[str, list[OutboxMessage]] = {}
    for row in connection.execute(select(outbox).where(outbox.c.case_id.in_(case_ids)).order_by(outbox.c.position)):
        messages.setdefault(row.case_id, []).append(to_outbox(row, sealing))
    runs = {row.case_id: Runs(took_in=row[1], read=row[2], wrote=row[3]) for row in connection.execute(_runs(case_ids))}
    found: list[CaseRecord] = []
    for row in connection.execute(case_rows().where(cases.c.case_id.in_(case_ids))):
        diagnosis, report, review = (contents.get(row.case_id) for contents in (said, written, latest_reviews))
        found.append(
            CaseRecord(
                case=to_case(row, sealing),
                diagnosis=AiDiagnosis.model_validate_json(diagnosis) if diagnosis else None,
                review=DoctorReview.model_validate_json(review) if review else None,
                report=DiagnosisReport.model_validate_json(report) if report else None,
                outbox=tuple(messages.get(row.case_id, ())),
                attempts=row.attempts,
                runs=runs[row.case_id],
            )
        )
    return found


def _runs(case_ids: Sequence[str]) -> Select[Any, Any, Any, Any]:
    done = select(cases.c.case_id, cases.c.run_id, diagnoses.c.run_id, reports.c.run_id)
    joined = cases.outerjoin(diagnoses, diagnoses.c.case_id == cases.c.case_id).outerjoin(reports, reports.c.case_id == cases.c.case_id)
    return done.select_from(joined).where(cases.c.case_id.in_(case_ids))


def _contents(connection: Connection, table: Table, case_ids: Iterable[str], sealing: Vault, *, order: object = None) -> dict[str, bytes]:
    """Opened content by case id; of several the last in the given order."""
    query = select(table.c.case_id, table.c.sealed).where(table.c.case_id.in_(list(case_ids)))
    rows = connection.execute(query.order_by(order) if order is not None else query)  # pyright: ignore[reportArgumentType]
    return {case_id: sealing.unseal(sealed) for case_id, sealed in {row.case_id: row.sealed for row in rows}.items()}
