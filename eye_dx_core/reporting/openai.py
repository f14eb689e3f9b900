"""Any OpenAI-compatible endpoint as a chat model: OpenAI, DeepSeek, Qwen, vLLM, Ollama and others."""

import contextlib
import json
import re
import time
from typing import Any, cast

import httpx2  # what the SDK speaks HTTP with
from openai import APIConnectionError, APIError, APIStatusError, BadRequestError, DefaultHttpxClient, OpenAI, UnprocessableEntityError
from openai.types.chat import ChatCompletion

from eye_dx_core.errors import BadReport, ChatModelUnavailable

_BUSY = {408, 409, 425, 429}


class OpenAiChatModel:
    """The port `ChatModel` over chat completions.

    Providers differ in how far they can be held to JSON, so the strictest way is tried first; after an HTTP 400 the
    next one is used, and remembered as soon as it has worked. The answer is never trusted to have the promised shape.
    `BadReport` carries one code as its text, such as `refusal` or `cut_off`.
    """

    def __init__(self, *, base_url: str, api_key: str, model: str, timeout_seconds: float = 30) -> None:
        """Note where to ask; nothing is sent yet."""
        self.name = f"openai/{model}"
        self._base_url, self._api_key, self._model, self._timeout_seconds = base_url, api_key, model, timeout_seconds
        self._rung = 0
        self._sampling: dict[str, Any] = {"temperature": 0}

    def complete_json(self, *, system: str, user: str, json_schema: dict[str, object]) -> dict[str, object]:
        """See the port."""
        messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
        # A client per answer leaves no connection open between cases; beside the seconds of an answer it costs nothing.
        patient = _ClientInTime(self._timeout_seconds)
        with OpenAI(base_url=self._base_url, api_key=self._api_key, http_client=patient, timeout=patient.seconds, max_retries=1) as client:
            try:
                completion = self._climb_down(client, messages, _ladder(json_schema))
            except (BadReport, ChatModelUnavailable):
                raise
            except APIStatusError as error:
                raise _of_status(error.status_code) from None
            except APIConnectionError as error:  # timeouts too
                raise ChatModelUnavailable(f"the language model did not answer ({type(error).__name__})") from None
            except (APIError, ValueError):
                raise ChatModelUnavailable("the language model's endpoint answered with something that is no completion") from None
        return _read(completion)

    def _climb_down(self, client: OpenAI, messages: list[dict[str, str]], ladder: list[dict[str, Any]]) -> object:
        """Ask on the rung that worked last; on a 400 or 422 on the next. All rungs refused: the request itself is not liked."""
        for rung in range(self._rung, len(ladder)):
            try:
                completion = self._ask(client, messages, ladder[rung])
            except (BadRequestError, UnprocessableEntityError):
                continue
            self._rung = rung
            return completion
        raise BadReport("request_refused")

    def _ask(self, client: OpenAI, messages: list[dict[str, str]], response_format: dict[str, Any]) -> object:
        try:
            return self._create(client, messages, response_format)
        except BadRequestError as error:
            if not self._sampling or "temperature" not in str(error).lower():
                raise
            self._sampling = {}  # reasoning models refuse a temperature
            return self._create(client, messages, response_format)

    def _create(self, client: OpenAI, messages: list[dict[str, str]], response_format: dict[str, Any]) -> object:
        return client.chat.completions.create(model=self._model, messages=cast("Any", messages), **self._sampling, **response_format)


class _ClientInTime(DefaultHttpxClient):
    """Ends an answer that is not whole in time: the SDK's timeout is of silence, and some providers send blank lines for minutes."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:  # noqa: ANN401 - handed on
        """Read the answer here, piece by piece, against the clock."""
        until = time.monotonic() + self.seconds
        streamed: dict[str, Any] = options | {"stream": True}
        with contextlib.closing(super().send(request, **streamed)) as response:
            pieces: list[bytes] = []
            for piece in response.iter_raw():
                pieces.append(piece)
                if time.monotonic() > until:
                    raise httpx2.ReadTimeout("the answer is not whole in time", request=request)
        return httpx2.Response(response.status_code, headers=response.headers, content=b"".join(pieces), request=request)


def _ladder(json_schema: dict[str, object]) -> list[dict[str, Any]]:
    schema = {"name": "report", "strict": True, "schema": json_schema}
    return [
        {"response_format": {"type": "json_schema", "json_schema": schema}},
        {"response_format": {"type": "json_object"}},
        {},
    ]


def _of_status(status: int) -> BadReport | ChatModelUnavailable:
    """A busy or broken endpoint may recover; a wrong key or model name stays wrong, and patients should not wait for it."""
    if status in _BUSY or status >= 500:
        return ChatModelUnavailable(f"the language model answered with HTTP {status}")
    return BadReport(f"http_{status}")


def _read(completion: object) -> dict[str, object]:
    # A proxy's HTML page comes out of the SDK as a plain string.
    if not isinstance(completion, ChatCompletion):
        raise ChatModelUnavailable("the language model's endpoint answered with something that is no completion")
    choices = cast("list[Any] | None", completion.choices)
    if not choices:
        raise BadReport("empty")
    choice = choices[0]
    if choice.finish_reason == "content_filter":
        raise BadReport("content_filter")
    if choice.finish_reason == "length":
        raise BadReport("cut_off")
    if choice.message.refusal:
        raise BadReport("refusal")
    return _extract_object(choice.message.content or "")


def _extract_object(text: str) -> dict[str, object]:
    """The JSON object in an answer, past a reasoning model's thoughts and a code fence."""
    text = re.sub(r"<think>.*?</think>", "", text, flags=re.DOTALL)
    if not text.strip():
        raise BadReport("empty")
    try:
        found, _ = json.JSONDecoder().raw_decode(text, text.index("{"))
    except (ValueError, RecursionError):
        raise BadReport("not_json") from None
    return cast("dict[str, object]", found)
