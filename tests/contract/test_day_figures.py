"""Every adapter keeps what the clinic's day counts with its case, whatever happens to the case."""

from datetime import timedelta

import pytest
from sqlalchemy import select, update

from eye_dx_core.records.audit import AuditEvent
from eye_dx_core.records.engine import open_engine, writing
from eye_dx_core.records.figures import CASE_COLUMNS, DayFigures, figures_of
from eye_dx_core.records.outgoing import OutboxMessage
from eye_dx_core.records.port import Records
from eye_dx_core.records.sql import SqlRecords
from eye_dx_core.records.tables import figures
from tests.builders import NOON, a_case, a_diagnosis, a_report, a_review
from tests.services import open_records

DAY = timedelta(days=1)


def an_announcement(case_id: str) -> OutboxMessage:
    return OutboxMessage(message_id=f"m-{case_id}", case_id=case_id, queue="q", type="ai-result/1", body=b"{}", created_at=NOON)


def go_through(records: Records, case_id: str, *, steps: int) -> None:
    """Take a case as many steps as are asked for: read, reviewed, reviewed again, reported, sent."""
    records.add_case(a_case(case_id), b"{}")
    acts = (
        lambda: records.add_diagnosis(a_diagnosis(case_id), [an_announcement(case_id)]),
        lambda: records.add_review(a_review(case_id, review_id=f"first-{case_id}")),
        lambda: records.add_review(a_review(case_id, review_id=f"second-{case_id}", conclusion="白内障")),
        lambda: records.add_report(a_report(case_id), []),
        lambda: records.mark_sent(f"m-{case_id}", sent_at=NOON + DAY),
    )
    for act in acts[:steps]:
        act()


def column(figures: DayFigures, name: str) -> list[object]:
    return [row[CASE_COLUMNS.index(name)] for row in figures.cases]


def test_the_day_counts_what_the_whole_records_say_after_every_step(records: Records):
    for steps in range(6):
        go_through(records, f"case-{steps}", steps=steps)

    counted = records.day_figures(since=NOON, until=NOON + DAY)

    assert counted == figures_of(records.case_records(since=NOON, until=NOON + DAY))
    assert column(counted, "said") == [None, None, "高度近视", "白内障", "白内障", "白内障"]
    assert [row[2] for row in counted.deliveries] == [None] * 4 + [(NOON + DAY).timestamp()]
    assert records.count_diagnosed(since=NOON, until=NOON + DAY) == 5


def test_a_review_that_came_before_the_diagnosis_is_counted(records: Records):
    records.add_case(a_case(), b"{}")
    records.add_review(a_review())
    early = records.day_figures(since=NOON, until=NOON + DAY)
    records.add_diagnosis(a_diagnosis(), [])
    late = records.day_figures(since=NOON, until=NOON + DAY)

    assert (column(early, "said"), column(early, "conclusion")) == (["高度近视"], [None])
    assert late == figures_of([records.get_case_record("case-1")])


def test_the_day_is_half_open_and_in_order_of_receipt(records: Records):
    for number, at in (("2", NOON + timedelta(hours=1)), ("1", NOON), ("3", NOON + DAY)):
        records.add_case(a_case(f"case-{number}").model_copy(update={"received_at": at}), b"{}")

    received = column(records.day_figures(since=NOON, until=NOON + DAY), "received_at")
    assert received == [NOON.timestamp(), (NOON + timedelta(hours=1)).timestamp()]


def test_what_the_day_counts_is_erased_with_the_patient(records: Records):
    go_through(records, "case-1", steps=5)

    records.erase_patient("P2025001", AuditEvent(at=NOON, actor="a", action="erase", subject="P2025001"))

    assert records.day_figures(since=NOON, until=NOON + DAY) == DayFigures()
    if isinstance(records, SqlRecords):
        with records._engine.connect() as connection:
            assert connection.execute(select(figures)).all() == []


@pytest.mark.parametrize("older", [{"version": 0}, {"state": "received"}])
def test_figures_of_another_version_or_an_earlier_state_are_taken_anew(url: str, older: dict[str, object]):
    records = open_records(url)
    go_through(records, "case-1", steps=4)
    engine = open_engine(url)
    with writing(engine) as connection:
        connection.execute(update(figures).values(sealed=records._vault.seal("[[],[],[]]"), **older))
    engine.dispose()

    counted = records.day_figures(since=NOON, until=NOON + DAY)
    records.close()

    assert column(counted, "said") == ["白内障"]


def test_nothing_that_the_day_counts_lies_open_on_the_disk(url: str):
    records = open_records(url)
    go_through(records, "case-1", steps=5)
    with records._engine.connect() as connection:
        (row,) = connection.execute(select(figures)).all()
    opened = records._vault.unseal(row.sealed).decode()
    records.close()

    assert "白内障".encode() not in row.sealed
    assert "唐医生" not in opened
    assert "避免剧烈运动" not in opened
