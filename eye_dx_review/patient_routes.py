"""The page that a patient's link opens: no login, nothing that tells whose it is in the address."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from eye_dx_core import casework
from eye_dx_core.errors import NotFound
from eye_dx_core.reporting.rendering import render_patient_page
from eye_dx_core.reporting.viewing import build_view
from eye_dx_core.reviewing.links import open_link
from eye_dx_review.asking import desk_of
from eye_dx_review.attempts import Attempts
from eye_dx_review.desk import Desk
from eye_dx_review.pages import page

router = APIRouter()
# The page is one file with its style and its pictures in it.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
_HEADERS = {"Content-Security-Policy": _POLICY, "X-Robots-Tag": "noindex, nofollow", "Referrer-Policy": "no-referrer"}


def tries_of(request: Request) -> Attempts:
    """Tokens that opened nothing, by address."""
    return request.app.state.link_tries


@router.get("/r/{token}")
def show_report(
    request: Request, desk: Annotated[Desk, Depends(desk_of)], tries: Annotated[Attempts, Depends(tries_of)], token: str
) -> Response:
    """The report as it stands now, with what was added to it."""
    address = request.client.host if request.client else ""
    if tries.is_too_many(address):
        return page(request, desk, "link_over", status=429)
    try:
        case_id = open_link(desk.records, token, now=desk.now())
        record = desk.records.get_case_record(case_id)
    except NotFound:
        tries.failed(address)
        return page(request, desk, "link_over", status=404)
    desk.records.add_audit(desk.event("patient's link", "view report", case_id))
    view = build_view(casework.material_of(desk.records, record, photos=desk.photos), tz=desk.timezone)
    return Response(render_patient_page(view), media_type="text/html; charset=utf-8", headers=_HEADERS)
