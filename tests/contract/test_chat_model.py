"""The promises of `ChatModel`, kept by the scripted model and by the OpenAI client against a server that misbehaves."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from eye_dx_core.errors import BadReport, ChatModelUnavailable
from eye_dx_core.reporting.memory import ScriptedChatModel
from eye_dx_core.reporting.narrative import ANSWER_SCHEMA
from eye_dx_core.reporting.openai import OpenAiChatModel
from eye_dx_core.reporting.port import ChatModel
from tests.endpoint import ANSWER, TEXT, Answer, LoopbackEndpoint, completion, error


@pytest.fixture
def endpoint() -> Iterator[LoopbackEndpoint]:
    endpoint = LoopbackEndpoint()
    yield endpoint
    endpoint.close()


def a_model(endpoint: LoopbackEndpoint, *, timeout_seconds: float = 10) -> OpenAiChatModel:
    return OpenAiChatModel(base_url=endpoint.url, api_key="not-a-real-key", model="m", timeout_seconds=timeout_seconds)


def ask(model: ChatModel) -> dict[str, object]:
    return model.complete_json(system="只回答 json", user="资料", json_schema=ANSWER_SCHEMA)


@pytest.fixture(params=["scripted", "openai"])
def adapter(request: pytest.FixtureRequest, endpoint: LoopbackEndpoint) -> Callable[[str], ChatModel]:
    """Builds either adapter so that it meets one of three fates."""

    def build(fate: str) -> ChatModel:
        if request.param == "scripted":
            return ScriptedChatModel({"good": ANSWER, "busy": ChatModelUnavailable("busy"), "refusal": BadReport("refusal")}[fate])
        answers: dict[str, Answer] = {
            "good": (200, completion(TEXT)),
            "busy": (503, error("busy")),
            "refusal": (200, completion(None, refusal="no")),
        }
        endpoint.answer = lambda _: answers[fate]
        return a_model(endpoint)

    return build


def test_a_good_answer_comes_as_an_object(adapter: Callable[[str], ChatModel]):
    assert ask(adapter("good")) == ANSWER


def test_a_busy_endpoint_is_worth_another_try(adapter: Callable[[str], ChatModel]):
    with pytest.raises(ChatModelUnavailable) as caught:
        ask(adapter("busy"))
    assert caught.value.is_transient


def test_a_refusal_is_a_bad_report_with_its_code(adapter: Callable[[str], ChatModel]):
    with pytest.raises(BadReport, match=r"^refusal$"):
        ask(adapter("refusal"))


def test_a_model_says_its_name(adapter: Callable[[str], ChatModel]):
    assert "/" in adapter("good").name


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (completion(""), "empty"),
        (completion(None), "empty"),
        (completion("   "), "empty"),
        ({"object": "chat.completion", "id": "x", "created": 0, "model": "m", "choices": []}, "empty"),
        (completion("对不起，我不能回答。"), "not_json"),
        (completion('{"opinion": "意见'), "not_json"),
        (completion(TEXT[:10], finish_reason="length"), "cut_off"),
        (completion("", finish_reason="content_filter"), "content_filter"),
        (completion(None, refusal="I can't help with that"), "refusal"),
    ],
)
def test_an_answer_that_cannot_be_used_is_a_bad_report(endpoint: LoopbackEndpoint, answer: dict[str, Any], code: str):
    endpoint.answer = lambda _: (200, answer)

    with pytest.raises(BadReport, match=f"^{code}$"):
        ask(a_model(endpoint))


@pytest.mark.parametrize("text", [f"```json\n{TEXT}\n```", f"<think>{{不确定}}</think>\n{TEXT}", f"结果如下：\n{TEXT}\n希望有帮助。"])
def test_an_object_is_found_in_a_fence_after_thoughts_and_in_prose(endpoint: LoopbackEndpoint, text: str):
    endpoint.answer = lambda _: (200, completion(text))

    assert ask(a_model(endpoint)) == ANSWER


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_overload_is_tried_twice_and_then_unavailable(endpoint: LoopbackEndpoint, status: int):
    endpoint.answer = lambda _: (status, error("busy"))

    with pytest.raises(ChatModelUnavailable, match=str(status)):
        ask(a_model(endpoint))
    assert len(endpoint.requests) == 2


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_wrong_key_or_model_is_no_reason_to_wait(endpoint: LoopbackEndpoint, status: int):
    endpoint.answer = lambda _: (status, error("no"))

    with pytest.raises(BadReport, match=f"^http_{status}$"):
        ask(a_model(endpoint))


def test_a_proxys_html_page_is_unavailable(endpoint: LoopbackEndpoint):
    endpoint.answer = lambda _: (200, "<html><body>Sign in</body></html>")

    with pytest.raises(ChatModelUnavailable, match="no completion"):
        ask(a_model(endpoint))


def test_a_slow_endpoint_is_unavailable(endpoint: LoopbackEndpoint):
    def slow(_: dict[str, Any]) -> Answer:
        time.sleep(0.6)
        return 200, completion(TEXT)

    endpoint.answer = slow
    with pytest.raises(ChatModelUnavailable, match="APITimeoutError"):
        ask(a_model(endpoint, timeout_seconds=0.2))


def test_blank_lines_before_an_answer_are_no_harm_and_no_reason_to_wait_longer(endpoint: LoopbackEndpoint):
    endpoint.blank_lines = 2
    assert ask(a_model(endpoint)) == ANSWER

    endpoint.blank_lines = 50
    started = time.monotonic()
    with pytest.raises(ChatModelUnavailable, match="APITimeoutError"):
        ask(a_model(endpoint, timeout_seconds=0.3))
    assert time.monotonic() - started < 4


def test_no_endpoint_at_all_is_unavailable(endpoint: LoopbackEndpoint):
    model = a_model(endpoint)
    endpoint.server.server_close()

    with pytest.raises(ChatModelUnavailable):
        ask(OpenAiChatModel(base_url="http://127.0.0.1:9/v1", api_key="k", model="m", timeout_seconds=1))
    assert model.name == "openai/m"


def formats(endpoint: LoopbackEndpoint) -> list[str]:
    return [request.get("response_format", {"type": "text"})["type"] for request in endpoint.requests]


@pytest.mark.parametrize(
    ("understood", "first", "then"),
    [
        ({"json_schema"}, ["json_schema"], ["json_schema"]),
        ({"json_object", "text"}, ["json_schema", "json_object"], ["json_object"]),
        ({"text"}, ["json_schema", "json_object", "text"], ["text"]),
    ],
)
def test_the_way_to_json_that_works_is_remembered(endpoint: LoopbackEndpoint, understood: set[str], first: list[str], then: list[str]):
    def picky(request: dict[str, Any]) -> Answer:
        kind = request.get("response_format", {"type": "text"})["type"]
        return (200, completion(TEXT)) if kind in understood else (400, error("This response_format type is unavailable now"))

    endpoint.answer = picky
    model = a_model(endpoint)

    assert ask(model) == ANSWER
    assert formats(endpoint) == first
    endpoint.requests.clear()
    assert ask(model) == ANSWER
    assert formats(endpoint) == then


def test_a_request_that_is_never_liked_is_a_bad_report_and_teaches_nothing(endpoint: LoopbackEndpoint):
    endpoint.answer = lambda _: (400, error("inappropriate content"))
    model = a_model(endpoint)

    with pytest.raises(BadReport, match=r"^request_refused$"):
        ask(model)
    endpoint.answer = lambda _: (200, completion(TEXT))
    assert ask(model) == ANSWER
    assert formats(endpoint)[-1] == "json_schema"


def test_a_model_that_refuses_a_temperature_is_asked_without(endpoint: LoopbackEndpoint):
    def reasoning(request: dict[str, Any]) -> Answer:
        return (400, error("Unsupported value: 'temperature'")) if "temperature" in request else (200, completion(TEXT))

    endpoint.answer = reasoning
    assert ask(a_model(endpoint)) == ANSWER
    assert formats(endpoint) == ["json_schema", "json_schema"]


def test_the_question_is_sent_as_it_is_with_temperature_zero(endpoint: LoopbackEndpoint):
    ask(a_model(endpoint))

    (request,) = endpoint.requests
    assert request["temperature"] == 0
    assert [message["content"] for message in request["messages"]] == ["只回答 json", "资料"]
    assert request["response_format"]["json_schema"]["schema"] == ANSWER_SCHEMA
