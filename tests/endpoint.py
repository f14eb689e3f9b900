"""An OpenAI-compatible endpoint on this machine, for tests of what comes back."""

import json
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

ANSWER: dict[str, object] = {"opinion": "意见", "advice": "建议"}
TEXT = json.dumps(ANSWER, ensure_ascii=False)


def completion(content: str | None, *, finish_reason: str = "stop", refusal: str | None = None) -> dict[str, Any]:
    message = {"role": "assistant", "content": content, "refusal": refusal}
    choice = {"index": 0, "finish_reason": finish_reason, "message": message}
    return {"id": "c-1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}


def error(text: str) -> dict[str, Any]:
    return {"error": {"message": text, "type": "invalid_request_error", "param": None, "code": None}}


Answer = tuple[int, dict[str, Any] | str]


class LoopbackEndpoint:
    """An OpenAI-compatible endpoint on this machine; `answer` decides by the request what comes back."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.blank_lines = 0
        """How many come before the answer, one each tenth of a second."""
        self.answer: Callable[[dict[str, Any]], Answer] = lambda _: (200, completion(TEXT))
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                endpoint.requests.append(request)
                status, body = endpoint.answer(request)
                is_page = isinstance(body, str)
                content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "text/html" if is_page else "application/json")
                self.send_header("Content-Length", str(len(content) + endpoint.blank_lines))
                self.send_header("Retry-After-Ms", "1")
                self.end_headers()
                for _ in range(endpoint.blank_lines):
                    self.wfile.write(b"\n")
                    time.sleep(0.1)
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
                """Say nothing."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: object, client_address: object) -> None:
                """A client that ran out of patience closes its socket; that is what one of the tests is about."""

        self.server = Server(("127.0.0.1", 0), Handler)
        self.thread = Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/v1"

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()
