"""Sensors look, runs drain: from waiting messages to delivered results and reports, on the fakes that ship."""

import json
import threading
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin

from eye_dx_core import casework, wiring
from eye_dx_core.dataset.phantom_folders import write_phantom_photo
from eye_dx_core.errors import ServiceUnavailable
from eye_dx_core.queue.draining import drain_screenings
from eye_dx_core.queue.memory import MemoryQueue
from eye_dx_core.queue.outbox import deliver_outbox
from eye_dx_core.queue.port import Message
from eye_dx_core.queue.topology import QueueNames
from eye_dx_core.records.memory import MemoryRecords
from eye_dx_core.records.port import Runs
from eye_dx_core.registry.memory import MemoryRegistry
from eye_dx_core.registry.promotion import promote
from eye_dx_core.schema.case import Laterality
from eye_dx_core.schema.diagnosis import Outcome
from eye_dx_core.settings import Settings
from eye_dx_dagster.defs.diagnosis.jobs import delivery_job, diagnosis_job, utc_now
from eye_dx_dagster.defs.diagnosis.sensors import outbox_sensor, request_run_when, screening_sensor
from eye_dx_dagster.defs.reports.jobs import report_job
from eye_dx_dagster.defs.reports.sensors import review_sensor
from tests.builders import a_nested_body
from tests.checkpoints import a_checkpoint

pytestmark = pytest.mark.filterwarnings("ignore::dagster.BetaWarning", "ignore::DeprecationWarning")
NAMES = QueueNames()
GOOD = {"balanced_accuracy": 0.8, "worst_recall": 0.5, "chance": 0.125}


class Clinic:
    """Everything a run is given, and the Dagster instance it runs on."""

    def __init__(self, folder: Path, instance: dg.DagsterInstance) -> None:
        self.instance = instance
        self.settings = Settings(state_dir=folder, linger_seconds=0)
        self.queue, self.records = MemoryQueue(names=NAMES), MemoryRecords()
        self.registry = MemoryRegistry(folder / "registry")
        for name, eye in (("OD.jpg", Laterality.RIGHT), ("OS.jpg", Laterality.LEFT)):
            (folder / "data").mkdir(exist_ok=True)
            write_phantom_photo(folder / "data" / name, "D3", eye=eye, seed=1, size=128)

    @property
    def resources(self) -> dict[str, object]:
        return {"settings": self.settings, "queue": self.queue, "records": self.records, "registry": self.registry}

    def trust_a_model(self, folder: Path) -> None:
        self.registry.add_candidate(a_checkpoint(folder), metrics=GOOD, tags={})
        promote(self.registry, None, reason="test", by="test")

    def send(self, body: bytes, message_id: str) -> None:
        self.queue.publish(NAMES.screenings, Message(body=body, message_id=message_id))

    def run(self, job: dg.JobDefinition, *, raises: bool = True) -> dg.ExecuteInProcessResult:
        return job.execute_in_process(instance=self.instance, resources=self.resources, raise_on_error=raises)

    def runs_of(self, job: dg.JobDefinition) -> Sequence[dg.DagsterRun]:
        return self.instance.get_runs(dg.RunsFilter(job_name=job.name))

    def tick(self, sensor: dg.SensorDefinition) -> dg.RunRequest | dg.SkipReason:
        """Its one answer."""
        given = {name: self.resources[name] for name in sensor.required_resource_keys}
        with dg.build_sensor_context(instance=self.instance, resources=given) as context:
            answer = sensor(context)
        if isinstance(answer, list):
            [answer] = answer
        assert isinstance(answer, dg.RunRequest | dg.SkipReason)
        return answer


@pytest.fixture
def clinic(tmp_path: Path) -> Iterator[Clinic]:
    with dg.instance_for_test() as instance:
        yield Clinic(tmp_path, instance)


def test_a_sensor_asks_for_a_run_only_when_something_waits_and_carries_no_payload(clinic: Clinic):
    assert isinstance(clinic.tick(screening_sensor), dg.SkipReason)

    clinic.send(a_nested_body(), "m-1")
    answer = clinic.tick(screening_sensor)

    assert isinstance(answer, dg.RunRequest)
    assert (answer.run_config, answer.tags["eye_dx/waiting/eye_dx_screenings"]) == ({}, "1")
    assert clinic.queue.depth(NAMES.screenings) == 1  # it looked and took nothing


