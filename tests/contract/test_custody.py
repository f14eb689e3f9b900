"""Every adapter of the records keeps, forgets and accounts for what tells of persons in the same way."""

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from eye_dx_core.errors import NotFound
from eye_dx_core.records.audit import AuditEntry, AuditEvent, BrokenAudit, pseudonym, verify_chain
from eye_dx_core.records.engine import open_engine, writing
from eye_dx_core.records.port import Records
from eye_dx_core.schema.case import DELETED
from tests.builders import NOON, a_case, a_diagnosis, a_patient, a_report, a_review
from tests.contract.test_records import an_announcement
from tests.services import open_records, own_postgres

DAY = timedelta(days=1)
EVER = {"since": NOON - 999 * DAY, "until": NOON + 999 * DAY}


def an_event(action: str = "erase", subject: str = "patient:1") -> AuditEvent:
    return AuditEvent(at=NOON, actor="tester", action=action, subject=subject, details={"reason": "asked for it"})


def add_whole_case(records: Records, number: int, *, patient_id: str, received_at: timedelta = timedelta()) -> None:
    case = a_case(f"case-{number}")
    screening = case.screening.model_copy(update={"patient": a_patient(patient_id), "notes": "note"})
    records.add_case(case.model_copy(update={"screening": screening, "received_at": NOON + received_at}), b"raw")
    records.add_diagnosis(a_diagnosis(f"case-{number}"), [an_announcement(f"case-{number}")])
    records.add_review(a_review(f"case-{number}", review_id=f"review-{number}"))
    records.add_report(a_report(f"case-{number}"), [an_announcement(f"case-{number}", "report")])


def test_the_message_is_kept_as_it_came(records: Records):
    records.add_case(a_case(), b'\xff not even JSON {"a": 1}')

    assert records.get_raw_message("case-1") == b'\xff not even JSON {"a": 1}'


def test_an_erased_patient_is_gone_and_a_repeat_revives_nothing(records: Records):
    for number in (1, 2):
        add_whole_case(records, number, patient_id="P1")
    add_whole_case(records, 3, patient_id="P2")
    assert records.find_case_ids(patient_id="P1") == ("case-1", "case-2")

    assert records.erase_patient("P1", an_event(subject=pseudonym("P1"))) == ("case-1", "case-2")

    assert [record.case.case_id for record in records.case_records(**EVER)] == ["case-3"]
    assert records.find_case_ids(patient_id="P1") == ()
    for look in (records.get_case, records.get_case_record, records.get_raw_message):
        with pytest.raises(NotFound):
            look("case-1")
    assert (records.find_diagnosis("case-1"), records.find_review("case-1"), records.find_report("case-1")) == (None, None, None)
    assert [one.case_id for one in records.claim_unsent(limit=9, lease_seconds=60)] == ["case-3"]
    assert records.add_case(a_case("case-1"), b"raw") is False
    assert records.claim_undiagnosed(limit=9, lease_seconds=60) == ()
    assert records.add_diagnosis(a_diagnosis("case-1"), []) is False
    (entry,) = records.audit()
    assert (entry.action, entry.subject, entry.actor) == ("erase", pseudonym("P1"), "tester")
    assert "P1" not in entry.model_dump_json().replace(pseudonym("P1"), "")


def test_who_was_not_seen_for_a_term_becomes_anonymous_and_the_findings_stay(records: Records):
    add_whole_case(records, 1, patient_id="P1")
    add_whole_case(records, 2, patient_id="P1", received_at=9 * DAY)
    add_whole_case(records, 3, patient_id="P2")

    assert records.find_identities_to_forget(unseen_since=NOON + DAY) == ("P2",)
    assert records.forget_identity("P2", unseen_since=NOON + DAY, event=an_event("forget"))

    forgotten, known = records.get_case_record("case-3"), records.get_case_record("case-1")
    assert forgotten.case.screening.patient is not None
    assert (forgotten.case.screening.patient.name, forgotten.case.screening.patient.age_years) == (None, 45)
    assert (forgotten.case.screening.notes, {photo.location for photo in forgotten.case.screening.photos}) == ("", {DELETED})
    assert forgotten.diagnosis == a_diagnosis("case-3")
    assert known.case.screening.patient is not None
    assert known.case.screening.patient.name == "测试甲"
    with pytest.raises(NotFound):
        records.get_raw_message("case-3")
    assert records.find_identities_to_forget(unseen_since=NOON + DAY) == ()


def test_a_case_is_forgotten_when_it_came_and_its_patient_was_erased_or_lost_the_identity(records: Records):
    for number in (1, 2, 3):
        add_whole_case(records, number, patient_id=f"P{number}")
    nobody = a_case("case-4")
    records.add_case(nobody.model_copy(update={"screening": nobody.screening.model_copy(update={"patient": None})}), b"raw")
    records.erase_patient("P1", an_event())
    assert records.forget_identity("P2", unseen_since=NOON + DAY, event=an_event("forget"))

    assert records.find_forgotten([f"case-{number}" for number in range(1, 6)]) == {"case-1", "case-2"}  # nobody heard of case-5
    assert records.find_forgotten([]) == frozenset()


