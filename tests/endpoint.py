"""An OpenAI-compatible endpoint on this machine, for tests of what comes back."""

import json
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

ANSWER: dict[str, object] = {"opinion": "意见", "advice": "建议"}
TEXT = json.dumps(ANSWER, ensure_ascii=False)


USAGE = {"prompt_tokens": 900, "completion_tokens": 250, "total_tokens": 1150}


def completion(content: str | None, *, finish_reason: str = "stop", refusal: str | None = None, usage: object = USAGE) -> dict[str, Any]:
    message = {"role": "assistant", "content": content, "refusal": refusal}
    choice = {"index": 0, "finish_reason": finish_reason, "message": message}
    return {"id": "c-1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice], "usage": usage}


def error(text: str) -> dict[str, Any]:
    return {"error": {"message": text, "type": "invalid_request_error", "param": None, "code": None}}


Answer = tuple[int, dict[str, Any] | str]


class LoopbackEndpoint:
    """An OpenAI-compatible endpoint on this machine; `answer` decides by the request what comes back."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.said: list[str] = []
        """What a real model behind it answered."""
        self.blank_lines = 0
        """How many come before the answer, one each tenth of a second."""
        self.redirect_to: str | None = None
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
                if endpoint.redirect_to:
                    self.send_header("Location", endpoint.redirect_to)
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


Endpoint = Callable[[dict[str, Any]], Answer]


def kind_of(request: dict[str, Any]) -> str:
    """How a request asks for JSON."""
    return str(request.get("response_format", {"type": "text"})["type"])


def like_openai(request: dict[str, Any]) -> Answer:
    """A reasoning model of OpenAI: schema understood; a temperature and the old name of the token limit are not."""
    for name in ("temperature", "max_tokens"):
        if name in request:
            return 400, error(f"Unsupported parameter: '{name}' is not supported with this model.")
    return 200, completion(TEXT)


def like_deepseek(request: dict[str, Any]) -> Answer:
    """No schema (HTTP 400), and json only where the prompt says the word; otherwise blanks."""
    if kind_of(request) == "json_schema":
        return 400, error("This response_format type is unavailable now")
    says_json = any("json" in str(message["content"]).lower() for message in request["messages"])
    return 200, completion(TEXT if says_json else "")


def like_dashscope(request: dict[str, Any]) -> Answer:
    """Qwen: outside qwen-plus no schema; the word JSON must be in the messages."""
    says_json = any("json" in str(message["content"]).lower() for message in request["messages"])
    if kind_of(request) == "json_schema" or not says_json:
        return 400, error("'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'.")
    return 200, completion(TEXT)


def like_old_vllm(request: dict[str, Any]) -> Answer:
    """A server of before structured outputs: 422 for what it does not know; counts no tokens."""
    if kind_of(request) != "text":
        return 422, error("extra fields not permitted: response_format")
    return 200, completion(f"<think>先看右眼 {{}}</think>\n{TEXT}", usage=None)


def like_ollama(request: dict[str, Any]) -> Answer:
    """Accepts a schema, ignores it, and answers in a fence."""
    return 200, completion(f"```json\n{TEXT}\n```")


PROFILES: dict[str, tuple[Endpoint, list[str]]] = {
    "OpenAI": (like_openai, ["json_schema", "json_schema"]),
    "DeepSeek": (like_deepseek, ["json_schema", "json_object"]),
    "DashScope": (like_dashscope, ["json_schema", "json_object"]),
    "vLLM": (like_old_vllm, ["json_schema", "json_object", "text"]),
    "Ollama": (like_ollama, ["json_schema"]),
}
"""Endpoints by what each is known to do, and how many requests, asking in which way, the first answer costs."""
