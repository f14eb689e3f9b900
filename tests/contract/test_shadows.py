"""Every adapter of the records keeps what a challenger said in the same way: apart, once, and no longer than its patient."""

from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from eye_dx_core.records.port import Records
from eye_dx_core.schema.shadow import ShadowReading
from tests.builders import NOON, a_case, a_diagnosis
from tests.contract.test_custody import add_whole_case, an_event
from tests.services import open_records

DAY = timedelta(days=1)
THEIRS = "c" * 64


def a_shadow(case_id: str = "case-1", **changes: object) -> ShadowReading:
    said = a_diagnosis(case_id, right="D").model_copy(update={"model_version": "4", "checkpoint_sha256": THEIRS})
    reading = ShadowReading(case_id=case_id, model_version="4", checkpoint_sha256=THEIRS, read_at=NOON, diagnosis=said)
    return reading.model_copy(update=changes)


def waiting(records: Records, *, checkpoint: str = THEIRS, limit: int = 9) -> list[str]:
    return [one.case_id for one in records.cases_to_shadow(checkpoint_sha256=checkpoint, since=NOON - DAY, limit=limit)]


def test_a_challenger_is_given_what_the_champion_has_read_lately_the_newest_first(records: Records):
    for number, age in ((1, 2), (2, 3), (3, 30), (4, 1)):
        add_whole_case(records, number, patient_id=f"P{number}", received_at=-timedelta(hours=age))
    records.add_case(a_case("case-5"), b"raw")
    records.mark_photos_deleted(["case-4"], an_event("delete"))

    assert waiting(records) == ["case-1", "case-2"]
    assert waiting(records, limit=1) == ["case-1"]


def test_a_reading_is_kept_once_for_each_checkpoint_and_the_case_does_not_come_again(records: Records):
    add_whole_case(records, 1, patient_id="P1")

    assert [records.add_shadow_reading(a_shadow()), records.add_shadow_reading(a_shadow(model_version="9"))] == [True, False]
    assert records.add_shadow_reading(a_shadow("case-9")) is False

    assert (waiting(records), waiting(records, checkpoint="d" * 64)) == ([], ["case-1"])
    ((record, reading),) = records.shadow_readings(checkpoint_sha256=THEIRS)
    assert reading == a_shadow()
    assert record == records.get_case_record("case-1")
    assert list(records.shadow_readings(checkpoint_sha256="d" * 64)) == []


def test_readings_come_in_the_order_in_which_they_were_said(records: Records):
    for number in range(1, 4):
        add_whole_case(records, number, patient_id="P1")
        records.add_shadow_reading(a_shadow(f"case-{number}", read_at=NOON - number * DAY))

    assert [one.case_id for _, one in records.shadow_readings(checkpoint_sha256=THEIRS)] == ["case-3", "case-2", "case-1"]


def test_what_a_challenger_could_not_read_is_kept_as_that(records: Records):
    add_whole_case(records, 1, patient_id="P1")

    records.add_shadow_reading(a_shadow(diagnosis=None, failure="ValueError"))

    assert [one.failure for _, one in records.shadow_readings(checkpoint_sha256=THEIRS)] == ["ValueError"]
    with pytest.raises(ValidationError, match="a diagnosis or a failure"):
        ShadowReading(case_id="case-1", model_version="4", checkpoint_sha256=THEIRS, read_at=NOON)


def test_nothing_else_that_is_asked_of_a_case_tells_of_its_shadow(records: Records):
    add_whole_case(records, 1, patient_id="P1")
    before = (records.get_case_record("case-1"), records.backlog(), records.find_diagnosis("case-1"), records.find_work())
    figures = records.day_figures(since=NOON, until=NOON + DAY)

    records.add_shadow_reading(a_shadow())

    assert (records.get_case_record("case-1"), records.backlog(), records.find_diagnosis("case-1"), records.find_work()) == before
    assert records.day_figures(since=NOON, until=NOON + DAY) == figures


def test_a_shadow_goes_with_its_patient(records: Records):
    for number in (1, 2):
        add_whole_case(records, number, patient_id=f"P{number}")
        records.add_shadow_reading(a_shadow(f"case-{number}"))

    records.erase_patient("P1", an_event())
    assert [one.case_id for _, one in records.shadow_readings(checkpoint_sha256=THEIRS)] == ["case-2"]
    assert records.add_shadow_reading(a_shadow("case-1")) is False

    assert records.forget_identity("P2", unseen_since=NOON + DAY, event=an_event("forget"))
    assert list(records.shadow_readings(checkpoint_sha256=THEIRS)) == []


def test_what_a_challenger_said_lies_sealed_on_the_disk(tmp_path: Path):
    records = open_records(f"sqlite:///{tmp_path}/records.db")
    add_whole_case(records, 1, patient_id="P1")
    records.add_shadow_reading(a_shadow(diagnosis=None, failure="QuiteAnUnusualError"))
    assert records.reseal() > 0
    assert [one.failure for _, one in records.shadow_readings(checkpoint_sha256=THEIRS)] == ["QuiteAnUnusualError"]
    records.close()

    on_disk = b"".join(path.read_bytes() for path in tmp_path.iterdir())

    assert THEIRS.encode() in on_disk
    assert b"QuiteAnUnusualError" not in on_disk
