"""The monitor as Prometheus and probes meet it: a real process over a real queue, real records, MLflow and a Dagster instance."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteInstigatorOrigin, RemoteRepositoryOrigin
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, ScheduleInstigatorData, TickData, TickStatus
from dagster._daemon.types import DaemonHeartbeat
from dagster_shared.error import SerializableErrorInfo
from prometheus_client.parser import text_string_to_metric_families

from eye_dx_cli.serving import monitor_command, prepare_state
from eye_dx_core import wiring
from eye_dx_core.queue.announcing import announce_diagnosis
from eye_dx_core.queue.draining import drain_screenings
from eye_dx_core.queue.port import Message
from eye_dx_core.queue.topology import QueueNames
from eye_dx_core.records.migrating import HEAD
from eye_dx_core.registry.promotion import promote
from eye_dx_core.settings import Settings, child_environment
from eye_dx_dagster.definitions import defs
from tests.builders import a_case, a_diagnosis
from tests.checkpoints import a_checkpoint
from tests.faults.own_servers import free_port
from tests.services import wait_for
from tests.traces import NAME, PERSON, PHONE, traces_in

pytestmark = pytest.mark.filterwarnings(
    "ignore::dagster.BetaWarning", "ignore::dagster.PreviewWarning", "ignore::DeprecationWarning", "ignore::FutureWarning",
    "ignore::UserWarning", "ignore::ResourceWarning",
)  # fmt: skip
PROJECT, NAMES = Path(__file__).parents[2], QueueNames()
DEPLOY = PROJECT / "deploy" / "monitoring"
GOOD = {"balanced_accuracy": 0.8, "worst_recall": 0.5, "chance": 0.125}
SECRET = "s3cret-of-nobody"
STALE, LATE = timedelta(hours=3), timedelta(days=30)


class Monitor:
    """A running monitor and what it answers."""

    def __init__(self, port: int, process: subprocess.Popen[bytes]) -> None:
        self._address, self.process = f"http://127.0.0.1:{port}", process

    def get(self, path: str, method: str = "GET") -> tuple[int, str]:
        try:
            with urllib.request.urlopen(urllib.request.Request(self._address + path, method=method), timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def values(self) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
        """Every sample of a scrape, by name and labels; read by the library's own parser."""
        found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
        for family in text_string_to_metric_families(self.get("/metrics")[1]):
            for sample in family.samples:
                found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
        return found

    def one(self, metric: str, **labels: str) -> float:
        return self.values()[metric][tuple(sorted(labels.items()))]


@contextmanager
def a_monitor(settings: Settings, folder: Path, **environment: str) -> Iterator[Monitor]:
    port = free_port()
    told = {"EYE_DX_MONITOR_PORT": str(port), "PYTHONPATH": str(PROJECT)} | environment
    with (folder / "monitor.log").open("wb") as log:
        process = subprocess.Popen(monitor_command(), env=child_environment(settings) | told, cwd=folder, stdout=log, stderr=log)
    monitor = Monitor(port, process)
    try:
        assert wait_for(lambda: answers(monitor), 60), (folder / "monitor.log").read_text()
        yield monitor
    finally:
        process.terminate()
        process.wait(20)


def answers(monitor: Monitor) -> bool:
    try:
        return monitor.get("/healthz")[0] == 200
    except OSError:
        return False


def add_ticks(instance: dg.DagsterInstance, kind: InstigatorType, name: str, *statuses: TickStatus) -> None:
    origin = RemoteInstigatorOrigin(RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("here"), "ours"), name)
    schedule = ScheduleInstigatorData("0 3 * * *") if kind is InstigatorType.SCHEDULE else None
    state = InstigatorState(origin, kind, InstigatorStatus.RUNNING, schedule)
    instance.add_instigator_state(state)
    for second, status in enumerate(statuses):
        instance.create_tick(
            TickData(
                instigator_origin_id=state.instigator_origin_id,
                instigator_name=name,
                instigator_type=kind,
                status=status,
                error=SerializableErrorInfo(f"as told of {NAME}", [], None) if status is TickStatus.FAILURE else None,
                timestamp=1000.0 + second,
                selector_id=state.selector_id,
            )
        )


def let_hearts_beat(instance: dg.DagsterInstance, *, ago: float = 0) -> None:
    for kind in instance.get_required_daemon_types():
        instance.add_daemon_heartbeat(DaemonHeartbeat(time.time() - ago, kind, "id", []))


