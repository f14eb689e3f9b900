"""What a challenger said, in SQLite or PostgreSQL."""

from collections.abc import Iterator
from datetime import datetime

from sqlalchemy import Engine, exists, insert, select

from eye_dx_core.records.engine import database_errors, reading, writing
from eye_dx_core.records.holding import lock_case
from eye_dx_core.records.port import CaseRecord
from eye_dx_core.records.rows import DIAGNOSED, REPORTED, REVIEWED, case_rows, records_of, to_case
from eye_dx_core.records.tables import cases, shadow_readings
from eye_dx_core.schema.case import Case
from eye_dx_core.schema.shadow import ShadowReading
from eye_dx_core.vault import Vault

_CHUNK = 500


class SqlShadows:
    """The part `Shadows` of the port `Records`."""

    _engine: Engine
    _vault: Vault

    def cases_to_shadow(self, *, checkpoint_sha256: str, since: datetime, limit: int) -> tuple[Case, ...]:
        """See the port."""
        said = exists().where(shadow_readings.c.case_id == cases.c.case_id, shadow_readings.c.checkpoint_sha256 == checkpoint_sha256)
        unread = (
            select(cases.c.case_id)
            .where(cases.c.received_at >= since, cases.c.state.in_((DIAGNOSED, REVIEWED, REPORTED)), cases.c.has_photos, ~said)
            .order_by(cases.c.received_at.desc(), cases.c.case_id.desc())
            .limit(limit)
        )
        with database_errors("records"), reading(self._engine) as connection:
            case_ids = connection.execute(unread).scalars().all()
            rows = connection.execute(case_rows().where(cases.c.case_id.in_(case_ids))).all()
        return tuple(to_case(row, self._vault) for row in reversed(rows))

    def add_shadow_reading(self, reading: ShadowReading) -> bool:
        """See the port."""
        reading_id = f"{reading.case_id}/{reading.checkpoint_sha256}"
        row = reading.model_dump(include={"case_id", "checkpoint_sha256", "read_at"}) | {"reading_id": reading_id}
        with database_errors("records"), writing(self._engine) as connection:
            known = select(shadow_readings.c.case_id).where(shadow_readings.c.reading_id == reading_id)
            if lock_case(connection, reading.case_id) is None or connection.execute(known).first():
                return False
            connection.execute(insert(shadow_readings).values(**row, sealed=self._vault.seal(reading.model_dump_json())))
            return True

    def shadow_readings(self, *, checkpoint_sha256: str) -> Iterator[tuple[CaseRecord, ShadowReading]]:
        """See the port."""
        of_checkpoint = shadow_readings.c.checkpoint_sha256 == checkpoint_sha256
        order = (shadow_readings.c.read_at, shadow_readings.c.case_id)
        with database_errors("records"), reading(self._engine) as connection:
            ids = connection.execute(select(shadow_readings.c.reading_id).where(of_checkpoint).order_by(*order)).scalars().all()
        for start in range(0, len(ids), _CHUNK):
            some = select(shadow_readings.c.sealed).where(shadow_readings.c.reading_id.in_(ids[start : start + _CHUNK]))
            with database_errors("records"), reading(self._engine) as connection:
                sealed = connection.execute(some.order_by(*order)).scalars().all()
                said = [ShadowReading.model_validate_json(self._vault.unseal(one)) for one in sealed]
                known = {one.case.case_id: one for one in records_of(connection, [one.case_id for one in said], self._vault)}
            yield from ((known[one.case_id], one) for one in said if one.case_id in known)
