"""Any OpenAI-compatible endpoint as a chat model: OpenAI, DeepSeek, Qwen, vLLM, Ollama and others."""

import contextlib
import json
import re
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, cast

import httpx2  # what the SDK speaks HTTP with
from openai import (
    APIConnectionError,
    APIError,
    APIStatusError,
    BadRequestError,
    DefaultHttpxClient,
    OpenAI,
    Timeout,
    UnprocessableEntityError,
)
from openai.types.chat import ChatCompletion

from eye_dx_core.errors import ChatModelUnavailable
from eye_dx_core.reporting.language_model.endpoints import habits_of
from eye_dx_core.reporting.language_model.port import ChatAnswer, UselessAnswer
from eye_dx_core.schema.report import TokenUsage

_BUSY = {408, 409, 425, 429}
_CONNECT_SECONDS = 5.0
_NO_COMPLETION = "the language model's endpoint answered with something that is no completion"
_MORE_TOKENS = 8192
"""What a report may take where the endpoint's own limit cut it off; a report has about 1 000."""
# Reasoning models refuse a temperature, and some endpoints know the token limit under its newer name only.
_OPTIONAL = ("temperature", "max_tokens")


class OpenAiChatModel:
    """The port `ChatModel` over chat completions.

    Providers differ in how far they can be held to JSON, so the strictest way is tried first; after an HTTP 400 the
    next one is used, and remembered for the process as soon as it has worked. The answer is never trusted to have the
    promised shape.
    """

    def __init__(
        self,
        *,
        base_url: str,
        api_key: str,
        model: str,
        timeout_seconds: float = 30,
        temperature: float = 0,
        tracer: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """Note where to ask; nothing is sent yet. `tracer` is entered around each question, to record it."""
        self.name = f"openai/{model}"
        self._base_url, self._api_key, self._model, self._timeout_seconds = base_url, api_key, model, timeout_seconds
        self._temperature, self._tracer = temperature, tracer
        self._habits = habits_of(base_url, model)

    def complete_json(self, *, system: str, user: str, json_schema: dict[str, object]) -> ChatAnswer:
        """See the port."""
        messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
        # A client per answer leaves no connection open between cases; beside the seconds of an answer it costs nothing.
        patient = _ClientInTime(self._timeout_seconds)
        timeout = Timeout(patient.seconds, connect=min(_CONNECT_SECONDS, patient.seconds))
        with (
            self._tracer(),
            _our_errors(),
            OpenAI(base_url=self._base_url, api_key=self._api_key, http_client=patient, timeout=timeout, max_retries=1) as client,
        ):
            completion = self._climb_down(client, messages, _ladder(json_schema))
            if _is_cut_off(completion):
                completion = self._ask(client, messages, _ladder(json_schema)[self._habits.rung] | {"max_tokens": _MORE_TOKENS})
            return _read(completion)

    def _climb_down(self, client: OpenAI, messages: list[dict[str, str]], ladder: list[dict[str, Any]]) -> object:
        """Ask on the rung that worked last; on a 400 or 422 on the next. All rungs refused: the request itself is not liked."""
        for rung in range(self._habits.rung, len(ladder)):
            try:
                completion = self._ask(client, messages, ladder[rung])
            except (BadRequestError, UnprocessableEntityError):
                continue
            self._habits.rung = rung
            return completion
        raise UselessAnswer("request_refused")

    def _ask(self, client: OpenAI, messages: list[dict[str, str]], parameters: dict[str, Any]) -> object:
        """Ask; parameters that the endpoint refuses by name are left out, now and later."""
        wanted = {"temperature": self._temperature} | parameters
        while True:
            sent = self._habits.without_refused(wanted)
            try:
                return client.chat.completions.create(model=self._model, messages=cast("Any", messages), **sent)
            except (BadRequestError, UnprocessableEntityError) as error:
                named = {name for name in _OPTIONAL if name in sent and name in str(error).lower()}
                if not named:
                    raise
                self._habits.refused |= named


class _ClientInTime(DefaultHttpxClient):
    """Ends an answer that is not whole in time: the SDK's timeout is of silence, and some providers send blank lines for minutes."""

    def __init__(self, seconds: float) -> None:
        super().__init__(follow_redirects=False)  # an endpoint in the house must not send a patient's facts out of it
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


@contextmanager
def _our_errors() -> Generator[None]:
    """The SDK's errors as ours; their texts may repeat what was sent, so none is kept."""
    try:
        yield
    except (UselessAnswer, ChatModelUnavailable):
        raise
    except APIStatusError as error:
        raise _of_status(error.status_code) from None
    except APIConnectionError as error:  # timeouts too
        raise ChatModelUnavailable(f"the language model did not answer ({type(error).__name__})") from None
    except (APIError, ValueError):
        raise ChatModelUnavailable(_NO_COMPLETION) from None


def _of_status(status: int) -> UselessAnswer | ChatModelUnavailable:
    """A busy or broken endpoint may recover; a wrong key or model name stays wrong, and patients should not wait for it."""
    if status in _BUSY or status >= 500:
        return ChatModelUnavailable(f"the language model answered with HTTP {status}")
    return UselessAnswer(f"http_{status}")


def _is_cut_off(completion: object) -> bool:
    return isinstance(completion, ChatCompletion) and any(one.finish_reason == "length" for one in completion.choices or ())


def _read(completion: object) -> ChatAnswer:
    # A proxy's HTML page comes out of the SDK as a plain string.
    if not isinstance(completion, ChatCompletion):
        raise ChatModelUnavailable(_NO_COMPLETION)
    tokens = _tokens(completion)
    choices = cast("list[Any] | None", completion.choices)
    if not choices:
        raise UselessAnswer("empty", tokens)
    choice = choices[0]
    if choice.finish_reason == "content_filter":
        raise UselessAnswer("content_filter", tokens)
    if choice.finish_reason == "length":
        raise UselessAnswer("cut_off", tokens)
    if choice.message.refusal:
        raise UselessAnswer("refusal", tokens)
    content = choice.message.content
    try:
        return ChatAnswer(content=_extract_object(content if isinstance(content, str) else ""), tokens=tokens)
    except UselessAnswer as error:
        raise UselessAnswer(str(error), tokens) from None


def _tokens(completion: ChatCompletion) -> TokenUsage | None:
    """What the endpoint counted; the SDK checks nothing, so neither numbers nor their signs are taken on trust."""
    counted = completion.usage
    counts = [getattr(counted, name, None) for name in ("prompt_tokens", "completion_tokens")]
    prompt, answer = (one if isinstance(one, int) and one >= 0 else None for one in counts)
    return None if prompt is None or answer is None else TokenUsage(prompt=prompt, completion=answer)


def _extract_object(text: str) -> dict[str, object]:
    """The JSON object in an answer, past a reasoning model's thoughts and a code fence."""
    text = re.sub(r"<think>.*?</think>", "", text, flags=re.DOTALL)
    if not text.strip():
        raise UselessAnswer("empty")
    try:
        found, _ = json.JSONDecoder().raw_decode(text, text.index("{"))
    except (ValueError, RecursionError):
        raise UselessAnswer("not_json") from None
    return cast("dict[str, object]", found)