@pytest.mark.parametrize(("waiting", "active", "wanted"), [(1, 0, 1), (51, 0, 2), (51, 1, 1), (50, 1, 0), (500, 0, 3), (500, 3, 0)])
def test_as_many_runs_are_asked_for_as_what_waits_is_worth(clinic: Clinic, waiting: int, active: int, wanted: int):
    for _ in range(active):
        clinic.instance.create_run_for_job(diagnosis_job, status=dg.DagsterRunStatus.STARTED)

    with dg.build_sensor_context(instance=clinic.instance) as context:
        answer = request_run_when(context, diagnosis_job, lambda: {"eye_dx_screenings": waiting}, at_most=3)

    assert (len(answer) if isinstance(answer, list) else 0) == wanted


def test_a_sensor_waits_while_a_run_is_active(clinic: Clinic):
    clinic.send(a_nested_body(), "m-1")
    clinic.instance.create_run_for_job(diagnosis_job, status=dg.DagsterRunStatus.STARTED)

    answer = clinic.tick(screening_sensor)

    assert isinstance(answer, dg.SkipReason)
    assert "is active" in str(answer.skip_message)


def test_a_dead_broker_is_a_skip_that_says_so(clinic: Clinic):
    class DeadQueue(MemoryQueue):
        def depth(self, queue: str) -> int:
            raise ServiceUnavailable("RabbitMQ does not answer")

    clinic.queue = DeadQueue(names=NAMES)

    answer = clinic.tick(screening_sensor)

    assert isinstance(answer, dg.SkipReason)
    assert "RabbitMQ does not answer" in str(answer.skip_message)


def test_from_message_to_delivered_report(clinic: Clinic, tmp_path: Path):
    clinic.trust_a_model(tmp_path / "checkpoint")
    clinic.send(a_nested_body(photos=("OD.jpg", "OS.jpg")), "m-1")
    clinic.send(a_nested_body("P2", photos=("OD.jpg", "missing_OS.jpg")), "m-2")
    clinic.send(b"not json", "m-3")

    assert clinic.run(diagnosis_job).success

    results = [json.loads(one.message.body) for one in clinic.queue.receive(NAMES.ai_results, limit=10)]
    assert len(results) == 2
    assert clinic.queue.depth(NAMES.dead) == 1
    case_id = results[0]["case_id"]
    diagnosis = clinic.records.find_diagnosis(case_id)
    assert diagnosis is not None
    assert (diagnosis.model_version, diagnosis.outcome) == ("1", Outcome.ASSESSED)

    review = {"case_id": case_id, "final_conclusion": "高度近视", "doctor_name": "唐医生", "recommendation": "3个月后复查"}
    clinic.queue.publish(NAMES.reviews, Message(body=json.dumps(review).encode(), message_id="r-1"))
    assert isinstance(clinic.tick(review_sensor), dg.RunRequest)
    assert clinic.run(report_job).success

    (delivered,) = clinic.queue.receive(NAMES.reports, limit=10)
    report = json.loads(delivered.message.body)["body"]["report"]
    assert (report["conclusion"], report["doctor_name"], report["recommendation"]) == ("高度近视", "唐医生", "3个月后复查")
    page = (clinic.settings.report_folder / f"{case_id}.html").read_text(encoding="utf-8")
    assert "测试甲" in page
    assert "高度近视" in page
    assert clinic.records.backlog().unsent == 0
    diagnosis_run, report_run = (runs[0].run_id for runs in (clinic.runs_of(diagnosis_job), clinic.runs_of(report_job)))
    assert clinic.records.get_case_record(case_id).runs == Runs(took_in=diagnosis_run, read=diagnosis_run, wrote=report_run)
    for body in (delivered.message.body, json.dumps(results).encode(), page.encode()):
        assert not any(run.encode() in body for run in (diagnosis_run, report_run))
    for sensor in (screening_sensor, review_sensor, outbox_sensor):
        assert isinstance(clinic.tick(sensor), dg.SkipReason)


