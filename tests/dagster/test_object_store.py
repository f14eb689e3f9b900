"""Photographs and finished files in a bucket: what a run writes there is shown at the desk, and erased from there."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from fastapi.testclient import TestClient

from eye_dx_core import wiring
from eye_dx_core.errors import FilesUnavailable
from eye_dx_core.files.object_store import open_store
from eye_dx_core.queue.port import Message
from eye_dx_core.retention import erase_patient
from eye_dx_core.settings import Settings
from eye_dx_dagster.defs.diagnosis.jobs import diagnosis_job, utc_now
from eye_dx_dagster.defs.reports.assets import daily_diagnosis_report
from eye_dx_dagster.defs.reports.jobs import report_job
from eye_dx_review.app import create_app
from eye_dx_review.desk import Desk
from tests.builders import a_nested_body
from tests.dagster.test_case_flow import NAMES, Clinic
from tests.review.desks import a_client, add_doctors, csrf_of
from tests.services import own_s3

pytestmark = pytest.mark.filterwarnings("ignore::dagster.BetaWarning", "ignore::DeprecationWarning")


@pytest.fixture
def clinic(tmp_path: Path) -> Iterator[Clinic]:
    with own_s3() as address, dg.instance_for_test() as instance:
        clinic = Clinic(tmp_path, instance)
        clinic.settings = Settings.model_validate(
            {
                "state_dir": tmp_path,
                "linger_seconds": 0,
                "s3_endpoint": address,
                "files_url": "s3://clinic-files/eye-dx",
                "photo_buckets": "clinic-photos",
                "photo_base": "s3://clinic-photos/visits/",
            }
        )
        store = open_store(address)
        for bucket in ("clinic-files", "clinic-photos"):
            store.mkdir(bucket)
        for name in ("OD.jpg", "OS.jpg"):  # they come from the bucket, or not at all
            store.pipe_file(f"clinic-photos/visits/{name}", (tmp_path / "data" / name).read_bytes())
            (tmp_path / "data" / name).unlink()
        yield clinic


def a_desk_of(clinic: Clinic) -> Desk:
    outlet = wiring.report_outlet(clinic.settings)
    desk = Desk(records=clinic.records, photos=wiring.photo_intake(clinic.settings), reports=outlet, cookie_key=b"k" * 32, now=utc_now)
    add_doctors(desk)
    return desk


def review(clinic: Clinic, case_id: str) -> None:
    said = {"case_id": case_id, "final_conclusion": "糖尿病视网膜病变", "doctor_name": "唐医生", "recommendation": "1个月内复查"}
    clinic.queue.publish(NAMES.reviews, Message(body=json.dumps(said).encode(), message_id=f"r-{case_id}"))


def test_a_case_is_read_reported_shown_and_erased_with_all_its_files_in_buckets(clinic: Clinic, tmp_path: Path):
    clinic.trust_a_model(tmp_path / "checkpoint")
    clinic.send(a_nested_body(photos=("OD.jpg", "OS.jpg")), "m-1")
    files = wiring.open_files(clinic.settings)

    assert clinic.run(diagnosis_job).success
    (case_id,) = clinic.records.find_case_ids(patient_id="P2025001")
    review(clinic, case_id)
    written = clinic.run(report_job)
    day = f"{utc_now():%Y-%m-%d}"
    assert dg.materialize([daily_diagnosis_report], instance=clinic.instance, resources=clinic.resources, partition_key=day).success

    assert set(files.sizes("reports")) == {f"reports/{case_id}.html", f"reports/{case_id}.pdf"}
    assert {name.rpartition(".")[2] for name in files.sizes("daily")} >= {"md", "html", "pdf", "png", "json", "csv", "parquet"}
    page = files.read(f"reports/{case_id}.html").decode()
    assert "测试甲" in page
    assert page.count("data:image/jpeg") >= 2
    assert files.read(f"reports/{case_id}.pdf").startswith(b"%PDF")
    assert not [path for folder in ("reports", "daily") for path in (tmp_path / "data").glob(f"{folder}/*")]
    told = [event for event in written.all_node_events if event.step_key == "write_reports" and event.event_type_value == "STEP_OUTPUT"]
    assert f"s3://clinic-files/eye-dx/reports/{case_id}.pdf" in str(told)

    desk = a_desk_of(clinic)
    client = a_client(desk, "tang")
    for photo in clinic.records.get_case(case_id).screening.photos:
        assert client.get(f"/cases/{case_id}/photos/{photo.photo_id}").headers["content-type"] == "image/jpeg"
    made = client.post(f"/cases/{case_id}/links", data={"csrf": csrf_of(client)})
    link = re.search(r"/r/[\w-]+", made.text)
    assert link is not None
    seen = TestClient(create_app(desk), base_url="http://127.0.0.1").get(link[0])
    assert (seen.status_code, seen.text.count("data:image/jpeg") >= 2) == (200, True)
    added = client.post(f"/cases/{case_id}/addenda", data={"csrf": csrf_of(client), "text": "左眼亦有渗出"})
    assert added.status_code == 200
    assert "左眼亦有渗出" in files.read(f"reports/{case_id}.html").decode()

    erase_patient(
        clinic.records, "P2025001", shelves=wiring.shelves(clinic.settings), with_photos=True, actor="test", reason="asked", at=utc_now()
    )
    assert files.sizes("reports") == {}


def test_while_the_bucket_is_gone_no_report_goes_out_and_afterwards_it_does(
    clinic: Clinic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(dg.RetryPolicy, "calculate_delay", lambda *_: 0)
    clinic.trust_a_model(tmp_path / "checkpoint")
    clinic.send(a_nested_body(photos=("OD.jpg",)), "m-1")
    clinic.run(diagnosis_job)
    (case_id,) = clinic.records.find_case_ids(patient_id="P2025001")
    review(clinic, case_id)
    there, gone = clinic.settings, clinic.settings.model_copy(update={"files_url": "s3://clinic-gone"})

    clinic.settings = gone
    failed = clinic.run(report_job, raises=False)
    assert not failed.success
    assert clinic.queue.depth(NAMES.reports) == 0
    assert "no such bucket" in str(failed.failure_data_for_node("write_reports"))

    clinic.settings = there
    assert clinic.run(report_job).success
    assert clinic.queue.depth(NAMES.reports) == 1
    with pytest.raises(FilesUnavailable):
        erase_patient(
            clinic.records, "P2025001", shelves=wiring.shelves(gone), with_photos=False, actor="test", reason="asked", at=utc_now()
        )
    assert clinic.records.find_case_ids(patient_id="P2025001") == (case_id,)
