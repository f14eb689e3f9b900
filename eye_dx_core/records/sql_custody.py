"""Keeping, forgetting and accounting for what tells of persons, in SQLite or PostgreSQL."""

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, Engine, TableClause, column, delete, exists, func, insert, inspect, select, update
from sqlalchemy.exc import IntegrityError

from eye_dx_core.errors import BadSettings, NotFound
from eye_dx_core.records.audit import GENESIS, AuditEntry, AuditEvent, chain
from eye_dx_core.records.engine import database_errors, forget_deleted_rows, open_engine, reading, writing
from eye_dx_core.records.rows import ERASED, RECEIVED, case_rows, to_case
from eye_dx_core.records.tables import (
    addenda,
    audit,
    cases,
    desk_notes,
    diagnoses,
    figures,
    inbox,
    outbox,
    patient_links,
    reports,
    reviews,
    shadow_readings,
    users,
    vault,
    vault_check,
)
from eye_dx_core.schema.case import Case, Identity
from eye_dx_core.vault import Vault

_CHUNK = 500
_OF_A_CASE = (inbox, diagnoses, reviews, reports, outbox, desk_notes, addenda, patient_links, figures, shadow_readings)
_SEALED_TABLES = (
    vault,
    vault_check,
    cases,
    inbox,
    diagnoses,
    reviews,
    reports,
    outbox,
    desk_notes,
    addenda,
    users,
    figures,
    shadow_readings,
)
_PROOF = "eye-dx"


class SqlCustody:
    """The part `Custody` of the port `Records`."""

    def __init__(self, engine: Engine, sealing: Vault) -> None:
        self._engine, self._vault = engine, sealing

    def get_raw_message(self, case_id: str) -> bytes:
        """See the port."""
        with database_errors("records"), reading(self._engine) as connection:
            sealed = connection.execute(select(inbox.c.sealed).where(inbox.c.case_id == case_id)).scalar()
        if sealed is None:
            raise NotFound(f"the message of {case_id} is not kept: there is no such case, or its term is over")
        return self._vault.unseal(sealed)

    def find_case_ids(self, *, patient_id: str) -> tuple[str, ...]:
        """See the port."""
        with database_errors("records"), reading(self._engine) as connection:
            return _case_ids(connection, patient_id)

    def find_forgotten(self, case_ids: Sequence[str]) -> frozenset[str]:
        """See the port."""
        is_nameless = cases.c.patient_id.is_not(None) & ~exists().where(vault.c.patient_id == cases.c.patient_id)
        held = select(cases.c.case_id).where(cases.c.case_id.in_(case_ids), (cases.c.state == ERASED) | is_nameless)
        with database_errors("records"), reading(self._engine) as connection:
            return frozenset(connection.execute(held).scalars())

    def erase_patient(self, patient_id: str, event: AuditEvent) -> tuple[str, ...]:
        """See the port."""
        with database_errors("records"), writing(self._engine) as connection:
            case_ids = _held_case_ids(connection, patient_id)
            connection.execute(delete(vault).where(vault.c.patient_id == patient_id))
            for table in _OF_A_CASE:
                connection.execute(delete(table).where(table.c.case_id.in_(case_ids)))
            blank = {"patient_id": None, "external_id": None, "sealed": b"", "has_photos": False, "state": ERASED, "held_by": None}
            connection.execute(update(cases).where(cases.c.case_id.in_(case_ids)).values(blank))
            append_audit(connection, event)
        forget_deleted_rows(self._engine)
        return case_ids

    def find_identities_to_forget(self, *, unseen_since: datetime) -> tuple[str, ...]:
        """See the port."""
        unseen = (
            select(vault.c.patient_id)
            .join(cases, cases.c.patient_id == vault.c.patient_id)
            .group_by(vault.c.patient_id)
            .having(func.max(cases.c.received_at) < unseen_since, func.count().filter(cases.c.state == RECEIVED) == 0)
        )
        with database_errors("records"), reading(self._engine) as connection:
            return tuple(connection.execute(unseen).scalars())

    def forget_identity(self, patient_id: str, *, unseen_since: datetime, event: AuditEvent) -> bool:
        """See the port."""
        with database_errors("records"), writing(self._engine) as connection:
            case_ids = _held_case_ids(connection, patient_id)
            needed = (cases.c.received_at >= unseen_since) | (cases.c.state == RECEIVED)
            if connection.execute(select(exists().where(cases.c.case_id.in_(case_ids), needed))).scalar():
                return False
            self._strip(connection, case_ids)
            for table in (inbox, desk_notes, shadow_readings):
                connection.execute(delete(table).where(table.c.case_id.in_(case_ids)))
            connection.execute(delete(vault).where(vault.c.patient_id == patient_id))
            append_audit(connection, event)
        forget_deleted_rows(self._engine)
        return True

    def cases_with_photos(self, *, before: datetime, limit: int) -> tuple[Case, ...]:
        """See the port."""
        kept = case_rows().where(cases.c.has_photos, cases.c.received_at < before, cases.c.state != RECEIVED).limit(limit)
        with database_errors("records"), reading(self._engine) as connection:
            return tuple(to_case(row, self._vault) for row in connection.execute(kept))

    def mark_photos_deleted(self, case_ids: Sequence[str], event: AuditEvent) -> None:
        """See the port."""
        with database_errors("records"), writing(self._engine) as connection:
            self._strip(connection, case_ids)
            append_audit(connection, event)
        forget_deleted_rows(self._engine)

    def _strip(self, connection: Connection, case_ids: Sequence[str]) -> None:
        held = select(cases.c.case_id, cases.c.sealed).where(cases.c.case_id.in_(case_ids), cases.c.state != ERASED).with_for_update()
        for row in connection.execute(held).all():
            bare = Case.model_validate_json(self._vault.unseal(row.sealed)).without_traces()
            changes = {"sealed": self._vault.seal(bare.model_dump_json()), "has_photos": False}
            connection.execute(update(cases).where(cases.c.case_id == row.case_id).values(changes))

    def drop_raw_messages(self, *, before: datetime, event: AuditEvent) -> int:
        """See the port."""
        with database_errors("records"), writing(self._engine) as connection:
            dropped = connection.execute(delete(inbox).where(inbox.c.received_at < before)).rowcount
            if dropped:
                append_audit(connection, event.model_copy(update={"details": event.details | {"messages": dropped}}))
        if dropped:
            forget_deleted_rows(self._engine)
        return dropped

    def add_audit(self, event: AuditEvent) -> None:
        """See the port."""
        with database_errors("records"), writing(self._engine) as connection:
            append_audit(connection, event)

    def audit(self) -> Iterator[AuditEntry]:
        """See the port."""
        last = 0
        while True:
            page = select(audit).where(audit.c.position > last).order_by(audit.c.position).limit(_CHUNK)
            with database_errors("records"), reading(self._engine) as connection:
                rows = connection.execute(page).mappings().all()
            if not rows:
                return
            yield from (AuditEntry.model_validate(dict(row) | {"details": json.loads(row["details"])}) for row in rows)
            last = rows[-1]["position"]

    def reseal(self) -> int:
        """Seal everything with the vault's first key; return how many contents. Not part of the port: only a disk needs it."""
        resealed = 0
        for table in _SEALED_TABLES:
            (key,) = table.primary_key.columns
            with database_errors("records"), writing(self._engine) as connection:
                held = select(key, table.c.sealed).where(func.length(table.c.sealed) > 0).with_for_update()
                for name, sealed in connection.execute(held).all():
                    anew = self._vault.seal(self._vault.unseal(sealed))
                    connection.execute(update(table).where(key == name).values(sealed=anew))
                    resealed += 1
        forget_deleted_rows(self._engine)
        return resealed


