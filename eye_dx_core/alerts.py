"""Calls somebody, by a webhook, when a patient waits too long or the machinery stands still; once for each cause until it is over."""

import hashlib
import time
from collections.abc import Iterable
from datetime import datetime

import httpx2
from pydantic import Field

from eye_dx_core.errors import BadSettings, ServiceUnavailable
from eye_dx_core.queue.port import Queue
from eye_dx_core.queue.topology import QueueNames
from eye_dx_core.records.desk import WorkFilter, WorkList
from eye_dx_core.records.port import Records
from eye_dx_core.schema.frozen import Frozen
from eye_dx_core.schema.routing import Urgency

SCHEMA = "eye-dx/alert/1"
OVERDUE, DEAD_LETTERS, UNAVAILABLE = "overdue_urgent", "dead_letters", "service_unavailable"
"""Kinds of causes that the core finds: an urgent case that no doctor looked at in time, messages set aside, no database or broker."""
_URGENT = (Urgency.SAME_DAY, Urgency.URGENT)
_MOST_IDS = 200
_TRIES, _SECONDS, _PAUSE_SECONDS = 3, 5.0, 0.5


class Cause(Frozen):
    """One thing that is wrong. `id` is opaque: a case id, the name of a job or sensor; empty where the kind says it all."""

    kind: str
    id: str = ""


class AlertState(Frozen):
    """What somebody was called for and is not over yet; the sensor keeps it as its cursor."""

    raised: tuple[Cause, ...] = ()
    calls: int = Field(default=0, ge=0)
    """How many calls went through. It makes the id of the next one, so that a repeat is recognised."""


class NotCalled(ServiceUnavailable):
    """The webhook did not take the call; its address, which may hold a token, is not in the text."""


def find_causes(queue: Queue, records: Records, *, names: QueueNames, at: datetime) -> tuple[Cause, ...]:
    """What is wrong with cases and messages at this moment.

    Raises:
        ServiceUnavailable: the queue or the records do not answer.
    """
    overdue = list_overdue_urgent(records, at=at, limit=_MOST_IDS)
    cases = tuple(Cause(kind=OVERDUE, id=one.case_id) for one in overdue.items)
    return cases + ((Cause(kind=DEAD_LETTERS),) if queue.depth(names.dead) else ())


def list_overdue_urgent(records: Records, *, at: datetime, limit: int) -> WorkList:
    """Cases that the AI calls urgent or an emergency, and that no doctor looked at in time."""
    return records.work_list(WorkFilter(urgencies=_URGENT, is_overdue=True), now=at, limit=limit)


def call_for(found: Iterable[Cause], state: AlertState, *, webhook: str, at: datetime) -> AlertState:
    """Tell the webhook of the causes that are new; what was told and is over may be told again when it comes back.

    Raises:
        NotCalled: the webhook did not take it; the state is then as it was, and the next look tries again.
        BadSettings: the webhook's address cannot be used, or it refuses what we send.
    """
    present = tuple(dict.fromkeys(found))
    new = [cause for cause in present if cause not in state.raised]
    if not new:
        return state.model_copy(update={"raised": present})
    _post(webhook, _body(new, state, at))
    return AlertState(raised=present, calls=state.calls + 1)


def _body(new: list[Cause], state: AlertState, at: datetime) -> dict[str, object]:
    """Ids and counts only."""
    kinds = dict.fromkeys(cause.kind for cause in new)
    of_kind = {kind: [cause.id for cause in new if cause.kind == kind and cause.id] for kind in kinds}
    causes = [{"kind": kind, "count": max(len(ids), 1), "ids": ids} for kind, ids in of_kind.items()]
    said = "\n".join((str(state.calls), *sorted(f"{cause.kind} {cause.id}" for cause in new)))
    alert_id = hashlib.sha256(said.encode()).hexdigest()[:32]
    return {"schema": SCHEMA, "alert_id": alert_id, "raised_at": at.isoformat(), "causes": causes}


def _post(webhook: str, body: dict[str, object]) -> None:
    reason = ""
    for attempt in range(_TRIES):
        time.sleep(_PAUSE_SECONDS * attempt)
        try:
            status = _status_of(webhook, body)
        except (httpx2.InvalidURL, httpx2.UnsupportedProtocol):
            raise BadSettings("EYE_DX_ALERT_WEBHOOK is no http:// or https:// address") from None
        except httpx2.TransportError as error:
            reason = type(error).__name__
            continue
        if 200 <= status < 300:
            return
        if status < 500 and status != 429:
            raise BadSettings(f"the webhook of EYE_DX_ALERT_WEBHOOK answers {status}: check its address and what it takes")
        reason = f"status {status}"
    raise NotCalled(f"the alert webhook did not take the call ({reason}, {_TRIES} tries)")


def _status_of(webhook: str, body: dict[str, object]) -> int:
    """The answer's body is not read: nothing of it is needed, and it may never end. A redirect would hand our ids to somebody else."""
    with httpx2.stream("POST", webhook, json=body, timeout=_SECONDS, follow_redirects=False) as response:
        return response.status_code


def parse_state(cursor: str | None) -> AlertState:
    """The state in a sensor's cursor; a new one where there is none yet."""
    return AlertState.model_validate_json(cursor) if cursor else AlertState()
