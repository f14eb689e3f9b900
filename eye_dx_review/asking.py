"""What handlers ask of a request: the desk, and somebody who may do it."""

from collections.abc import Callable

from fastapi import Request

from eye_dx_review.desk import Desk
from eye_dx_review.permissions import ALLOWED, Act
from eye_dx_review.sessions import Forbidden, Session


def desk_of(request: Request) -> Desk:
    """The desk of this application."""
    return request.app.state.desk


def may(act: Act) -> Callable[[Request], Session]:
    """A dependency: the session of somebody who may do it.

    Raises (when asked):
        Forbidden: the role does not allow it.
    """

    def ask(request: Request) -> Session:
        session: Session = request.state.session
        if session.user.role not in ALLOWED[act]:
            raise Forbidden(act)
        return session

    return ask
