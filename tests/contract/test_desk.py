"""Every adapter of the records keeps what the review desk needs in the same way."""

import time
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import event

from eye_dx_core.errors import ConflictingMessage, NotFound
from eye_dx_core.records.accounts import Role, User, UserExists
from eye_dx_core.records.desk import CaseStage, DeskNote, Held, NoteKind, PatientLink, StaleForm, WorkFilter
from eye_dx_core.records.port import Records
from eye_dx_core.schema.review import Addendum
from eye_dx_core.schema.routing import Routing, RoutingReason, Subject, Urgency
from tests.builders import NOON, a_case, a_diagnosis, a_report, a_review
from tests.contract.test_custody import add_whole_case, an_event
from tests.contract.test_records import an_announcement
from tests.services import open_records

HOUR = timedelta(hours=1)


def a_routing(urgency: Urgency) -> Routing:
    reason = RoutingReason(
        rule="D", subject=Subject.PHOTOGRAPH, eye=None, urgency=urgency, within_days=1, icd10="H36.0", zh="转诊", en="refer", source="test"
    )
    return Routing(urgency=urgency, within_days=1, icd10=("H36.0",), reasons=(reason,), rules_signed_by=None)


def add_read_case(records: Records, number: int, urgency: Urgency | None = Urgency.ROUTINE, *, received_at: timedelta = timedelta()) -> str:
    case_id = f"case-{number}"
    records.add_case(a_case(case_id).model_copy(update={"received_at": NOON + received_at}), b"raw")
    routing = a_routing(urgency) if urgency else None
    records.add_diagnosis(a_diagnosis(case_id).model_copy(update={"routing": routing}), [an_announcement(case_id)])
    return case_id


def a_note(case_id: str, kind: NoteKind = NoteKind.DRAFT, *, version: int = 1, written_by: str = "tang", content: str = "{}") -> DeskNote:
    written_at = NOON + timedelta(seconds=version)
    return DeskNote(case_id=case_id, kind=kind, written_by=written_by, version=version, written_at=written_at, content=content)


def a_user(name: str = "tang", **changes: object) -> User:
    user = User(user_name=name, display_name="唐医生", role=Role.DOCTOR, password_hash="$argon2id$x", added_at=NOON)
    return user.model_copy(update=changes)


def listed(records: Records, *, limit: int = 9, offset: int = 0, **wanted: object) -> list[str]:
    found = records.work_list(WorkFilter.model_validate(wanted), now=NOON, limit=limit, offset=offset)
    return [item.case_id for item in found.items]


def test_the_most_urgent_come_first_then_the_oldest_and_what_has_no_proposal_waits_among_the_soon(records: Records):
    add_read_case(records, 1, Urgency.RECALL, received_at=-5 * HOUR)
    add_read_case(records, 2, Urgency.URGENT, received_at=-HOUR)
    add_read_case(records, 3, Urgency.URGENT, received_at=-2 * HOUR)
    add_read_case(records, 4, None)
    add_read_case(records, 5, Urgency.ROUTINE)
    records.add_case(a_case("case-6"), b"raw")

    assert listed(records) == ["case-3", "case-2", "case-4", "case-5", "case-1"]
    assert listed(records, limit=2, offset=1) == ["case-2", "case-4"]
    assert records.work_list(WorkFilter(), now=NOON, limit=1).total == 5
    assert listed(records, stages=(CaseStage.UNREAD, CaseStage.TO_REVIEW))[-1] == "case-6"


def test_the_list_is_narrowed_by_urgency_clock_holder_time_and_id(records: Records):
    add_read_case(records, 1, Urgency.SAME_DAY, received_at=-3 * HOUR)
    add_read_case(records, 2, Urgency.SAME_DAY, received_at=-HOUR)
    add_read_case(records, 3, Urgency.RECALL, received_at=-3 * HOUR)
    records.hold_case("case-3", holder="tang", lease_seconds=3000)
    now = records.work_list(WorkFilter(), now=NOON, limit=1).items[0]

    assert (now.urgency, now.review_due_at) == (Urgency.SAME_DAY, NOON - HOUR)
    assert listed(records, urgencies=(Urgency.RECALL,)) == ["case-3"]
    assert listed(records, is_overdue=True) == ["case-1"]
    assert listed(records, received_since=NOON - 2 * HOUR) == ["case-2"]
    assert listed(records, received_until=NOON - 2 * HOUR) == ["case-1", "case-3"]
    assert listed(records, case_id_prefix="case-2") == ["case-2"]
    assert listed(records, case_id_prefix="case_2") == []
    counted = records.count_work(now=NOON)
    assert counted == {one.value: 0 for one in Urgency} | {"same_day": 2, "recall": 1, "overdue": 1, "needs_second": 0}


