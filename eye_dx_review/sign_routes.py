"""From a draft to a signature, and what comes after it: addenda, links for the patient, why the report says what it says."""

from datetime import datetime
from hashlib import sha256
from typing import Annotated
from uuid import uuid4

from fastapi import APIRouter, Depends, Form, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

from eye_dx_core import casework
from eye_dx_core.records.desk import DeskNote, NoteKind, StaleForm
from eye_dx_core.reviewing.links import make_link
from eye_dx_core.reviewing.passwords import is_right
from eye_dx_core.reviewing.signing import CannotSign, Problem, ReviewForm, needs_second, sign
from eye_dx_core.schema.review import Addendum, DoctorReview
from eye_dx_review.asking import desk_of, may
from eye_dx_review.attempts import Attempts
from eye_dx_review.case_routes import case_page
from eye_dx_review.case_state import CaseState, case_state
from eye_dx_review.desk import Desk
from eye_dx_review.fields import ReviewFields
from eye_dx_review.login_routes import attempts_of
from eye_dx_review.pages import page
from eye_dx_review.permissions import Act
from eye_dx_review.sessions import Forbidden, Session

router = APIRouter(prefix="/cases/{case_id}")
TheDesk = Annotated[Desk, Depends(desk_of)]
Reviewing = Annotated[Session, Depends(may(Act.REVIEW))]
Fields = Annotated[ReviewFields, Form()]


@router.post("/draft")
def save_draft(request: Request, desk: TheDesk, session: Reviewing, case_id: str, fields: Fields) -> Response:
    """Keep what is filled in; a script that asks for JSON gets the new version."""
    wants_json = "application/json" in request.headers.get("accept", "")
    try:
        note = _save(desk, session, case_id, fields)
    except StaleForm as stale:
        return JSONResponse({"stale": True}, status_code=409) if wants_json else _stale(request, desk, session, fields, stale)
    return JSONResponse({"version": note.version}) if wants_json else RedirectResponse(f"/cases/{case_id}", status_code=303)


@router.post("/blind")
def save_blind_reading(request: Request, desk: TheDesk, session: Reviewing, case_id: str, fields: Fields) -> Response:
    """Keep the own reading, once; from then on the AI's word is shown."""
    try:
        note = _save(desk, session, case_id, fields)
    except StaleForm as stale:
        return _stale(request, desk, session, fields, stale)
    state = case_state(desk, session, case_id)
    form = ReviewForm.model_validate_json(note.content)
    if not form.eyes:
        return case_page(request, desk, session, state, form=form, problems=(Problem.RIGHT_EMPTY, Problem.LEFT_EMPTY), status=422)
    if state.blind is None:
        blind = note.model_copy(update={"kind": NoteKind.BLIND_READING, "version": 1})
        desk.records.save_note(blind, event=desk.event(session.user.user_name, "read blind", case_id))
    return RedirectResponse(f"/cases/{case_id}", status_code=303)


@router.post("/check")
def check(request: Request, desk: TheDesk, session: Reviewing, case_id: str, fields: Fields) -> Response:
    """Keep the form and show what would be signed."""
    try:
        note = _save(desk, session, case_id, fields)
    except StaleForm as stale:
        return _stale(request, desk, session, fields, stale)
    state = case_state(desk, session, case_id)
    return _sign_page(request, desk, session, state, version=note.version)


@router.post("/sign")
def sign_case(
    request: Request,
    desk: TheDesk,
    session: Reviewing,
    attempts: Annotated[Attempts, Depends(attempts_of)],
    case_id: str,
    version: Annotated[int, Form()],
    password: Annotated[str, Form(max_length=200)] = "",
) -> Response:
    """Sign what the page for checking showed; nothing else."""
    user, state = session.user, case_state(desk, session, case_id)
    if attempts.is_too_many(f"user {user.user_name}"):
        return _sign_page(request, desk, session, state, version=version, wrong="too_many", status=429)
    if not is_right(password, user.password_hash):
        attempts.failed(f"user {user.user_name}")
        desk.records.add_audit(desk.event(user.user_name, "signature refused", case_id))
        return _sign_page(request, desk, session, state, version=version, wrong="wrong_password", status=401)
    if state.draft is None or state.version != version or state.is_ai_hidden:
        return _stale(request, desk, session, None, StaleForm(state.draft))
    try:
        return _sign(request, desk, session, state)
    except CannotSign as error:
        return case_page(request, desk, session, state, problems=error.problems, status=422)
    except StaleForm as stale:
        return _stale(request, desk, session, None, stale)


