"""Logging in and out, and the language."""

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request, Response
from fastapi.responses import RedirectResponse

from eye_dx_core.reviewing.passwords import is_right
from eye_dx_review.asking import desk_of
from eye_dx_review.attempts import Attempts
from eye_dx_review.desk import Desk
from eye_dx_review.pages import LANGUAGE_COOKIE, page
from eye_dx_review.sessions import end, keep, read_session, start_session

router = APIRouter()
TheDesk = Annotated[Desk, Depends(desk_of)]


def attempts_of(request: Request) -> Attempts:
    """Failed logins of this application."""
    return request.app.state.attempts


@router.get("/login")
def show_login(request: Request, desk: TheDesk) -> Response:
    """The form."""
    return page(request, desk, "login", wrong="", has_users=bool(desk.records.users()))


@router.post("/login")
def log_in(
    request: Request,
    desk: TheDesk,
    attempts: Annotated[Attempts, Depends(attempts_of)],
    user_name: Annotated[str, Form(max_length=64)] = "",
    password: Annotated[str, Form(max_length=200)] = "",
) -> Response:
    """Check the password; the answer does not tell whether there is such a user."""
    name, address = user_name.strip().lower(), request.client.host if request.client else ""
    if attempts.is_too_many(f"user {name}", f"address {address}"):
        return page(request, desk, "login", wrong="too_many", has_users=True, status=429)
    user = desk.records.find_user(name)
    if not is_right(password, user.password_hash if user else None) or user is None or user.is_blocked:
        attempts.failed(f"user {name}", f"address {address}")
        desk.records.add_audit(desk.event(user.user_name if user else "unknown", "login refused", "desk"))
        return page(request, desk, "login", wrong="wrong_login", has_users=True, status=401)
    desk.records.add_audit(desk.event(user.user_name, "log in", "desk"))
    response = RedirectResponse("/", status_code=303)
    keep(desk, start_session(desk, user), response)
    return response


@router.post("/logout")
def log_out(request: Request, desk: TheDesk, csrf: Annotated[str, Form()] = "") -> Response:
    """End the session."""
    session = read_session(desk, request)
    session.check_csrf(csrf)
    desk.records.add_audit(desk.event(session.user.user_name, "log out", "desk"))
    response = RedirectResponse("/login", status_code=303)
    end(response)
    return response


@router.post("/language")
def choose_language(lang: Annotated[str, Form()], back: Annotated[str, Form()] = "/") -> Response:
    """Remember the language, and go back to a page of this desk."""
    is_ours = back.startswith("/") and not back.startswith(("//", "/\\"))
    response = RedirectResponse(back if is_ours else "/", status_code=303)
    if lang in ("zh", "en"):
        response.set_cookie(LANGUAGE_COOKIE, lang, samesite="strict", httponly=True, max_age=31_536_000)
    return response