def test_who_comes_again_meanwhile_or_waits_for_the_model_is_not_forgotten(records: Records):
    add_whole_case(records, 1, patient_id="P1", received_at=2 * DAY)
    case = a_case("case-2")
    unread = case.screening.model_copy(update={"patient": a_patient("P2")})
    records.add_case(case.model_copy(update={"screening": unread}), b"raw")

    assert records.find_identities_to_forget(unseen_since=NOON + DAY) == ()
    for patient_id in ("P1", "P2"):
        assert records.forget_identity(patient_id, unseen_since=NOON + DAY, event=an_event("forget")) is False
    assert records.get_case("case-2").screening.photos == case.screening.photos
    assert list(records.audit()) == []


def test_a_patient_without_identity_may_come_again(records: Records):
    add_whole_case(records, 1, patient_id="P1")
    assert records.forget_identity("P1", unseen_since=NOON + DAY, event=an_event("forget"))

    add_whole_case(records, 2, patient_id="P1")

    patient = records.get_case("case-2").screening.patient
    assert patient is not None
    assert patient.name == "测试甲"


def test_photographs_are_offered_for_deletion_once_and_never_before_they_were_read(records: Records):
    add_whole_case(records, 1, patient_id="P1")
    add_whole_case(records, 2, patient_id="P1", received_at=2 * DAY)
    records.add_case(a_case("case-3"), b"raw")

    due = records.cases_with_photos(before=NOON + DAY, limit=9)
    assert [case.case_id for case in due] == ["case-1"]
    records.mark_photos_deleted(["case-1"], an_event("delete_photos"))

    assert records.cases_with_photos(before=NOON + DAY, limit=9) == ()
    assert {photo.location for photo in records.get_case("case-1").screening.photos} == {DELETED}
    assert [entry.action for entry in records.audit()] == ["delete_photos"]


def test_messages_are_dropped_after_their_term(records: Records):
    add_whole_case(records, 1, patient_id="P1")
    add_whole_case(records, 2, patient_id="P1", received_at=2 * DAY)

    assert records.drop_raw_messages(before=NOON + DAY, event=an_event("drop_messages")) == 1
    assert records.drop_raw_messages(before=NOON + DAY, event=an_event("drop_messages")) == 0

    assert records.get_raw_message("case-2") == b"raw"
    with pytest.raises(NotFound):
        records.get_raw_message("case-1")
    (entry,) = records.audit()
    assert entry.details == {"reason": "asked for it", "messages": 1}


def test_the_audit_log_is_a_chain_that_shows_every_change(records: Records):
    for number in range(5):
        records.add_audit(an_event(subject=f"case-{number}"))
    entries = list(records.audit())

    assert verify_chain(entries) == (5, entries[-1].entry_hash)
    tampered = {
        "changed": [*entries[:2], entries[2].model_copy(update={"actor": "nobody"}), *entries[3:]],
        "taken out": [*entries[:2], *entries[3:]],
        "swapped": [entries[1], entries[0], *entries[2:]],
        "the first gone": entries[1:],
    }
    for what, changed in tampered.items():
        assert _is_broken(changed), what


def _is_broken(entries: list[AuditEntry]) -> bool:
    try:
        verify_chain(entries)
    except BrokenAudit:
        return True
    return False


@pytest.mark.parametrize("change", ["UPDATE audit SET actor = 'nobody'", "DELETE FROM audit"])
@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgresql", marks=pytest.mark.service)])
def test_the_database_refuses_to_change_the_audit_log(kind: str, change: str, tmp_path: Path):
    def try_it(url: str) -> None:
        records, engine = open_records(url), open_engine(url)
        records.add_audit(an_event())
        with pytest.raises(DBAPIError, match="append-only"), writing(engine) as connection:
            connection.execute(text(change))
        engine.dispose()
        records.close()

    if kind == "sqlite":
        try_it(f"sqlite:///{tmp_path}/records.db")
        return
    with own_postgres() as url:
        try_it(url)


def test_what_was_erased_is_in_no_file_of_sqlite(tmp_path: Path):
    """Not even as ciphertext: the key is still there, and a database does not overwrite by itself."""
    records = open_records(f"sqlite:///{tmp_path}/records.db")
    add_whole_case(records, 1, patient_id="P1")
    engine = open_engine(f"sqlite:///{tmp_path}/records.db")
    with engine.connect() as connection:
        sealed = [bytes(connection.execute(text(f"SELECT sealed FROM {table}")).scalar_one()) for table in ("vault", "inbox", "cases")]
    engine.dispose()

    records.erase_patient("P1", an_event())

    content = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert all(one[:64] not in content for one in sealed)
    records.close()