def test_what_is_overdue_is_walked_in_the_order_of_the_list_and_not_sorted(tmp_path: Path):
    records, asked = open_records(f"sqlite:///{tmp_path}/records.db"), list[tuple[str, tuple[object, ...]]]()
    add_read_case(records, 1)
    event.listen(records._engine, "before_cursor_execute", lambda *given: asked.append((given[2], given[3])))
    assert listed(records, is_overdue=True) == []

    question, given = next(one for one in asked if "ORDER BY" in one[0])
    with records._engine.connect() as connection:
        plan = [str(row[-1]) for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {question}", given)]
    records.close()

    assert any("COVERING INDEX ix_cases_work (state=?)" in line for line in plan), plan
    assert sum("TEMP B-TREE" in line for line in plan) == 1, plan  # of the page alone


def test_a_held_case_is_its_holders_until_the_lease_is_over_or_given_back(records: Records):
    case_id = add_read_case(records, 1)

    until = records.hold_case(case_id, holder="tang", lease_seconds=600)
    assert records.find_holder(case_id) == "tang"
    assert abs(until.timestamp() - time.time() - 600) < 60
    with pytest.raises(Held, match="tang"):
        records.hold_case(case_id, holder="song", lease_seconds=600)
    records.let_go(case_id, holder="song")
    assert records.find_holder(case_id) == "tang"
    records.hold_case(case_id, holder="tang", lease_seconds=0)
    assert records.find_holder(case_id) is None
    records.hold_case(case_id, holder="song", lease_seconds=600)
    records.let_go(case_id, holder="song")
    assert records.find_holder(case_id) is None
    with pytest.raises(NotFound):
        records.hold_case("case-9", holder="tang", lease_seconds=600)


def test_a_draft_takes_the_place_of_the_version_before_it_and_of_no_other(records: Records):
    case_id = add_read_case(records, 1)
    records.save_note(a_note(case_id, content="one"))
    records.save_note(a_note(case_id, version=2, content="two"))

    with pytest.raises(StaleForm) as stale:
        records.save_note(a_note(case_id, version=2, content="other window"))
    assert stale.value.current is not None
    assert stale.value.current.content == "two"
    records.save_note(a_note(case_id, written_by="song", content="other doctor"))
    found = records.find_note(case_id, NoteKind.DRAFT, written_by="tang")
    assert found == a_note(case_id, version=2, content="two")
    assert records.find_note(case_id, NoteKind.BLIND_READING) is None
    with pytest.raises(NotFound):
        records.save_note(a_note("case-9"))


def test_there_is_one_first_signature_and_it_marks_the_case(records: Records):
    case_id = add_read_case(records, 1)
    records.save_note(a_note(case_id, NoteKind.FIRST_SIGNATURE), event=an_event("sign first", case_id))

    with pytest.raises(StaleForm):
        records.save_note(a_note(case_id, NoteKind.FIRST_SIGNATURE, written_by="song"))
    assert listed(records, needs_second=True) == [case_id]
    assert records.count_work(now=NOON)["needs_second"] == 1
    assert [entry.action for entry in records.audit()] == ["sign first"]


def test_a_signed_review_counts_ends_the_hold_and_keeps_only_the_blind_reading(records: Records):
    case_id = add_read_case(records, 1)
    records.hold_case(case_id, holder="tang", lease_seconds=600)
    for kind in NoteKind:
        records.save_note(a_note(case_id, kind))

    records.sign_review(a_review(case_id), signer="tang", draft_version=1, event=an_event("sign", case_id))

    assert records.find_review(case_id) == a_review(case_id)
    assert records.find_holder(case_id) is None
    assert [records.find_note(case_id, kind) is not None for kind in NoteKind] == [False, True, False]
    assert listed(records) == []
    assert [case.case_id for case in records.claim_unreported(limit=9, lease_seconds=60)] == [case_id]
    assert [entry.action for entry in records.audit()] == ["sign"]


def test_a_review_is_refused_that_is_stale_held_by_another_or_comes_second(records: Records):
    case_id = add_read_case(records, 1)
    records.save_note(a_note(case_id))
    records.save_note(a_note(case_id, version=2))
    sign = {"signer": "tang", "event": an_event("sign", case_id)}

    with pytest.raises(StaleForm):
        records.sign_review(a_review(case_id), draft_version=1, **sign)
    records.hold_case(case_id, holder="song", lease_seconds=600)
    with pytest.raises(Held):
        records.sign_review(a_review(case_id), draft_version=2, **sign)
    assert records.find_review(case_id) is None
    records.let_go(case_id, holder="song")
    records.sign_review(a_review(case_id), draft_version=2, **sign)
    with pytest.raises(ConflictingMessage):
        records.sign_review(a_review(case_id, review_id="review-2"), draft_version=0, **sign)
    with pytest.raises(NotFound):
        records.sign_review(a_review("case-9"), draft_version=0, **sign)
    assert len(list(records.audit())) == 1


def test_an_addendum_is_added_once_to_a_reported_case_and_goes_out(records: Records):
    case_id = add_read_case(records, 1)
    first, second = (
        Addendum(addendum_id=f"a{number}", case_id=case_id, text="左眼亦有渗出", doctor_name="唐医生", added_at=NOON) for number in (1, 2)
    )
    with pytest.raises(NotFound):
        records.add_addendum(first, [], event=an_event())
    records.add_review(a_review(case_id))
    records.add_report(a_report(case_id), [])

    assert records.add_addendum(first, [an_announcement(case_id, "addendum")], event=an_event("add", case_id)) is True
    assert records.add_addendum(second, [], event=an_event("add", case_id)) is True
    assert records.add_addendum(first, [an_announcement(case_id, "again")], event=an_event("add", case_id)) is False
    assert records.addenda(case_id) == (first, second)
    assert len(records.get_case_record(case_id).outbox) == 2
    assert len(list(records.audit())) == 2


def test_a_patients_link_is_known_by_its_hash_and_can_be_ended(records: Records):
    add_whole_case(records, 1, patient_id="P1")
    link = PatientLink(token_sha256="ab" * 32, case_id="case-1", made_at=NOON, expires_at=NOON + 24 * HOUR)
    records.add_link(link, event=an_event("link", "case-1"))

    assert records.find_link("ab" * 32) == link
    assert records.find_link("cd" * 32) is None
    assert records.revoke_links("case-1", at=NOON + HOUR, event=an_event("revoke", "case-1")) == 1
    assert records.revoke_links("case-1", at=NOON + HOUR, event=an_event("revoke", "case-1")) == 0
    ended = records.find_link("ab" * 32)
    assert ended is not None
    assert ended.revoked_at == NOON + HOUR
    add_read_case(records, 2)
    with pytest.raises(NotFound):
        records.add_link(link.model_copy(update={"case_id": "case-2"}), event=an_event())


def test_a_user_is_added_once_and_a_change_ends_the_sessions(records: Records):
    records.add_user(a_user(), event=an_event("add user", "tang"))
    records.add_user(a_user("song"), event=an_event("add user", "song"))
    with pytest.raises(UserExists):
        records.add_user(a_user(), event=an_event("add user", "tang"))
    with pytest.raises(NotFound):
        records.change_user(a_user("wei"), event=an_event())

    records.change_user(a_user(is_blocked=True), event=an_event("block", "tang"))

    assert records.find_user("tang") == a_user(is_blocked=True, session_epoch=2)
    assert records.find_user("wei") is None
    assert [user.user_name for user in records.users()] == ["song", "tang"]
    assert [entry.action for entry in records.audit()] == ["add user", "add user", "block"]


def test_what_the_desk_keeps_of_a_patient_is_erased_with_the_patient(records: Records):
    add_whole_case(records, 1, patient_id="P1")
    add_whole_case(records, 2, patient_id="P2")
    for number in (1, 2):
        case_id = f"case-{number}"
        records.save_note(a_note(case_id))
        addendum = Addendum(addendum_id=f"a{number}", case_id=case_id, text="补充", doctor_name="唐医生", added_at=NOON)
        records.add_addendum(addendum, [], event=an_event())
        link = PatientLink(token_sha256=f"{number}" * 64, case_id=case_id, made_at=NOON, expires_at=NOON + HOUR)
        records.add_link(link, event=an_event())

    records.erase_patient("P1", an_event())

    assert (records.find_note("case-1", NoteKind.DRAFT), records.addenda("case-1"), records.find_link("1" * 64)) == (None, (), None)
    assert records.find_note("case-2", NoteKind.DRAFT) is not None
    assert (len(records.addenda("case-2")), records.find_link("2" * 64) is not None) == (1, True)
    records.forget_identity("P2", unseen_since=NOON + HOUR, event=an_event())
    assert records.find_note("case-2", NoteKind.DRAFT) is None


def test_nothing_the_desk_keeps_stands_open_on_the_disk(tmp_path: Path):
    records = open_records(f"sqlite:///{tmp_path}/records.db")
    add_whole_case(records, 1, patient_id="P1")
    records.save_note(a_note("case-1", content="秘密的草稿"))
    records.add_addendum(
        Addendum(addendum_id="a", case_id="case-1", text="秘密的补充", doctor_name="唐医生", added_at=NOON), [], event=an_event()
    )
    records.add_user(a_user(), event=an_event())
    records.close()

    on_disk = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert not any(word.encode() in on_disk for word in ("秘密的草稿", "秘密的补充", "唐医生", "argon2id"))
