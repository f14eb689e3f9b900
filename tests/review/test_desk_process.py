"""The desk as a process of its own, met by HTTP: what the demo does there."""

from contextlib import closing
from pathlib import Path

import pytest

from eye_dx_core import wiring
from eye_dx_core.casework import report_case
from eye_dx_core.errors import EyeDxError
from eye_dx_core.schema.routing import Urgency
from eye_dx_core.settings import Settings, child_environment
from eye_dx_demo.desk_visit import DeskVisit, add_doctor, running_desk
from tests.builders import NOON, a_case, a_diagnosis


@pytest.mark.slow
def test_an_invented_doctor_signs_a_case_by_http_and_links_the_patient_to_the_report(tmp_path: Path):
    settings = Settings(state_dir=tmp_path)
    settings.data.mkdir()
    environment = child_environment(settings) | {"EYE_DX_DESK_TWO_PERSON": "true"}
    with closing(wiring.open_records(settings)) as records:
        records.add_case(a_case(), b"raw")
        records.add_diagnosis(a_diagnosis(right="A", left=None), [])
        with running_desk(environment, tmp_path / "desk.log") as address:
            doctor = add_doctor("demo1", environment)
            with closing(DeskVisit(address, doctor)) as visit:
                visit.review(records.get_case_record("case-1"))
                review = records.find_review("case-1")
                assert review is not None
                assert (review.source, review.doctor_name, review.urgency) == ("desk", "华医生", Urgency.URGENT)
                assert review.conclusion == "右眼：年龄相关性黄斑变性；左眼：照片无法判读，需重新拍摄"

                with pytest.raises(EyeDxError, match="409 to /cases/case-1/"):
                    visit.review(records.get_case_record("case-1"))
                outlet = wiring.report_outlet(settings)
                report_case(records, "case-1", chat_model=None, outlet=outlet, now=lambda: NOON)
                page = visit._client.get(visit.make_patient_link("case-1"))
        assert "测试甲" in page.text
        assert [entry.action for entry in records.audit() if entry.actor == "demo1"][:4] == [
            "log in",
            "claim case",
            "view case",
            "sign review",
        ]


def test_a_user_that_is_there_already_is_refused_in_words(tmp_path: Path):
    settings = Settings(state_dir=tmp_path)
    settings.data.mkdir()
    add_doctor("demo1", child_environment(settings))

    with pytest.raises(EyeDxError, match="demo1"):
        add_doctor("demo1", child_environment(settings))
