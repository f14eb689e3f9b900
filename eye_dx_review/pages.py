"""Pages of the desk, from templates."""

from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from eye_dx_review.desk import Desk
from eye_dx_review.sessions import Session
from eye_dx_review.texts import SNIPPETS, say

LANGUAGE_COOKIE = "eye_dx_lang"


def language_of(request: Request) -> str:
    """The language somebody chose, else the browser's first, else Chinese."""
    chosen = request.cookies.get(LANGUAGE_COOKIE)
    if chosen in ("zh", "en"):
        return chosen
    return "en" if request.headers.get("accept-language", "").lower().startswith("en") else "zh"


def page(request: Request, desk: Desk, name: str, *, session: Session | None = None, status: int = 200, **content: Any) -> HTMLResponse:  # noqa: ANN401 - what a template shows
    """A page by its template's name."""
    lang = language_of(request)

    def local(time: Any, *, with_day: bool = True) -> str:  # noqa: ANN401 - called by templates
        return f"{time.astimezone(desk.timezone):%Y-%m-%d %H:%M}" if with_day else f"{time.astimezone(desk.timezone):%H:%M}"

    known = {"t": partial(say, lang=lang), "lang": lang, "session": session, "local": local, "now": desk.now(), "snippets": SNIPPETS}
    here = {"here": request.url.path, "csrf": session.csrf if session else ""}
    return HTMLResponse(_environment().get_template(f"{name}.html.jinja").render(known | here | content), status_code=status)


@lru_cache(maxsize=1)
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