def _sign(request: Request, desk: Desk, session: Session, state: CaseState) -> Response:
    user, case_id = session.user, state.record.case.case_id
    blind = ReviewForm.model_validate_json(state.blind.content).eyes if state.blind else None
    first = state.first_review
    review = sign(
        state.form or ReviewForm(),
        state.record.case,
        state.diagnosis,
        doctor_name=user.display_name,
        now=desk.now(),
        blind_eyes=blind,
    )
    if desk.needs_two and first is None and needs_second(review, state.diagnosis):
        note = _note(desk, session, case_id, NoteKind.FIRST_SIGNATURE, 1, review.model_dump_json())
        desk.records.save_note(note, event=desk.event(user.user_name, "sign first", case_id))
        desk.records.let_go(case_id, holder=user.user_name)
        return RedirectResponse("/", status_code=303)
    if state.first is not None and state.first.written_by == user.user_name:
        return _sign_page(request, desk, session, state, version=state.version, wrong="same_doctor", status=403)
    is_shared = first is not None and _words(first) == _words(review)
    if first is not None and is_shared:
        review = review.model_copy(update={"second_doctor_name": first.doctor_name})
    # Nobody's name stands under words that he did not sign: where the second doctor decides otherwise, the report has one name.
    event = desk.event(user.user_name, "sign review", case_id, review_id=review.review_id, agrees_with_first=int(is_shared))
    desk.records.sign_review(review, signer=user.user_name, draft_version=state.version, event=event)
    return RedirectResponse(f"/cases/{case_id}", status_code=303)


def _words(review: DoctorReview) -> tuple[object, ...]:
    return review.eyes, review.urgency, review.recommendation


@router.post("/addenda")
def add_addendum(desk: TheDesk, session: Reviewing, case_id: str, text: Annotated[str, Form(min_length=1, max_length=2000)]) -> Response:
    """Add to a signed case, send it out, and make page and PDF anew; the signed review stays as it was."""
    user = session.user
    addendum = Addendum(addendum_id=uuid4().hex, case_id=case_id, text=text, doctor_name=user.display_name, added_at=desk.now())
    event = desk.event(user.user_name, "add addendum", case_id, addendum_id=addendum.addendum_id)
    casework.add_addendum(desk.records, addendum, outlet=desk.reports, event=event, now=desk.now)
    return RedirectResponse(f"/cases/{case_id}", status_code=303)


@router.post("/links")
def make_patient_link(request: Request, desk: TheDesk, session: Annotated[Session, Depends(may(Act.LINK))], case_id: str) -> Response:
    """Make a link for the patient; it is shown once and kept nowhere."""
    event = desk.event(session.user.user_name, "make link", case_id)
    token = make_link(desk.records, case_id, valid=desk.link_valid, now=desk.now(), event=event)
    link = f"{request.base_url}r/{token}"
    return case_page(request, desk, session, case_state(desk, session, case_id), link=link)


@router.post("/links/revoke")
def revoke_patient_links(desk: TheDesk, session: Annotated[Session, Depends(may(Act.LINK))], case_id: str) -> Response:
    """End all links of the case."""
    desk.records.revoke_links(case_id, at=desk.now(), event=desk.event(session.user.user_name, "revoke links", case_id))
    return RedirectResponse(f"/cases/{case_id}", status_code=303)


@router.get("/why")
def why(request: Request, desk: TheDesk, session: Annotated[Session, Depends(may(Act.SEE_CASE))], case_id: str) -> Response:
    """Everything that led to the report, in the order in which it happened."""
    state = case_state(desk, session, case_id)
    if state.is_ai_hidden:
        raise Forbidden("the own reading comes first")
    desk.records.add_audit(desk.event(session.user.user_name, "view origin", case_id))
    report = state.record.report
    report_hash = sha256(report.model_dump_json().encode()).hexdigest() if report else ""
    return page(request, desk, "why", session=session, state=state, report_hash=report_hash, dagster=desk.dagster, mlflow=desk.mlflow)


def _save(desk: Desk, session: Session, case_id: str, fields: ReviewFields) -> DeskNote:
    desk.records.hold_case(case_id, holder=session.user.user_name, lease_seconds=desk.lease.total_seconds())
    try:
        form = fields.to_form()
    except ValueError:
        raise Forbidden("fields that are no choice of the page") from None
    note = _note(desk, session, case_id, NoteKind.DRAFT, fields.version + 1, form.model_dump_json())
    desk.records.save_note(note)
    return note


def _note(desk: Desk, session: Session, case_id: str, kind: NoteKind, version: int, content: str) -> DeskNote:
    written_at: datetime = desk.now()
    return DeskNote(case_id=case_id, kind=kind, written_by=session.user.user_name, version=version, written_at=written_at, content=content)


def _sign_page(
    request: Request, desk: Desk, session: Session, state: CaseState, *, version: int, wrong: str = "", status: int = 200
) -> Response:
    form = state.form or ReviewForm()
    try:
        review = sign(form, state.record.case, state.diagnosis, doctor_name=session.user.display_name, now=desk.now())
    except CannotSign as error:
        return case_page(request, desk, session, state, problems=error.problems, status=422)
    return page(request, desk, "sign", session=session, state=state, review=review, version=version, wrong=wrong, status=status)


def _stale(request: Request, desk: Desk, session: Session, fields: ReviewFields | None, stale: StaleForm) -> Response:
    yours = fields.to_form() if fields else None
    kept = ReviewForm.model_validate_json(stale.current.content) if stale.current else None
    return page(request, desk, "stale", session=session, yours=yours, kept=kept, case_id=request.path_params["case_id"], status=409)
