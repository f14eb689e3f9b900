"""Databases of every released schema, filled by the program of that time and kept as rows; and how the present one's are written.

Before a migration is added, keep what the schema before it holds: `python -m tests.contract.released_records`.
"""

import base64
import json
import sqlite3
import tempfile
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Engine

from eye_dx_core.records import migrating
from eye_dx_core.records.accounts import Role, User
from eye_dx_core.records.audit import AuditEvent
from eye_dx_core.records.desk import DeskNote, NoteKind, PatientLink, WorkFilter
from eye_dx_core.records.engine import writing
from eye_dx_core.records.outgoing import OutboxMessage
from eye_dx_core.records.port import Records, Rejection
from eye_dx_core.schema.case import Laterality, WireFormat
from eye_dx_core.schema.review import Addendum
from eye_dx_core.vault import Vault
from tests.builders import NOON, a_case, a_diagnosis, a_disputed_eye, a_report, a_review
from tests.services import A_KEY, open_records

FOLDER = Path(__file__).parent / "released"
EVER = {"since": NOON - timedelta(days=1), "until": NOON + timedelta(days=1)}
_VERSION = "alembic_version"


def files_of(revision: str) -> list[Path]:
    """What was kept of a schema: filled by the first program that had it, and by the last."""
    return sorted(FOLDER.glob(f"{revision}-*.json"))


def fill(records: Records) -> None:
    """Cases at every stage, as the program writes them."""
    for number, wire in enumerate((*(WireFormat.NESTED,) * 5, WireFormat.FOUR_QUEUE), start=1):
        case = a_case(f"case-{number}", wire=wire).model_copy(update={"received_at": NOON + timedelta(minutes=number)})
        records.add_case(case, b"as it came")
    for number in (2, 3, 4, 6):
        records.add_diagnosis(a_diagnosis(f"case-{number}"), [_announcement(f"case-{number}", "ai-result")])
    doubt = a_diagnosis("case-5", right=None)
    eyes = (a_disputed_eye(Laterality.RIGHT), doubt.eyes[1])
    records.add_diagnosis(doubt.model_copy(update={"eyes": eyes}), [])
    for number in (3, 4):
        records.add_review(a_review(f"case-{number}", review_id=f"review-{number}"))
    records.add_report(a_report("case-4"), [_announcement("case-4", "report")])
    records.mark_sent("ai-result-case-4", sent_at=NOON)
    records.mark_failed("ai-result-case-2", reason="the broker did not confirm")
    rejection = Rejection(source_queue="eye_dx_screenings", message_id="m-9", body_sha256="9" * 64, reason="not JSON", rejected_at=NOON)
    records.add_rejection(rejection)
    _work_at_the_desk(records)


def _work_at_the_desk(records: Records) -> None:
    user = User(user_name="tang", display_name="唐医生", role=Role.DOCTOR, password_hash="$argon2id$x", added_at=NOON)
    records.add_user(user, event=_event("add_user", "tang"))
    draft = DeskNote(case_id="case-2", kind=NoteKind.DRAFT, written_by="tang", version=1, written_at=NOON, content='{"noted": "高度近视"}')
    records.save_note(draft)
    addendum = Addendum(addendum_id="a-1", case_id="case-4", text="三个月后再看", doctor_name="唐医生", added_at=NOON)
    records.add_addendum(addendum, [_announcement("case-4", "addendum")], event=_event("add_addendum", "case-4"))
    link = PatientLink(token_sha256="7" * 64, case_id="case-4", made_at=NOON, expires_at=NOON + timedelta(days=30))
    records.add_link(link, event=_event("add_link", "case-4"))


def _announcement(case_id: str, kind: str) -> OutboxMessage:
    return OutboxMessage(message_id=f"{kind}-{case_id}", case_id=case_id, queue="eye_dx_out", type=kind, body=b"{}", created_at=NOON)


def _event(action: str, subject: str) -> AuditEvent:
    return AuditEvent(at=NOON, actor="tang", action=action, subject=subject)


def told(records: Records, *, with_raw: bool = True) -> dict[str, Any]:
    """What the program itself says of these records, as JSON; the messages as they came too, where the schema kept them."""
    cases = [record.model_dump(mode="json") for record in records.case_records(**EVER)]
    names = [case["case"]["case_id"] for case in cases]
    work = records.work_list(WorkFilter(), now=NOON, limit=20)
    return {
        "cases": cases,
        "rejections": [one.model_dump(mode="json") for one in records.rejections(**EVER)],
        "backlog": records.backlog().model_dump(mode="json", include={"undiagnosed", "unreviewed", "unreported", "unsent", "stuck"}),
        "raw_messages": {name: records.get_raw_message(name).decode() for name in names if with_raw},
        "audit": [entry.model_dump(mode="json") for entry in records.audit()],
        "work_list": [item.case_id for item in work.items],
        "users": [user.model_dump(mode="json") for user in records.users()],
        "drafts": [note.model_dump(mode="json") for note in [records.find_note("case-2", NoteKind.DRAFT)] if note],
        "addenda": [one.model_dump(mode="json") for one in records.addenda("case-4")],
        "links": [one.model_dump(mode="json") for one in [records.find_link("7" * 64)] if one],
    }


def rows_of(database: Path) -> dict[str, list[dict[str, Any]]]:
    """Every row of a database, as JSON; bytes as base64."""
    with closing(sqlite3.connect(database)) as connection:
        connection.row_factory = sqlite3.Row
        names = [row["name"] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")]
        return {
            name: [{column: _to_json(value) for column, value in dict(row).items()} for row in connection.execute(f"SELECT * FROM {name}")]
            for name in names
            if name not in (_VERSION, "sqlite_sequence")
        }


def _to_json(value: Any) -> Any:
    return {"base64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value


def build(engine: Engine, revision: str, kept: Mapping[str, Any]) -> None:
    """A database at a revision with the rows that were kept of it."""
    with writing(engine) as connection:
        migrating.run_migrations(connection, Vault([A_KEY]), to=revision)
        there = sa.MetaData()
        there.reflect(connection)
        for table in there.sorted_tables:
            for row in kept["rows"].get(table.name, ()):
                # A number that the database gives itself must go on from there.
                own = {name for name, column in table.columns.items() if column.primary_key and name == "rejection_id"}
                values = {name: _to_value(table.columns[name], value) for name, value in row.items() if name not in own}
                connection.execute(sa.insert(table).values(values))


def _to_value(column: sa.Column[Any], value: Any) -> Any:
    if isinstance(value, dict):
        return base64.b64decode(value["base64"])
    if isinstance(column.type, sa.DateTime) and value is not None:
        return datetime.fromisoformat(value).replace(tzinfo=UTC)
    return bool(value) if isinstance(column.type, sa.Boolean) else value


def main() -> None:
    """Keep what the present program writes."""
    with tempfile.TemporaryDirectory() as name:
        database = Path(name) / "records.db"
        with closing(open_records(f"sqlite:///{database}")) as records:
            fill(records)
            said = told(records)
        kept = {"revision": migrating.HEAD, "told": said, "rows": rows_of(database)}
    (FOLDER / f"{migrating.HEAD}-last.json").write_text(json.dumps(kept, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
