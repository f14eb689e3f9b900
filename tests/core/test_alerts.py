"""Somebody is called once for each cause, also by a webhook that fails."""

from collections.abc import Iterator
from datetime import datetime

import pytest

from eye_dx_core import alerts
from eye_dx_core.alerts import AlertState, Cause, NotCalled, call_for, find_causes, parse_state
from eye_dx_core.errors import BadSettings
from eye_dx_core.queue.memory import MemoryQueue
from eye_dx_core.queue.port import Message
from eye_dx_core.queue.topology import QueueNames
from eye_dx_core.records.desk import CaseStage, WorkFilter, WorkItem, WorkList
from eye_dx_core.records.memory import MemoryRecords
from eye_dx_core.schema.routing import Urgency
from tests.builders import NOON
from tests.webhook import Fault, Webhook, a_webhook

ONE, TWO, DEAD = Cause(kind="overdue_urgent", id="case-1"), Cause(kind="overdue_urgent", id="case-2"), Cause(kind="dead_letters")


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Webhook]:
    monkeypatch.setattr(alerts, "_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(alerts, "_SECONDS", 0.3)
    with a_webhook() as opened:
        yield opened


def look(found: list[Cause], state: AlertState, webhook: Webhook) -> AlertState:
    return call_for(found, state, webhook=webhook.url, at=NOON)


def test_a_cause_is_told_once_until_it_is_over(webhook: Webhook):
    state = look([ONE], AlertState(), webhook)
    state = look([ONE, DEAD], state, webhook)
    state = look([DEAD], state, webhook)
    look([ONE, DEAD], state, webhook)

    told = [[(one["kind"], one["ids"]) for one in call["causes"]] for call in webhook.calls]
    assert told == [[("overdue_urgent", ["case-1"])], [("dead_letters", [])], [("overdue_urgent", ["case-1"])]]


def test_a_call_tells_ids_and_counts_and_nothing_else(webhook: Webhook):
    look([ONE, TWO, DEAD], AlertState(), webhook)

    (call,) = webhook.calls
    assert call.pop("alert_id")
    assert call == {
        "schema": "eye-dx/alert/1",
        "raised_at": "2026-03-02T12:00:00+00:00",
        "causes": [
            {"kind": "overdue_urgent", "count": 2, "ids": ["case-1", "case-2"]},
            {"kind": "dead_letters", "count": 1, "ids": []},
        ],
    }


@pytest.mark.parametrize("fault", [Fault.BROKEN, Fault.BUSY, Fault.HANGS_UP, Fault.SILENT])
def test_a_webhook_that_fails_twice_is_called_a_third_time_with_the_same_id(webhook: Webhook, fault: Fault):
    webhook.faults += [fault, fault]

    state = look([ONE], AlertState(), webhook)

    assert state.raised == (ONE,)
    assert len({call["alert_id"] for call in webhook.calls}) == 1
    assert len(webhook.calls) == 3


@pytest.mark.parametrize("fault", [Fault.BROKEN, Fault.BUSY, Fault.HANGS_UP, Fault.SILENT])
def test_a_webhook_that_keeps_failing_is_told_at_the_next_look(webhook: Webhook, fault: Fault):
    webhook.faults += [fault] * 3

    with pytest.raises(NotCalled, match="3 tries") as caught:
        look([ONE], AlertState(), webhook)
    look([ONE], AlertState(), webhook)

    assert "token" not in str(caught.value)
    assert len({call["alert_id"] for call in webhook.calls}) == 1


@pytest.mark.parametrize("fault", [Fault.REFUSES, Fault.ELSEWHERE])
def test_a_webhook_that_refuses_is_not_asked_again_and_no_redirect_is_followed(webhook: Webhook, fault: Fault):
    webhook.faults += [fault]

    with pytest.raises(BadSettings, match="EYE_DX_ALERT_WEBHOOK answers"):
        look([ONE], AlertState(), webhook)
    assert len(webhook.calls) == 1


@pytest.mark.parametrize("address", ["ftp://host/token", "token", "http://[::1/token"])
def test_an_address_that_cannot_be_called_is_a_setting_and_stays_out_of_the_text(address: str):
    with pytest.raises(BadSettings, match="no http") as caught:
        call_for([ONE], AlertState(), webhook=address, at=NOON)

    assert "token" not in str(caught.value)


def test_nobody_listens_and_nothing_breaks(webhook: Webhook):
    with pytest.raises(NotCalled, match="ConnectError"):
        call_for([ONE], AlertState(), webhook="http://127.0.0.1:9/token", at=NOON)


def test_the_state_survives_as_a_cursor(webhook: Webhook):
    state = look([ONE, DEAD], AlertState(), webhook)

    assert parse_state(state.model_dump_json()) == state
    assert parse_state(None) == AlertState()


class OneOverdue(MemoryRecords):
    """Records in which one urgent case waits too long."""

    def work_list(self, wanted: WorkFilter, *, now: datetime, limit: int, offset: int = 0) -> WorkList:
        assert wanted == WorkFilter(urgencies=(Urgency.SAME_DAY, Urgency.URGENT), is_overdue=True)
        item = WorkItem(case_id="case-1", received_at=NOON, stage=CaseStage.TO_REVIEW, urgency=Urgency.URGENT, review_due_at=now)
        return WorkList(items=(item,), total=1)


def test_overdue_urgent_cases_and_dead_letters_are_causes():
    names = QueueNames()
    queue = MemoryQueue(names=names)
    assert find_causes(queue, OneOverdue(), names=names, at=NOON) == (ONE,)

    queue.publish(names.screenings, Message(body=b"{}", message_id="m"))
    for delivery in queue.receive(names.screenings, limit=1):
        queue.reject(delivery, reason="bad fields")

    assert find_causes(queue, OneOverdue(), names=names, at=NOON) == (ONE, DEAD)
