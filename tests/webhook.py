"""A webhook on this machine that takes calls, or fails as webhooks do."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


class Fault(StrEnum):
    """What is wrong with it."""

    BROKEN = "broken"
    BUSY = "busy"
    REFUSES = "refuses"
    HANGS_UP = "hangs_up"
    SILENT = "silent"
    ELSEWHERE = "elsewhere"


_STATUS = {Fault.BROKEN: 500, Fault.BUSY: 429, Fault.REFUSES: 404, Fault.ELSEWHERE: 307}


@dataclass
class Webhook:
    """What came in. The next calls meet `faults`, one each; then all is well."""

    url: str = ""
    calls: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    faults: list[Fault] = field(default_factory=list[Fault])


@contextmanager
def a_webhook() -> Iterator[Webhook]:
    """A webhook that answers until the end of the block."""
    webhook = Webhook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            webhook.calls.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            fault = webhook.faults.pop(0) if webhook.faults else None
            if fault is Fault.HANGS_UP:
                return
            if fault is Fault.SILENT:
                time.sleep(1)
            self.send_response(_STATUS.get(fault, 204) if fault else 204)
            if fault is Fault.ELSEWHERE:
                self.send_header("Location", webhook.url)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """A caller that gave up is no error here."""

    server = Server(("127.0.0.1", 0), Handler)
    webhook.url = f"http://127.0.0.1:{server.server_address[1]}/token-of-the-webhook"
    Thread(target=server.serve_forever, daemon=True).start()
    yield webhook
    server.shutdown()
    server.server_close()