def fill_queue_and_records(settings: Settings) -> None:
    """A person waits for a doctor far too long, the result is not sent, one screening waits, and one message is set aside."""
    now = datetime.now(UTC)
    with closing(wiring.open_queue(settings)) as queue, closing(wiring.open_records(settings)) as records:
        queue.publish(NAMES.screenings, Message(body=json.dumps(PERSON).encode()[:-1], message_id=f"of-{NAME}"))
        drain_screenings(queue, records, names=NAMES, limit=10, now=lambda: now)
        queue.publish(NAMES.screenings, Message(body=b"{}", message_id=f"of-{NAME}-{PHONE}"))
        case, diagnosis = a_case(photos=(f"{NAME}_OD.jpg",)).model_copy(update={"received_at": now - LATE, "producer": NAME}), a_diagnosis()
        records.add_case(case, b"{}")
        records.add_diagnosis(diagnosis, [announce_diagnosis(case, diagnosis, names=NAMES, now=now - STALE)])


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Monitor, Settings, dg.DagsterInstance]]:
    folder = tmp_path_factory.mktemp("watched")
    settings = Settings(state_dir=folder)
    prepare_state(settings)
    fill_queue_and_records(settings)
    registry = wiring.open_registry(settings)
    registry.add_candidate(a_checkpoint(folder / "checkpoint"), metrics=GOOD, tags={})
    promote(registry, None, reason="test", by="test")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in child_environment(settings).items():
            patch.setenv(name, value)
        with dg.DagsterInstance.get() as instance:
            no_previous = {"ops": {"roll_back_champion": {"config": {"reason": "test", "by": "test"}}}}
            defs.resolve_job_def("rollback_job").execute_in_process(instance=instance, run_config=no_previous, raise_on_error=False)
            defs.resolve_job_def("retention_job").execute_in_process(instance=instance)
            add_ticks(instance, InstigatorType.SENSOR, "screening_sensor", *[TickStatus.FAILURE] * 3)
            add_ticks(instance, InstigatorType.SENSOR, "outbox_sensor", TickStatus.FAILURE, TickStatus.SKIPPED)
            add_ticks(instance, InstigatorType.SCHEDULE, "retention_schedule", TickStatus.FAILURE)
            add_ticks(instance, InstigatorType.SENSOR, f"sensor_of_{NAME}", TickStatus.SKIPPED)
            let_hearts_beat(instance)
            with a_monitor(settings, folder) as monitor:
                # On a busy machine MLflow takes longer to load than a scrape waits.
                assert wait_for(lambda: set(monitor.values()["eye_dx_part_up"].values()) == {1.0}, 60), monitor.get("/metrics")[1]
                yield monitor, settings, instance


def test_a_scrape_tells_what_waits_and_since_when(watched: tuple[Monitor, Settings, dg.DagsterInstance]):
    seen = watched[0].values()

    def one(metric: str, **labels: str) -> float:
        return seen[f"eye_dx_{metric}"][tuple(sorted(labels.items()))]

    assert set(seen["eye_dx_part_up"].values()) == {1.0}
    assert one("queue_messages", queue="eye_dx_screenings", role="screenings") == 1
    assert one("dead_letters") == 1
    assert one("cases_waiting", step="review") == 1
    assert one("cases_oldest_waiting_seconds", step="review") == pytest.approx(LATE.total_seconds(), abs=300)
    assert one("cases_oldest_waiting_seconds", step="diagnosis") == 0
    assert (one("cases_overdue"), one("cases_overdue_urgent")) == (1, 1)
    assert one("outbox_messages") == 1
    assert one("outbox_oldest_seconds") == pytest.approx(STALE.total_seconds(), abs=300)
    assert time.time() - one("last_taken_timestamp_seconds") < 300
    assert one("state_disk_size_bytes") > one("state_disk_free_bytes") > 0
    assert one("schema_info", revision=HEAD) == 1
    assert one("alarm_seconds") == 900


def test_a_scrape_tells_who_reads(watched: tuple[Monitor, Settings, dg.DagsterInstance]):
    monitor, settings, _ = watched
    champion = wiring.get_champion(wiring.open_registry(settings))

    assert monitor.one("eye_dx_champion_present") == 1
    assert monitor.one("eye_dx_champion_info", version=champion.version, sha256=champion.checkpoint_sha256) == 1


