"""The promises of `ChatModel`, kept by the scripted model and by the OpenAI client against a server that misbehaves."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from eye_dx_core.errors import BadReport, ChatModelUnavailable
from eye_dx_core.reporting.language_model.endpoints import habits_of, is_in_the_house
from eye_dx_core.reporting.language_model.memory import ScriptedChatModel
from eye_dx_core.reporting.language_model.openai import OpenAiChatModel
from eye_dx_core.reporting.language_model.port import ChatModel, UselessAnswer
from eye_dx_core.reporting.narrative import ANSWER_SCHEMA
from eye_dx_core.schema.report import TokenUsage
from tests.endpoint import ANSWER, PROFILES, TEXT, Answer, LoopbackEndpoint, completion, error, kind_of


@pytest.fixture
def endpoint() -> Iterator[LoopbackEndpoint]:
    habits_of.cache_clear()  # a port may come again, and with it the memory of another test's endpoint
    endpoint = LoopbackEndpoint()
    yield endpoint
    endpoint.close()


def a_model(endpoint: LoopbackEndpoint, *, timeout_seconds: float = 10) -> OpenAiChatModel:
    return OpenAiChatModel(base_url=endpoint.url, api_key="not-a-real-key", model="m", timeout_seconds=timeout_seconds)


def ask(model: ChatModel) -> dict[str, object]:
    return model.complete_json(system="只回答 json", user="资料", json_schema=ANSWER_SCHEMA).content


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
    return [kind_of(request) for request in endpoint.requests]


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


@pytest.mark.parametrize("provider", PROFILES)
def test_every_kind_of_endpoint_gives_an_answer_and_is_asked_once_from_then_on(endpoint: LoopbackEndpoint, provider: str):
    endpoint.answer, first = PROFILES[provider]
    assert ask(a_model(endpoint)) == ANSWER
    assert formats(endpoint) == first

    endpoint.requests.clear()
    assert ask(a_model(endpoint)) == ANSWER, "another model object of the same process knows what the first has learnt"
    assert formats(endpoint) == first[-1:]


def test_what_one_endpoint_taught_is_not_held_against_another_model(endpoint: LoopbackEndpoint):
    endpoint.answer, _ = PROFILES["DeepSeek"]
    ask(a_model(endpoint))
    endpoint.requests.clear()

    ask(OpenAiChatModel(base_url=endpoint.url, api_key="not-a-real-key", model="another"))
    assert formats(endpoint)[0] == "json_schema"


def test_an_answer_that_was_cut_off_is_asked_for_once_more_with_room(endpoint: LoopbackEndpoint):
    endpoint.answer = lambda request: (
        200,
        completion(TEXT) if request.get("max_tokens", 0) > 4000 else completion(TEXT[:9], finish_reason="length"),
    )

    assert ask(a_model(endpoint)) == ANSWER
    assert [request.get("max_tokens") for request in endpoint.requests] == [None, 8192]


def test_an_endpoint_that_knows_the_token_limit_by_its_newer_name_gets_that(endpoint: LoopbackEndpoint):
    def reasoning(request: dict[str, Any]) -> Answer:
        if "max_tokens" in request:
            return 400, error("Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
        return 200, completion(TEXT) if "max_completion_tokens" in request else completion("", finish_reason="length")

    endpoint.answer = reasoning
    assert ask(a_model(endpoint)) == ANSWER


def test_what_an_answer_cost_is_told_and_nonsense_counts_are_not(endpoint: LoopbackEndpoint):
    def tokens() -> TokenUsage | None:
        return a_model(endpoint).complete_json(system="json", user="", json_schema=ANSWER_SCHEMA).tokens

    assert tokens() == TokenUsage(prompt=900, completion=250)
    for usage in (None, {"prompt_tokens": -3, "completion_tokens": 1, "total_tokens": 0}, {"prompt_tokens": "many"}):
        endpoint.answer = lambda _, usage=usage: (200, completion(TEXT, usage=usage))
        assert tokens() is None


def test_an_answer_of_no_use_has_cost_tokens_all_the_same(endpoint: LoopbackEndpoint):
    endpoint.answer = lambda _: (200, completion("对不起"))

    with pytest.raises(UselessAnswer) as caught:
        ask(a_model(endpoint))
    assert caught.value.tokens == TokenUsage(prompt=900, completion=250)


def test_the_temperature_can_be_set_and_zero_is_sent_as_zero(endpoint: LoopbackEndpoint):
    for temperature in (0, 0.7):
        ask(OpenAiChatModel(base_url=endpoint.url, api_key="k", model=f"m{temperature}", temperature=temperature))

    assert [request["temperature"] for request in endpoint.requests] == [0, 0.7]


def test_an_endpoint_cannot_send_the_facts_on_to_another_house(endpoint: LoopbackEndpoint):
    endpoint.redirect_to = "http://127.0.0.1:9/v1"
    endpoint.answer = lambda _: (307, error("moved"))

    with pytest.raises(BadReport, match=r"^http_307$"):
        ask(a_model(endpoint))


@pytest.mark.parametrize(
    ("url", "is_in"),
    [
        ("http://127.0.0.1:8000/v1", True),
        ("http://localhost:11434/v1", True),
        ("http://[::1]/v1", True),
        ("http://10.1.2.3/v1", True),
        ("http://192.168.0.7:8000", True),
        ("http://172.16.0.1", True),
        ("http://[fd00::1]/v1", True),
        ("http://vllm:8000/v1", True),
        ("https://llm.ward.local/v1", True),
        ("https://llm.internal/v1", True),
        ("https://api.openai.com/v1", False),
        ("https://api.deepseek.com", False),
        ("https://dashscope.aliyuncs.com/compatible-mode/v1", False),
        ("http://8.8.8.8/v1", False),
        ("http://172.32.0.1", False),
        ("http://134744072/v1", False),
        ("http://0x08080808/v1", False),
        ("http://0/v1", False),
        ("http://0.0.0.0/v1", False),
        ("http://localhost@api.example.com/v1", False),
        ("http://localhost.example.com/v1", False),
        ("http://local/v1", True),
        ("llm", False),
        ("", False),
    ],
)
def test_an_address_of_the_house_is_told_from_one_outside(url: str, *, is_in: bool):
    assert is_in_the_house(url) is is_in
