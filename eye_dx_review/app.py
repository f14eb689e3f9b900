"""The desk as a web application: who is asked for what, what every answer carries, and what an error looks like."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles
from starlette.concurrency import run_in_threadpool

from eye_dx_core.errors import ConflictingMessage, NotFound, ServiceUnavailable
from eye_dx_core.records.desk import Held
from eye_dx_review import case_routes, health_routes, list_routes, login_routes, patient_routes, sign_routes
from eye_dx_review.attempts import Attempts
from eye_dx_review.case_routes import Pictures
from eye_dx_review.desk import Desk
from eye_dx_review.pages import page
from eye_dx_review.sessions import Forbidden, NotLoggedIn, Session, keep, read_session

_POLICY = (
    "default-src 'none'; img-src 'self' data: blob:; style-src 'self'; script-src 'self'; connect-src 'self'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    # Not `no-referrer`: browsers then send forms with the origin "null", which could be anybody's.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
Call = Callable[[Request], Awaitable[Response]]


def create_app(desk: Desk) -> FastAPI:
    """The application; it opens nothing itself."""
    app = FastAPI(title="Eye Dx review desk", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.desk, app.state.pictures = desk, Pictures()
    app.state.attempts, app.state.link_tries = Attempts(), Attempts(most=20)
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"), name="static")
    for routes in (health_routes, login_routes, patient_routes):
        app.include_router(routes.router)
    for routes in (list_routes, case_routes, sign_routes):
        app.include_router(routes.router, dependencies=[Depends(_logged_in)])
    app.middleware("http")(_secure)
    _answer_errors(app, desk)
    return app


async def _logged_in(request: Request) -> None:
    """Find the session, and make sure that what changes something was sent by a page of this session."""
    session = await run_in_threadpool(read_session, request.app.state.desk, request)
    request.state.session = session
    if request.method == "POST":
        token = (await request.form()).get("csrf") or request.headers.get("x-csrf-token", "")
        session.check_csrf(str(token))


async def _secure(request: Request, call_next: Call) -> Response:
    origin = request.headers.get("origin")
    if request.method == "POST" and origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        return Response("cross-origin", status_code=403)
    response = await call_next(request)
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    session: Session | None = getattr(request.state, "session", None)
    if session is not None and "set-cookie" not in response.headers:
        keep(request.app.state.desk, session, response)
    return response


def _answer_errors(app: FastAPI, desk: Desk) -> None:
    def said(request: Request, what: str, status: int, text: str = "") -> HTMLResponse:
        session: Session | None = getattr(request.state, "session", None)
        return page(request, desk, "message", session=session, status=status, what=what, more=text)

    @app.exception_handler(NotLoggedIn)
    def _(request: Request, _error: NotLoggedIn) -> Response:
        return RedirectResponse("/login", status_code=303)

    @app.exception_handler(Forbidden)
    def _(request: Request, _error: Forbidden) -> Response:
        return said(request, "forbidden", 403)

    @app.exception_handler(NotFound)
    def _(request: Request, _error: NotFound) -> Response:
        return said(request, "not_found", 404)

    @app.exception_handler(404)
    def _(request: Request, _error: Exception) -> Response:
        return said(request, "not_found", 404)

    @app.exception_handler(Held)
    def _(request: Request, error: Held) -> Response:
        return said(request, "held", 409, error.held_by)

    @app.exception_handler(ConflictingMessage)
    def _(request: Request, _error: ConflictingMessage) -> Response:
        return said(request, "done", 409)

    @app.exception_handler(ServiceUnavailable)
    def _(request: Request, _error: ServiceUnavailable) -> Response:
        return said(request, "unavailable", 503)
