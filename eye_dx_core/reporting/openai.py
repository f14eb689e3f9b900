"""Any OpenAI-compatible endpoint as a chat model: OpenAI, DeepSeek, Qwen, vLLM, Ollama."""

import json
import re
from typing import Any

from openai import APIConnectionError, APIStatusError, BadRequestError, OpenAI, OpenAIError

from eye_dx_core.errors import BadReport, ServiceUnavailable

_TOO_MANY_REQUESTS, _SERVER_ERROR = 429, 500


class OpenAiChatModel:
    """The port `ChatModel` through the openai SDK.

    Endpoints differ in what they can promise: a JSON schema, some JSON object, or only text. The first refusal (HTTP 400)
    steps down, and the step is remembered. No promise is trusted; the caller checks the answer.
    """

    def __init__(self, *, base_url: str, api_key: str, model: str, timeout_seconds: float = 30) -> None:
        # One retry here is for a dropped connection; Dagster retries the rest, with longer waits.
        self._client = OpenAI(base_url=base_url, api_key=api_key, timeout=timeout_seconds, max_retries=1)
        self._model = model
        self._steps = ["json_schema", "json_object", "text"]
        self.name = f"openai/{model}"

    def complete_json(self, *, system: str, user: str, json_schema: dict[str, object]) -> dict[str, object]:
        """See the port."""
        messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
        while True:
            try:
                completion = self._ask(messages, json_schema)
            except BadRequestError:
                if len(self._steps) == 1:
                    raise BadReport("the language model's endpoint refuses the request (HTTP 400)") from None
                self._steps.pop(0)
                continue
            return _to_object(completion)

    def _ask(self, messages: Any, json_schema: dict[str, object]) -> Any:  # noqa: ANN401 - whatever the endpoint sent
        formats: dict[str, Any] = {
            "json_schema": {"type": "json_schema", "json_schema": {"name": "report", "schema": json_schema}},
            "json_object": {"type": "json_object"},
        }
        options: dict[str, Any] = {"response_format": formats[self._steps[0]]} if self._steps[0] in formats else {}
        try:
            return self._client.chat.completions.create(model=self._model, messages=messages, temperature=0, **options)
        except BadRequestError:
            raise
        except APIConnectionError as error:
            raise ServiceUnavailable(f"the language model does not answer ({type(error).__name__})") from None
        except APIStatusError as error:
            if error.status_code == _TOO_MANY_REQUESTS or error.status_code >= _SERVER_ERROR:
                raise ServiceUnavailable(f"the language model is overloaded or down (HTTP {error.status_code})") from None
            raise BadReport(f"the language model's endpoint refuses the request (HTTP {error.status_code})") from None
        except (OpenAIError, ValueError) as error:
            raise BadReport(f"the language model's answer cannot be read ({type(error).__name__})") from None


def _to_object(completion: Any) -> dict[str, object]:  # noqa: ANN401 - a proxy's error page comes through the SDK as a string
    try:
        choice = completion.choices[0]
        text, refusal, ending = choice.message.content, choice.message.refusal, choice.finish_reason
    except (AttributeError, IndexError, TypeError):
        raise BadReport("the language model's endpoint answered with something that is no completion") from None
    if refusal or ending == "content_filter":
        raise BadReport("the language model refused to write")
    if ending == "length":
        raise BadReport("the language model's answer was cut off")
    return parse_object(text or "")


def parse_object(text: str) -> dict[str, object]:
    """The JSON object in a text, also when it stands in a code fence.

    Raises:
        BadReport: there is none.
    """
    fenced = re.search(r"```(?:json)?\s*(\{.*\})\s*```", text, re.DOTALL)
    try:
        value = json.loads(fenced.group(1) if fenced else text)
    except ValueError:
        raise BadReport("the language model's answer is not JSON") from None
    if not isinstance(value, dict):
        raise BadReport("the language model's answer is not a JSON object")
    return value
