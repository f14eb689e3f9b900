"""Answers /metrics, /healthz and /readyz over HTTP, with the server of the standard library: nothing here is worth a larger one."""

import json
import socketserver
from collections.abc import Callable, Iterable
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from prometheus_client import CollectorRegistry, ProcessCollector, make_wsgi_app

from eye_dx_dagster.monitor.watch import Watch

_SLOWEST_SECONDS = 10


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    """A thread for each request, so that a slow scrape keeps no probe waiting."""

    daemon_threads = True


class _Handler(WSGIRequestHandler):
    """Says nothing for each request, and lets nobody hold a thread for ever."""

    timeout = _SLOWEST_SECONDS

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Probes come every few seconds."""


def application(watch: Watch) -> WSGIApplication:
    """The three addresses."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(watch)
    ProcessCollector(registry=registry)
    metrics = make_wsgi_app(registry)

    def answer(environment: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        path = environment["PATH_INFO"]
        if environment["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return _say(start, "405 Method Not Allowed", {"error": "only GET"})
        if path == "/metrics":
            return metrics(environment, start)
        if path == "/healthz":
            return _say(start, "200 OK", {"status": "alive"})
        if path == "/readyz":
            problems = watch.find_problems()
            return _say(start, "503 Service Unavailable" if problems else "200 OK", {"ready": not problems, "problems": problems})
        return _say(start, "404 Not Found", {"error": "see /metrics, /healthz and /readyz"})

    return answer


def _say(start: StartResponse, status: str, body: dict[str, object]) -> Iterable[bytes]:
    content = json.dumps(body, ensure_ascii=False).encode()
    start(
        status, [("Content-Type", "application/json; charset=utf-8"), ("Cache-Control", "no-store"), ("Content-Length", str(len(content)))]
    )
    return [content]


def open_server(application: WSGIApplication, host: str, port: int) -> WSGIServer:
    """Listen: on this machine as a rule, for neither metrics nor probes have a login.

    Raises:
        OSError: the port is taken.
    """
    return make_server(host, port, application, server_class=_Server, handler_class=_Handler)


def serve(server: WSGIServer, begin: Callable[[], None]) -> None:
    """Answer until stopped; the first look begins at once, so that the first scrape need not wait for libraries to load."""
    begin()
    with server:
        server.serve_forever()