def test_a_scrape_tells_of_runs_ticks_and_the_daemon_by_names_of_ours(watched: tuple[Monitor, Settings, dg.DagsterInstance]):
    monitor, _, instance = watched
    ended = {run.job_name: run.status.value for run in instance.get_runs()}
    assert ended == {"rollback_job": "FAILURE", "retention_job": "SUCCESS"}

    assert monitor.one("eye_dx_runs_ended_last_day", job_name="retention_job", state="SUCCESS") == 1
    assert monitor.one("eye_dx_runs_ended_last_day", job_name="rollback_job", state="FAILURE") == 1
    assert (
        monitor.one("eye_dx_job_failing", job_name="rollback_job"),
        monitor.one("eye_dx_job_failing", job_name="retention_job"),
    ) == (1, 0)
    assert monitor.one("eye_dx_runs", job_name="diagnosis_job", state="STARTED") == 0
    failing = {dict(labels)["name"]: value for labels, value in monitor.values()["eye_dx_tick_failing"].items()}
    assert failing == {"screening_sensor": 1, "outbox_sensor": 0, "retention_schedule": 1}
    assert monitor.one("eye_dx_tick_timestamp_seconds", kind="sensor", name="screening_sensor") == 1002.0
    assert set(monitor.values()["eye_dx_daemon_up"].values()) == {1.0}


def test_a_new_run_and_a_read_case_are_in_the_next_scrape(watched: tuple[Monitor, Settings, dg.DagsterInstance]):
    monitor, settings, instance = watched
    before = monitor.values()
    instance.create_run_for_job(defs.resolve_job_def("report_job"), status=dg.DagsterRunStatus.STARTED)
    with closing(wiring.open_records(settings)) as records:
        records.add_case(a_case("case-2"), b"{}")
        records.add_diagnosis(a_diagnosis("case-2"), [])

    time.sleep(2.1)  # a look is kept for two seconds
    after = monitor.values()

    assert after["eye_dx_runs"][("job_name", "report_job"), ("state", "STARTED")] == 1
    assert after["eye_dx_cases_diagnosed_total"][()] == before["eye_dx_cases_diagnosed_total"][()] + 1
    assert after["eye_dx_cases_stored"][()] == before["eye_dx_cases_stored"][()] + 1


def test_scrapes_take_nothing_from_a_queue(watched: tuple[Monitor, Settings, dg.DagsterInstance]):
    monitor, settings, _ = watched
    for _ in range(3):
        monitor.get("/metrics")
        time.sleep(2.1)

    with closing(wiring.open_queue(settings)) as queue:
        (delivery,) = queue.receive(NAMES.screenings, limit=9)
        assert delivery.delivery_count == 1
        queue.release(delivery)


def test_no_answer_tells_of_a_person_or_of_a_case(watched: tuple[Monitor, Settings, dg.DagsterInstance]):
    monitor = watched[0]
    said = [monitor.get(path)[1] for path in ("/metrics", "/healthz", "/readyz")]

    assert set(traces_in([text.encode() for text in said], (NAME, PHONE, "P2025001", "case-1"))) == set()
    labels = {name for labelled in monitor.values().values() for one in labelled for name, _ in one}
    assert labels <= {
        "queue", "role", "step", "urgency", "stage", "outcome", "job_name", "state", "kind", "name", "daemon", "part", "revision",
        "version", "sha256",
    }  # fmt: skip


def test_names_follow_prometheus_conventions(watched: tuple[Monitor, Settings, dg.DagsterInstance]):
    tool = promtool()

    checked = subprocess.run([tool, "check", "metrics"], input=watched[0].get("/metrics")[1], capture_output=True, text=True, check=False)

    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_ready_says_what_is_not_well_and_lives_all_the_same(watched: tuple[Monitor, Settings, dg.DagsterInstance]):
    monitor, _, instance = watched
    assert monitor.get("/readyz") == (200, '{"ready": true, "problems": {}}')

    let_hearts_beat(instance, ago=600)
    time.sleep(2.1)
    status, body = monitor.get("/readyz")

    assert (status, list(json.loads(body)["problems"])) == (503, ["dagster"])
    assert "no sign of life (sensor" in json.loads(body)["problems"]["dagster"].replace("backfill, ", "")
    assert monitor.get("/healthz") == (200, '{"status": "alive"}')
    let_hearts_beat(instance)


@pytest.mark.parametrize(("path", "method", "status"), [("/", "GET", 404), ("/metrics/../etc", "GET", 404), ("/metrics", "POST", 405)])
def test_nothing_else_is_answered(watched: tuple[Monitor, Settings, dg.DagsterInstance], path: str, method: str, status: int):
    assert watched[0].get(path, method)[0] == status