def prove_key(engine: Engine, sealing: Vault) -> None:
    """Open what the first vault sealed here, or be the first: a wrong key must be noticed before anything is sealed with it.

    Raises:
        BadSettings: the vault has not the key that these records were sealed with.
    """
    with reading(engine) as connection:
        sealed = connection.execute(select(vault_check.c.sealed)).scalar()
    if sealed is None:
        try:
            with writing(engine) as connection:
                connection.execute(insert(vault_check).values(check_id=1, sealed=sealing.seal(_PROOF)))
        except IntegrityError:  # another process was first
            prove_key(engine, sealing)
        return
    sealing.unseal(sealed)


def needs_old_key(database: Path, *, new: Vault, old: Vault) -> bool:
    """Whether an old key opens something in a file of SQLite, records or queue of whatever schema, that the new one does not.

    Raises:
        ServiceUnavailable: the file cannot be read.
    """
    engine = open_engine(f"sqlite:///{database}")
    try:
        with database_errors("database"), reading(engine) as connection:
            tables = inspect(connection)
            names = [name for name in tables.get_table_names() if "sealed" in {one["name"] for one in tables.get_columns(name)}]
            contents = (one for name in names for one in connection.execute(TableClause(name, column("sealed")).select()).scalars())
            return any(not _opens(new, content) and _opens(old, content) for content in contents)
    finally:
        engine.dispose()


def _opens(sealing: Vault, content: bytes) -> bool:
    try:
        sealing.unseal(content)
    except BadSettings:
        return False
    return True


def keep_identity(connection: Connection, case: Case, sealing: Vault) -> None:
    """Write what the message tells of the person; what it does not tell stays as it was."""
    patient, told = case.screening.patient, case.identity
    if patient is None or told is None:
        return
    held = select(vault.c.sealed).where(vault.c.patient_id == patient.patient_id).with_for_update()
    known = connection.execute(held).scalar()
    if known is None:
        connection.execute(insert(vault).values(patient_id=patient.patient_id, sealed=sealing.seal(told.model_dump_json())))
        return
    whole = Identity.model_validate_json(sealing.unseal(known)).model_copy(update=told.model_dump(exclude_none=True))
    changed = update(vault).where(vault.c.patient_id == patient.patient_id)
    connection.execute(changed.values(sealed=sealing.seal(whole.model_dump_json())))


def _case_ids(connection: Connection, patient_id: str) -> tuple[str, ...]:
    of_patient = select(cases.c.case_id).where(cases.c.patient_id == patient_id).order_by(cases.c.received_at, cases.c.case_id)
    return tuple(connection.execute(of_patient).scalars())


def _held_case_ids(connection: Connection, patient_id: str) -> tuple[str, ...]:
    """The cases of a patient, held for this transaction: nobody adds a diagnosis or a report to them meanwhile."""
    of_patient = select(cases.c.case_id).where(cases.c.patient_id == patient_id).order_by(cases.c.case_id).with_for_update()
    return tuple(connection.execute(of_patient).scalars())


def append_audit(connection: Connection, event: AuditEvent) -> None:
    """Chain the event to the last entry; on PostgreSQL nobody else appends meanwhile, SQLite has one writer anyhow."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("LOCK TABLE audit IN EXCLUSIVE MODE")
    last = connection.execute(select(audit.c.position, audit.c.entry_hash).order_by(audit.c.position.desc()).limit(1)).first()
    position, previous_hash = (last.position + 1, last.entry_hash) if last else (1, GENESIS)
    entry = chain(event, position=position, previous_hash=previous_hash)
    connection.execute(insert(audit).values(entry.model_dump() | {"details": json.dumps(entry.details, ensure_ascii=False)}))
