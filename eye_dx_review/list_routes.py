"""The work list."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from eye_dx_core.records.desk import CaseStage, WorkFilter
from eye_dx_core.schema.routing import Urgency
from eye_dx_review.asking import desk_of, may
from eye_dx_review.desk import Desk
from eye_dx_review.pages import page
from eye_dx_review.permissions import Act
from eye_dx_review.sessions import Session

router = APIRouter()
_PAGE = 50


@router.get("/")
@router.get("/rows")
def show_list(
    request: Request,
    desk: Annotated[Desk, Depends(desk_of)],
    session: Annotated[Session, Depends(may(Act.SEE_LIST))],
    urgency: str = "",
    stage: str = CaseStage.TO_REVIEW.value,
    overdue: str = "",
    second: str = "",
    start: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
) -> Response:
    """The page, and its rows alone for keeping it up to date."""
    stages = (CaseStage(stage),) if stage in set(CaseStage) else tuple(CaseStage)
    urgencies = (Urgency(urgency),) if urgency in set(Urgency) and not desk.is_blind_first else ()
    wanted = WorkFilter(stages=stages, urgencies=urgencies, is_overdue=bool(overdue), needs_second=bool(second))
    found = desk.records.work_list(wanted, now=desk.now(), limit=_PAGE, offset=start)
    rows_only = request.url.path == "/rows"
    return page(
        request,
        desk,
        "rows" if rows_only else "list",
        session=session,
        found=found,
        counts={} if rows_only else desk.records.count_work(now=desk.now()),
        start=start,
        size=_PAGE,
        chosen={"urgency": urgency, "stage": stage, "overdue": overdue, "second": second},
        urgencies=list(reversed(Urgency)),
        stages=list(CaseStage),
        is_blind=desk.is_blind_first,
    )