def test_a_run_that_stays_ready_reads_what_comes_meanwhile(clinic: Clinic, tmp_path: Path):
    clinic.trust_a_model(tmp_path / "checkpoint")
    clinic.settings = Settings(state_dir=tmp_path, linger_seconds=2)
    clinic.send(a_nested_body("P1", photos=("OD.jpg",)), "m-1")
    later = threading.Timer(1, lambda: clinic.send(a_nested_body("P2", photos=("OD.jpg",)), "m-2"))
    later.start()

    result = clinic.run(diagnosis_job)

    later.join()
    assert result.success
    assert clinic.queue.depth(NAMES.ai_results) == 2
    (ready,) = [event for event in result.all_node_events if event.step_key == "stay_ready" and event.event_type_value == "STEP_OUTPUT"]
    assert ready.event_specific_data.metadata["passes"].value == 1  # pyright: ignore[reportOptionalMemberAccess, reportAttributeAccessIssue]


def test_a_run_that_stays_ready_gives_way_to_one_that_waits(clinic: Clinic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("eye_dx_core.standby._LOOK_ASIDE_SECONDS", 0.1)
    monkeypatch.setattr("eye_dx_dagster.defs.diagnosis.jobs._QUEUED_BY_RIGHT", timedelta())
    clinic.trust_a_model(tmp_path / "checkpoint")
    clinic.settings = Settings(state_dir=tmp_path, linger_seconds=3600)
    here = RemoteRepositoryOrigin(GrpcServerCodeLocationOrigin(host="localhost", port=1, location_name="here"), "here")
    clinic.instance.create_run_for_job(
        report_job, status=dg.DagsterRunStatus.QUEUED, remote_job_origin=RemoteJobOrigin(here, report_job.name)
    )

    assert clinic.run(diagnosis_job).success


def test_without_a_champion_nothing_is_read_and_nothing_is_lost(clinic: Clinic):
    clinic.send(a_nested_body(), "m-1")

    result = clinic.run(diagnosis_job, raises=False)

    assert not result.success
    (failure,) = [event for event in result.all_events if event.event_type_value == "STEP_FAILURE" and event.step_key == "diagnose"]
    assert "no champion" in str(failure.step_failure_data.user_failure_data.description)  # pyright: ignore[reportOptionalMemberAccess]
    assert clinic.records.backlog().undiagnosed == 1


def test_an_operator_sees_how_many_fields_nobody_knows(clinic: Clinic):
    clinic.send(json.dumps(json.loads(a_nested_body()) | {"shoe_size": 43}).encode(), "m-1")

    result = clinic.run(diagnosis_job, raises=False)

    (drained,) = [one for one in result.all_events if one.event_type_value == "STEP_OUTPUT" and one.step_key == "drain_screenings"]
    assert drained.step_output_data.metadata["unknown_fields"].value == 1


def test_no_patient_is_named_in_dagsters_events(clinic: Clinic, tmp_path: Path):
    clinic.trust_a_model(tmp_path / "checkpoint")
    clinic.send(a_nested_body(photos=("OD.jpg", "Name_of_patient_OS.jpg")), "m-1")

    result = clinic.run(diagnosis_job)

    said = " ".join(str(entry) for entry in clinic.instance.all_logs(result.run_id))
    for secret in ("测试甲", "13800138000", "Name_of_patient", "P2025001"):
        assert secret not in said


def test_what_the_broker_refused_goes_out_with_the_next_delivery_run(clinic: Clinic, tmp_path: Path):
    class Refusing(MemoryQueue):
        is_down = True

        def publish(self, queue: str, message: Message) -> None:
            if self.is_down and queue == NAMES.ai_results:
                raise ServiceUnavailable("RabbitMQ does not answer")
            super().publish(queue, message)

    clinic.queue = Refusing(names=NAMES)
    clinic.trust_a_model(tmp_path / "checkpoint")
    clinic.send(a_nested_body(photos=("OD.jpg",)), "m-1")
    # Step by step instead of as a run: the run's retry policy would wait between its tries.
    drain_screenings(clinic.queue, clinic.records, names=NAMES, limit=10, now=utc_now)
    predictor = wiring.load_predictor(clinic.registry, wiring.get_champion(clinic.registry), clinic.settings)
    casework.diagnose_waiting(
        clinic.records,
        predictor,
        wiring.photo_intake(clinic.settings),
        outlet=casework.DiagnosisOutlet(NAMES),
        limit=10,
        micro_batch=2,
        lease_seconds=60,
        now=utc_now,
    )
    with pytest.raises(ServiceUnavailable):
        deliver_outbox(clinic.queue, clinic.records, now=utc_now)
    assert isinstance(clinic.tick(outbox_sensor), dg.RunRequest)

    clinic.queue.is_down = False
    assert clinic.run(delivery_job).success
    assert clinic.queue.depth(NAMES.ai_results) == 1
