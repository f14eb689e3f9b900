"""What the guard did to a run's texts is in the run's metadata, and too many refusals warn."""

import json
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from eye_dx_core.queue.memory import MemoryQueue
from eye_dx_core.queue.topology import QueueNames
from eye_dx_core.records.memory import MemoryRecords
from eye_dx_core.reporting.language_model.endpoints import habits_of
from eye_dx_core.settings import Settings
from eye_dx_dagster.defs.reports.jobs import LANGUAGE_MODEL, report_job
from tests.builders import a_case, a_diagnosis, a_review
from tests.endpoint import LoopbackEndpoint, completion

pytestmark = pytest.mark.filterwarnings("ignore::dagster.BetaWarning", "ignore::DeprecationWarning")

NOT_SEPARATELY = dict.fromkeys(("retina", "macula", "optic_disc", "vessels"), "未单独评估。")
RIGHT_ANSWER = {
    "right_eye": NOT_SEPARATELY,
    "left_eye": NOT_SEPARATELY,
    "opinion": "经医生审核，以医生结论为准。",
    "advice": "请按照医生的建议随访和复查。",
    "conclusion_codes": ["high_myopia"],
    "urgency_code": None,
    "claims": [],
}


@pytest.fixture
def endpoint() -> Iterator[LoopbackEndpoint]:
    habits_of.cache_clear()
    endpoint = LoopbackEndpoint()
    yield endpoint
    endpoint.close()


def write_reports(endpoint: LoopbackEndpoint, folder: Path, instance: dg.DagsterInstance, *, count: int) -> dict[str, object]:
    """Run the report job over so many reviewed cases; the metadata of its writing step."""
    records = MemoryRecords()
    for number in range(count):
        case_id = f"case-{number}"
        records.add_case(a_case(case_id), b"{}")
        records.add_diagnosis(a_diagnosis(case_id), [])
        records.add_review(a_review(case_id, review_id=f"review-{case_id}"))
    settings = Settings.model_validate({"state_dir": folder, "llm_base_url": endpoint.url, "llm_api_key": "none", "llm_model": "m"})
    resources = {"settings": settings, "queue": MemoryQueue(names=QueueNames()), "records": records}
    result = report_job.execute_in_process(instance=instance, resources=resources)
    (written,) = [one for one in result.events_for_node("write_reports") if one.event_type_value == "STEP_OUTPUT"]
    return {name: value.value for name, value in written.step_output_data.metadata.items()}


def test_good_texts_are_counted(endpoint: LoopbackEndpoint, tmp_path: Path):
    endpoint.answer = lambda _: (200, completion(json.dumps(RIGHT_ANSWER)))
    with dg.instance_for_test() as instance:
        metadata = write_reports(endpoint, tmp_path, instance, count=10)

        assert (metadata["written"], metadata["guard_passed"], metadata["guard_refused"]) == (10, 10, 0)
        assert (metadata["guard_refused_share"], metadata["prompt_tokens"]) == (0, 9000)


def test_refused_texts_are_counted_by_rule(endpoint: LoopbackEndpoint, tmp_path: Path):
    endpoint.answer = lambda _: (200, completion(json.dumps(RIGHT_ANSWER | {"advice": "OCT已完成，无需复查。"})))
    with dg.instance_for_test() as instance:
        metadata = write_reports(endpoint, tmp_path, instance, count=10)

        assert (metadata["guard_refused"], metadata["rule_unperformed_exam"], metadata["by_template_instead"]) == (10, 10, 10)
        observed = instance.fetch_observations(LANGUAGE_MODEL.key, limit=1).records[0].asset_observation
        assert observed is not None
        assert observed.metadata["guard_refused"].value == 10
