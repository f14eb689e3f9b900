"""A language model is only asked outside the house where somebody has allowed it."""

import pytest

from eye_dx_core import wiring
from eye_dx_core.errors import BadSettings
from eye_dx_core.settings import get_settings

MODEL = {"EYE_DX_LLM_API_KEY": "sk-geheim", "EYE_DX_LLM_MODEL": "m"}


def configure(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    for name, value in (MODEL | variables).items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("url", ["https://api.deepseek.com", "https://api.openai.com/v1", "http://8.8.8.8/v1", "http://134744072/v1"])
def test_an_endpoint_outside_the_house_needs_a_yes_and_the_text_says_what_would_leave(monkeypatch: pytest.MonkeyPatch, url: str):
    configure(monkeypatch, EYE_DX_LLM_BASE_URL=url)

    with pytest.raises(BadSettings, match=r"every patient would leave the house.*EYE_DX_LLM_EXTERNAL") as caught:
        get_settings()
    assert "sk-geheim" not in str(caught.value)


def test_with_the_yes_it_is_asked_but_never_in_the_clear(monkeypatch: pytest.MonkeyPatch):
    configure(monkeypatch, EYE_DX_LLM_BASE_URL="https://api.deepseek.com", EYE_DX_LLM_EXTERNAL="true")
    model = wiring.find_chat_model(get_settings())
    assert model is not None
    assert model.name == "openai/m"

    configure(monkeypatch, EYE_DX_LLM_BASE_URL="http://api.deepseek.com", EYE_DX_LLM_EXTERNAL="true")
    with pytest.raises(BadSettings, match="https://"):
        get_settings()


def test_an_endpoint_in_the_house_needs_no_yes(monkeypatch: pytest.MonkeyPatch):
    configure(monkeypatch, EYE_DX_LLM_BASE_URL="http://vllm:8000/v1")

    assert wiring.find_chat_model(get_settings()) is not None


@pytest.mark.parametrize(("name", "value"), [("SECONDS", "0"), ("TEMPERATURE", "-0.1"), ("TEMPERATURE", "3")])
def test_values_out_of_range_are_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str):
    configure(monkeypatch, EYE_DX_LLM_BASE_URL="http://vllm:8000/v1", **{f"EYE_DX_LLM_{name}": value})

    with pytest.raises(BadSettings, match=f"EYE_DX_LLM_{name}"):
        get_settings()
