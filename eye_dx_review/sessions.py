"""Who is logged in: a signed cookie that holds no secret, ended by time, by a new password and by being blocked."""

import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from fastapi import Request, Response
from itsdangerous import BadData, URLSafeSerializer

from eye_dx_core.errors import EyeDxError
from eye_dx_core.records.accounts import User
from eye_dx_review.desk import Desk

_COOKIE = "eye_dx_desk"
_LONGEST = timedelta(hours=12)


class NotLoggedIn(EyeDxError):
    """There is no session, or it is over."""


class Forbidden(EyeDxError):
    """The user's role does not allow it, or the form does not come from this desk."""


@dataclass(frozen=True)
class Session:
    """One login."""

    user: User
    csrf: str
    started: float
    """Seconds since the epoch."""

    def check_csrf(self, token: str) -> None:
        """Make sure that a form was made for this session.

        Raises:
            Forbidden: it was not.
        """
        if not hmac.compare_digest(self.csrf.encode(), token.encode()):
            raise Forbidden("csrf")


def start_session(desk: Desk, user: User) -> Session:
    """Log a user in; `keep` puts it into the answer."""
    return Session(user=user, csrf=secrets.token_urlsafe(24), started=desk.now().timestamp())


def read_session(desk: Desk, request: Request) -> Session:
    """The session of a request.

    Raises:
        NotLoggedIn: there is none, it idled too long, or the user was changed since.
    """
    try:
        said: dict[str, Any] = _serializer(desk).loads(request.cookies.get(_COOKIE, ""))
    except BadData:
        raise NotLoggedIn("no session") from None
    user, now = desk.records.find_user(said["user"]), desk.now()
    is_over = now > _time(said["seen"], now) + desk.idle or now > _time(said["started"], now) + _LONGEST
    if is_over or user is None or user.is_blocked or user.session_epoch != said["epoch"]:
        raise NotLoggedIn("the session is over")
    return Session(user=user, csrf=said["csrf"], started=said["started"])


def keep(desk: Desk, session: Session, response: Response) -> None:
    """Put the session into an answer, used just now."""
    said = {"user": session.user.user_name, "epoch": session.user.session_epoch, "csrf": session.csrf, "started": session.started}
    value = _serializer(desk).dumps(said | {"seen": desk.now().timestamp()})
    response.set_cookie(_COOKIE, str(value), httponly=True, samesite="strict", secure=desk.is_https, path="/")


def end(response: Response) -> None:
    """Take the session out of the browser."""
    response.delete_cookie(_COOKIE, path="/")


def _serializer(desk: Desk) -> URLSafeSerializer:
    return URLSafeSerializer(desk.cookie_key, salt="session")


def _time(seconds: float, now: datetime) -> datetime:
    return datetime.fromtimestamp(seconds, now.tzinfo)
