"""What the databases hold is sealed, with keys that can be changed; records of an older schema are sealed when they are opened."""

import json

import pytest
from sqlalchemy import select, text, update

from eye_dx_core.errors import BadSettings, NotFound
from eye_dx_core.records import migrating
from eye_dx_core.records.engine import open_engine, reading, writing
from eye_dx_core.records.port import MAX_ATTEMPTS
from eye_dx_core.records.sql import SqlRecords
from eye_dx_core.records.tables import cases, metadata, outbox
from eye_dx_core.vault import Vault, new_key
from tests.builders import NOON, a_case, a_diagnosis, a_report, a_review
from tests.contract.test_records import add_announced, an_announcement
from tests.services import A_KEY, open_records


def test_no_table_holds_anything_of_a_person_in_the_clear(url: str):
    records = open_records(url)
    case = a_case(photos=("visit/测试甲_OD.jpg",))
    noted = case.screening.model_copy(update={"notes": "母亲测试丙患青光眼"})
    records.add_case(case.model_copy(update={"screening": noted}), "测试甲".encode())
    records.add_diagnosis(a_diagnosis(), [an_announcement().model_copy(update={"body": "致测试甲".encode()})])
    records.add_review(a_review(conclusion="测试甲高度近视"))
    records.add_report(a_report().model_copy(update={"opinion": "测试甲的右眼"}), [])
    engine = open_engine(url)
    with engine.connect() as connection:
        for table in metadata.sorted_tables:
            values = [value for row in connection.execute(table.select()) for value in row]
            stored = b" ".join(value if isinstance(value, bytes) else str(value).encode() for value in values)
            for secret in ("测试", "13800138000", "visit/", "唐医生"):
                assert secret.encode() not in stored, table.name
    engine.dispose()
    found = records.get_case_record("case-1")
    assert (found.case.screening.photos[0].location, found.outbox[0].body) == ("visit/测试甲_OD.jpg", "致测试甲".encode())
    records.close()


def test_another_key_is_refused_before_anything_is_sealed_with_it(url: str):
    open_records(url).close()

    with pytest.raises(BadSettings, match="put the key back"):
        SqlRecords(url, vault=Vault([new_key()]))


def test_a_case_that_cannot_be_opened_is_stuck_alone(url: str, caplog: pytest.LogCaptureFixture):
    records = open_records(url)
    for number in range(3):
        records.add_case(a_case(f"case-{number}"), b"raw")
    engine = open_engine(url)
    with writing(engine) as connection:
        connection.execute(update(cases).where(cases.c.case_id == "case-1").values(sealed=b"damaged"))
    engine.dispose()

    claimed = records.claim_undiagnosed(limit=3, lease_seconds=60)

    assert [case.case_id for case in claimed] == ["case-0", "case-2"]
    assert "case-1 cannot be opened" in caplog.text
    for _ in range(MAX_ATTEMPTS - 1):
        assert records.claim_undiagnosed(limit=3, lease_seconds=-1) == ()
    records.close()


def test_a_message_that_cannot_be_opened_waits_alone(url: str, caplog: pytest.LogCaptureFixture):
    records = open_records(url)
    for number in range(3):
        add_announced(records, f"case-{number}")
    engine = open_engine(url)
    with writing(engine) as connection:
        connection.execute(update(outbox).where(outbox.c.case_id == "case-1").values(sealed=b"damaged"))

    claimed = records.claim_unsent(limit=3, lease_seconds=0)

    assert [one.case_id for one in claimed] == ["case-0", "case-2"]
    assert "of case case-1 cannot be opened" in caplog.text
    with reading(engine) as connection:
        failed = connection.execute(select(outbox.c.attempts, outbox.c.last_error).where(outbox.c.case_id == "case-1")).one()
    assert failed.attempts == 1
    assert "key" in failed.last_error
    engine.dispose()
    records.close()


def test_many_messages_that_cannot_be_opened_do_not_hide_the_rest(url: str):
    records = open_records(url)
    for number in range(5):
        add_announced(records, f"case-{number}")
    with writing(records._engine) as connection:
        connection.execute(update(outbox).where(outbox.c.case_id != "case-4").values(sealed=b"damaged"))

    assert [one.case_id for one in records.claim_unsent(limit=2, lease_seconds=60)] == ["case-4"]
    assert records.claim_unsent(limit=2, lease_seconds=60) == ()
    records.close()


def test_a_changed_key_seals_everything_anew(url: str):
    records, new = open_records(url), new_key()
    records.add_case(a_case(), b"raw")
    records.add_diagnosis(a_diagnosis(), [an_announcement()])
    before = records.get_case_record("case-1")
    records.close()

    both = SqlRecords(url, vault=Vault([new, A_KEY]))
    assert both.reseal() == 7  # proof, identity, case, message, diagnosis, announcement, what its day counts
    both.close()

    alone = SqlRecords(url, vault=Vault([new]))
    assert alone.get_case_record("case-1") == before
    assert alone.get_raw_message("case-1") == b"raw"
    alone.close()
    with pytest.raises(BadSettings):
        open_records(url)


def test_records_of_the_first_schema_are_kept_and_sealed(url: str):
    engine = open_engine(url)
    with writing(engine) as connection:
        migrating.run_migrations(connection, Vault([A_KEY]), to="0001")
        connection.execute(text("INSERT INTO identities VALUES ('P1', '测试甲', '13800138000', NULL)"))
        case = a_case().model_dump(mode="json", exclude={"producer"})
        case["screening"]["patient"] |= {"patient_id": "P1", "name": None, "phone": None}
        row = {"case_id": "case-1", "message": "m-1", "at": NOON.replace(tzinfo=None), "content": json.dumps(case)}
        connection.execute(
            text(
                "INSERT INTO cases (case_id, source_queue, message_id, patient_id, body_sha256, received_at, content, state, attempts,"
                " claimed_until) VALUES (:case_id, 'eye_dx_screenings', :message, 'P1', '0', :at, :content, 'diagnosed', 0, 0)"
            ),
            row,
        )
        row |= {"content": a_diagnosis().model_dump_json(), "body": b"{}"}
        connection.execute(text("INSERT INTO diagnoses VALUES (:case_id, '3', :at, :content)"), row)
        for message in ("a", "b"):
            connection.execute(text("INSERT INTO outbox VALUES (:m, :case_id, 'q', 't', :body, :at, NULL, 0, NULL)"), row | {"m": message})
    engine.dispose()

    records = open_records(url)
    record = records.get_case_record("case-1")

    assert record.case.screening.patient is not None
    assert (record.case.screening.patient.name, record.case.producer) == ("测试甲", "eye_dx_screenings")
    assert (record.diagnosis, [one.message_id for one in record.outbox]) == (a_diagnosis(), ["a", "b"])
    with pytest.raises(NotFound, match="message of case-1 is not kept"):
        records.get_raw_message("case-1")
    records.close()