def test_a_broker_and_a_database_that_are_gone_hide_nothing_else_and_no_password_is_told(tmp_path: Path):
    settings, port = Settings(state_dir=tmp_path), free_port()
    prepare_state(settings)
    gone = {
        "EYE_DX_QUEUE_URL": f"amqp://clinic:{SECRET}@127.0.0.1:{port}/%2F",
        "EYE_DX_RECORDS_URL": f"postgresql+psycopg://clinic:{SECRET}@127.0.0.1:{port}/eye",
    }
    with a_monitor(settings, tmp_path, **gone) as monitor:
        status, body = monitor.get("/readyz")
        seen = monitor.values()
        metrics = monitor.get("/metrics")[1]

    problems = json.loads(body)["problems"]
    assert (status, sorted(problems)) == (503, ["dagster", "queue", "records", "registry"])
    assert "no champion" in problems["registry"]
    up = {dict(labels)["part"]: value for labels, value in seen["eye_dx_part_up"].items()}
    assert up == {"queue": 0, "records": 0, "day": 0, "registry": 1, "dagster": 1, "history": 1, "disk": 1}
    # Missing, and not nothing: a zero would say that all is well.
    assert not {"eye_dx_queue_messages", "eye_dx_cases_waiting", "eye_dx_dead_letters"} & set(seen)
    assert SECRET not in body + metrics + (tmp_path / "monitor.log").read_text()


def test_a_monitor_is_asked_to_end_and_ends_well(tmp_path: Path):
    settings = Settings(state_dir=tmp_path)
    prepare_state(settings)
    with a_monitor(settings, tmp_path) as monitor:
        monitor.process.send_signal(signal.SIGTERM)
        assert monitor.process.wait(20) == 0


def names_in(expression: str) -> set[str]:
    return set(re.findall(r"\beye_dx_\w+", expression))


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load((DEPLOY / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    return group["rules"]


def told_by(monitor: Monitor) -> set[str]:
    """Names that Prometheus would store, also of what has no value now."""
    families = text_string_to_metric_families(monitor.get("/metrics")[1])
    suffix = {"counter": "_total", "info": "_info"}
    return {sample.name for one in families for sample in one.samples} | {
        re.sub(r"(_total|_info)?$", suffix.get(one.type, ""), one.name)
        for one in text_string_to_metric_families(monitor.get("/metrics")[1])
        if one.name.startswith("eye_dx_")
    }


def test_every_metric_in_alerts_and_dashboard_is_in_a_scrape(watched: tuple[Monitor, Settings, dg.DagsterInstance]):
    dashboard = json.loads((DEPLOY / "grafana-dashboard.json").read_text(encoding="utf-8"))
    shown = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    asked = {name for text in (*shown, *(rule["expr"] for rule in rules())) for name in names_in(text)}

    assert [panel["title"] for panel in dashboard["panels"] if panel["type"] == "row"] == [
        "Patients' flow", "Reading", "Language model", "Platform",
    ]  # fmt: skip
    assert len(asked) > 25
    assert asked - told_by(watched[0]) == set()


def test_every_alert_says_what_happened_and_leads_to_what_to_do():
    text = (PROJECT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    anchors = {re.sub(r"[^\w-]", "", title.lower().replace(" ", "-")) for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}

    for rule in rules():
        kebab = re.sub(r"(?<!^)(?=[A-Z])", "-", rule["alert"]).lower()
        assert rule["annotations"]["runbook_url"] == f"docs/monitoring.md#{kebab}"
        assert kebab in anchors
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["description"]


def test_the_page_lists_every_metric_with_its_meaning(watched: tuple[Monitor, Settings, dg.DagsterInstance]):
    lines = watched[0].get("/metrics")[1].splitlines()
    helps = dict(line.removeprefix("# HELP ").split(" ", 1) for line in lines if line.startswith("# HELP eye_dx_"))
    kinds = dict(line.removeprefix("# TYPE ").split(" ", 1) for line in lines if line.startswith("# TYPE eye_dx_"))
    text = (PROJECT / "docs" / "monitoring.md").read_text(encoding="utf-8")

    rows = re.findall(r"^\| `(eye_dx_\w+)` \| (\w+) \| (.*) \|$", text, re.MULTILINE)

    assert {name: (kind, meaning) for name, kind, meaning in rows} == {name: (kinds[name], helps[name]) for name in helps}


def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not installed (Debian package prometheus)")
    return found


def test_promtool_takes_configuration_and_rules_and_every_alert_fires_when_it_should():
    tool = promtool()
    cases = Path(__file__).parent / "alert_cases.yml"

    for command in (("check", "config", DEPLOY / "prometheus.yml"), ("test", "rules", cases)):
        done = subprocess.run([tool, *map(str, command)], capture_output=True, text=True, check=False, env=os.environ)
        assert done.returncode == 0, done.stdout + done.stderr
    tested = {
        one["alertname"] for test in yaml.safe_load(cases.read_text())["tests"] for one in test["alert_rule_test"] if one.get("exp_alerts")
    }
    assert tested == {rule["alert"] for rule in rules()}


def test_the_command_is_the_one_that_up_starts(tmp_path: Path):
    from eye_dx_cli.serving import commands

    assert commands(Settings(state_dir=tmp_path))["monitor"] == monitor_command()
    assert monitor_command()[0] == sys.executable
