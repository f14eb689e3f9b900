"""Shadow mode in the diagnosis job: the challenger reads last, sends nothing, and can disturb nobody."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from eye_dx_core import wiring
from eye_dx_core.casework import DiagnosisOutlet, diagnose_waiting
from eye_dx_core.inference.predictor import Predictor
from eye_dx_core.records.audit import AuditEvent
from eye_dx_core.registry.port import CHALLENGER
from eye_dx_core.registry.promotion import challenge, promote
from eye_dx_core.schema.shadow import ShadowReading
from eye_dx_core.settings import Settings
from eye_dx_core.shadowing import ShadowPass, shadow_waiting
from eye_dx_dagster.defs.diagnosis import jobs
from eye_dx_dagster.defs.diagnosis.jobs import diagnosis_job, utc_now
from eye_dx_dagster.defs.diagnosis.sensors import screening_sensor
from eye_dx_dagster.defs.reports.shadow import shadow_report, shadow_report_schedule
from tests.builders import NOON, a_case, a_nested_body
from tests.checkpoints import a_checkpoint
from tests.dagster.test_case_flow import GOOD, NAMES, Clinic

pytestmark = pytest.mark.filterwarnings("ignore::dagster.BetaWarning", "ignore::DeprecationWarning")


class ShadowClinic(Clinic):
    """A clinic with a champion, and a second version that may challenge it."""

    def __init__(self, folder: Path, instance: dg.DagsterInstance) -> None:
        super().__init__(folder, instance)
        self.settings = Settings(state_dir=folder, linger_seconds=0, shadow=True)
        self.trust_a_model(folder / "champion")
        self.registry.add_candidate(a_checkpoint(folder / "other", seed=4), metrics=GOOD, tags={})

    def challenge(self) -> None:
        challenge(self.registry, "2", reason="test", by="test")

    def shadows(self) -> list[ShadowReading]:
        sha256 = self.registry.get_version("2").checkpoint_sha256
        return [reading for _, reading in self.records.shadow_readings(checkpoint_sha256=sha256)]

    def sent(self) -> list[bytes]:
        return [one.message.body for one in self.queue.receive(NAMES.ai_results, limit=99)]

    def warnings(self, run_id: str) -> list[str]:
        return [one.user_message for one in self.instance.all_logs(run_id) if one.dagster_event is None and one.level == 30]


@pytest.fixture
def clinic(tmp_path: Path) -> Iterator[ShadowClinic]:
    with dg.instance_for_test() as instance:
        yield ShadowClinic(tmp_path, instance)


def shadow_step(result: dg.ExecuteInProcessResult) -> dict[str, object]:
    (done,) = [one for one in result.all_events if one.event_type_value == "STEP_OUTPUT" and one.step_key == "read_as_shadow"]
    return {name: value.value for name, value in done.step_output_data.metadata.items()}


def test_the_challenger_reads_what_the_champion_has_read_and_its_word_goes_nowhere(clinic: ShadowClinic):
    clinic.challenge()
    clinic.send(a_nested_body(photos=("OD.jpg", "OS.jpg")), "m-1")
    assert isinstance(clinic.tick(screening_sensor), dg.RunRequest)

    result = clinic.run(diagnosis_job)

    (reading,) = clinic.shadows()
    assert reading.diagnosis is not None
    assert (reading.model_version, reading.diagnosis.model_version, reading.failure) == ("2", "2", None)
    champion = clinic.records.find_diagnosis(reading.case_id)
    assert champion is not None
    assert champion.model_version == "1"
    assert [one.routing is not None for one in (champion, reading.diagnosis)] == [True, True]
    assert shadow_step(result) == {"challenger": "2", "champion": "1", "read": 1, "failed": 0, "gave_way": False}
    assert clinic.records.backlog().unsent == 0
    assert isinstance(clinic.tick(screening_sensor), dg.SkipReason)


def test_messages_are_the_same_byte_for_byte_with_and_without_shadow_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(jobs, "utc_now", lambda: NOON)
    bodies: list[list[bytes]] = []
    shadows: list[int] = []
    for is_on in (False, True):
        folder = tmp_path / f"shadow-{is_on}"
        folder.mkdir()
        with dg.instance_for_test() as instance:
            clinic = ShadowClinic(folder, instance)
            clinic.challenge()
            clinic.settings = clinic.settings.model_copy(update={"shadow": is_on})
            clinic.send(a_nested_body(photos=("OD.jpg", "OS.jpg")), "m-1")
            clinic.send(a_nested_body("P2", photos=("OD.jpg", "missing_OS.jpg")), "m-2")
            assert clinic.run(diagnosis_job).success
            bodies.append(clinic.sent())
            shadows.append(len(clinic.shadows()))

    assert shadows == [0, 2]
    assert len(bodies[0]) == 2
    assert bodies[0] == bodies[1]


def test_a_challenger_that_trips_over_everything_disturbs_nobody_and_is_counted(clinic: ShadowClinic, monkeypatch: pytest.MonkeyPatch):
    clinic.challenge()
    clinic.send(a_nested_body(photos=("OD.jpg",)), "m-1")
    read = Predictor.read_squares

    def trip(self: Predictor, squares: object) -> object:
        if self.model_version == "2":
            raise RuntimeError("CUDA error at /home/测试甲/OD.jpg")
        return read(self, squares)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(Predictor, "read_squares", trip)

    result = clinic.run(diagnosis_job)

    assert result.success
    assert len(clinic.sent()) == 1
    assert [one.failure for one in clinic.shadows()] == ["RuntimeError"]
    assert shadow_step(result)["failed"] == 1
    assert "测试甲" not in " ".join(str(entry) for entry in clinic.instance.all_logs(result.run_id))
    again = clinic.run(diagnosis_job)  # it is not given the case again
    assert (shadow_step(again)["read"], shadow_step(again)["failed"]) == (0, 0)


def test_a_challenger_that_cannot_be_loaded_is_a_warning(clinic: ShadowClinic, tmp_path: Path):
    clinic.challenge()
    (tmp_path / "registry" / "2" / "model.safetensors").write_bytes(b"damaged")
    clinic.send(a_nested_body(photos=("OD.jpg",)), "m-1")

    result = clinic.run(diagnosis_job)

    assert result.success
    assert len(clinic.sent()) == 1
    (warning,) = clinic.warnings(result.run_id)
    assert "the challenger did not read on" in warning
    assert "hash" in warning


def test_without_a_challenger_or_once_it_is_champion_nobody_reads_twice(clinic: ShadowClinic):
    clinic.send(a_nested_body(photos=("OD.jpg",)), "m-1")
    assert shadow_step(clinic.run(diagnosis_job)) == {"read": 0}

    clinic.challenge()
    promote(clinic.registry, "2", reason="better", by="test")
    assert shadow_step(clinic.run(diagnosis_job)) == {"read": 0}
    assert clinic.registry.find_by_alias(CHALLENGER) == clinic.registry.get_version("2")
    assert clinic.shadows() == []


def read_all(clinic: ShadowClinic, *, cases: int = 5) -> None:
    """So many cases of the champion, received a minute after each other, the last one now."""
    for number in range(cases):
        case = a_case(f"case-{number}", photos=("OD.jpg", "OS.jpg"))
        received_at = utc_now() - timedelta(minutes=cases - number)
        clinic.records.add_case(case.model_copy(update={"received_at": received_at}), b"raw")
    champion = wiring.load_predictor(clinic.registry, wiring.get_champion(clinic.registry), clinic.settings)
    photos, outlet = wiring.photo_intake(clinic.settings), DiagnosisOutlet(NAMES)
    diagnose_waiting(clinic.records, champion, photos, outlet=outlet, limit=99, micro_batch=8, lease_seconds=60, now=utc_now)


def shadow(clinic: ShadowClinic, *, waits: Iterator[bool] | None = None, limit: int = 99) -> ShadowPass:
    versions = [clinic.registry.get_version(one) for one in ("1", "2")]
    return shadow_waiting(
        clinic.records,
        wiring.load_readers(clinic.registry, champion=versions[0], challenger=versions[1], settings=clinic.settings),
        wiring.photo_intake(clinic.settings),
        rules=wiring.routing_rules(clinic.settings),
        limit=limit,
        micro_batch=2,
        now=utc_now,
        must_give_way=lambda: next(waits, True) if waits is not None else False,
    )


def test_the_challenger_gives_way_after_a_micro_batch_when_somebody_waits_and_goes_on_later(clinic: ShadowClinic):
    read_all(clinic)

    assert shadow(clinic, waits=iter([False])) == ShadowPass(read=2, gave_way=True)
    assert [one.case_id for one in clinic.shadows()] == ["case-3", "case-4"]
    assert shadow(clinic, limit=1) == ShadowPass(read=1)
    assert shadow(clinic) == ShadowPass(read=2)
    assert shadow(clinic) == ShadowPass()


def test_a_run_gives_way_to_a_screening_that_came_meanwhile(clinic: ShadowClinic, monkeypatch: pytest.MonkeyPatch):
    clinic.challenge()
    clinic.send(a_nested_body(photos=("OD.jpg",)), "m-1")
    load = wiring.load_readers

    def load_late(*given: object, **named: object) -> object:
        clinic.send(a_nested_body("P2", photos=("OS.jpg",)), "m-2")
        return load(*given, **named)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(wiring, "load_readers", load_late)

    result = clinic.run(diagnosis_job)

    assert (shadow_step(result)["read"], shadow_step(result)["gave_way"]) == (0, True)
    assert isinstance(clinic.tick(screening_sensor), dg.RunRequest)


def test_both_are_timed_on_the_same_photographs_once_the_first_batch_has_warmed_up(clinic: ShadowClinic):
    read_all(clinic, cases=6)
    shadow(clinic)

    by_case = {one.case_id: (one.seconds_per_photo, one.champion_seconds_per_photo) for one in clinic.shadows()}

    assert [by_case[f"case-{n}"] for n in (5, 4)] == [(None, None)] * 2
    for challenger, champion in (by_case["case-3"], by_case["case-2"]):
        assert challenger is not None
        assert champion is not None
    assert [by_case[f"case-{n}"][1] for n in (1, 0)] == [None] * 2


def test_an_erased_patient_leaves_no_shadow_and_what_is_older_than_a_day_is_not_read(clinic: ShadowClinic):
    old = a_case("case-old", photos=("OD.jpg",))
    clinic.records.add_case(old.model_copy(update={"received_at": utc_now() - timedelta(hours=25)}), b"raw")
    read_all(clinic, cases=1)
    assert shadow(clinic) == ShadowPass(read=1)

    clinic.records.erase_patient("P2025001", AuditEvent(at=NOON, actor="a", action="erase", subject="s"))

    assert clinic.shadows() == []
    assert shadow(clinic) == ShadowPass()


def test_no_patient_is_named_in_the_events_of_shadow_mode(clinic: ShadowClinic):
    clinic.challenge()
    body = json.loads(a_nested_body(photos=("OD.jpg", "Name_of_patient_OS.jpg")))
    clinic.send(json.dumps(body, ensure_ascii=False).encode(), "m-1")

    result = clinic.run(diagnosis_job)

    assert len(clinic.shadows()) == 1
    said = " ".join(str(entry) for entry in clinic.instance.all_logs(result.run_id))
    for secret in ("测试甲", "13800138000", "Name_of_patient", "P2025001"):
        assert secret not in said


def test_the_shadow_report_tells_of_the_present_challenger_and_says_why_there_is_nothing_to_tell(clinic: ShadowClinic):
    def report() -> dict[str, dg.MetadataValue]:
        given = {name: clinic.resources[name] for name in ("settings", "records", "registry")}
        result = dg.materialize([shadow_report], resources=given, instance=clinic.instance)
        (made,) = result.asset_materializations_for_node("shadow_report")
        return dict(made.metadata)

    assert "registry challenge" in str(report()["why"].value)
    clinic.challenge()
    assert report()["why"].value == "it has read nothing yet"
    for number in range(3):
        clinic.send(a_nested_body(f"P{number}", photos=("OD.jpg", "OS.jpg")), f"m-{number}")
    assert clinic.run(diagnosis_job).success

    told = report()

    assert (told["cases"].value, told["challenger"].value, told["champion"].value) == (3, "2", "1")
    assert "Shadow report: challenger v2 against champion v1" in str(told["report"].value)
    for kind in ("html", "json"):
        text = Path(str(told[kind].value)).read_text(encoding="utf-8")
        assert not any(secret in text for secret in ("测试甲", "13800138000", "P0", "OD.jpg"))


def test_the_night_writes_the_report_only_where_shadow_mode_is_on(monkeypatch: pytest.MonkeyPatch):
    with dg.build_schedule_context() as context:
        assert isinstance(shadow_report_schedule(context), dg.SkipReason)
        monkeypatch.setenv("EYE_DX_SHADOW", "true")
        assert isinstance(shadow_report_schedule(context), dg.RunRequest)
