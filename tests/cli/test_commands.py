"""The command line: readable help, right exit codes, stable JSON, errors that say what to do."""

import json
import os
import signal
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner

from eye_dx_cli.main import app
from eye_dx_cli.serving import _without_secrets, check_ports, only_daemon, prepare_state
from eye_dx_core import casework, wiring
from eye_dx_core.dataset.phantom_folders import write_phantom_dataset, write_phantom_photo
from eye_dx_core.errors import BadSettings, EyeDxError
from eye_dx_core.model.vit import TRUNKS
from eye_dx_core.queue.announcing import announce_diagnosis
from eye_dx_core.queue.port import Message
from eye_dx_core.records.accounts import UserExists
from eye_dx_core.registry.port import CHAMPION, PHANTOMS, TRAINED_ON
from eye_dx_core.reviewing.passwords import is_right
from eye_dx_core.schema.case import Laterality
from eye_dx_core.settings import Settings, get_settings
from tests.builders import NOON, a_case, a_diagnosis, a_nested_body
from tests.checkpoints import a_checkpoint
from tests.foreign_weights import TINY, a_fine_tuned_file
from tests.services import wait_for

runner = CliRunner()
# MLflow's tables use what SQLAlchemy 2.1 deprecates, and its client leaves connections to the collector.
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning", "ignore::ResourceWarning"
)


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EYE_DX_STATE_DIR", str(tmp_path))
    monkeypatch.delenv("EYE_DX_QUEUE_URL", raising=False)
    monkeypatch.delenv("EYE_DX_RECORDS_URL", raising=False)
    return tmp_path


def call(*arguments: str | Path) -> str:
    result = runner.invoke(app, [str(one) for one in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize(
    "command",
    ["", "phantoms", "dataset report", "train", "diagnose", "queue send", "queue depth", "queue dead", "queue contract", "review", "report",
     "records export", "registry list", "registry promote", "registry rollback", "registry challenge", "registry end-challenge",
     "weights convert", "health", "up", "cluster", "worker", "serve", "backup", "restore",
     "desk", "users add", "users password", "users block"],
)  # fmt: skip
def test_every_command_explains_itself(command: str):
    assert "Usage:" in call(*command.split(), "--help")


def test_users_are_added_blocked_and_listed_and_their_passwords_are_shown_once(state: Path):
    made = call("users", "add", "tang", "--display", "唐医生", "--role", "doctor", "--generate")
    password = made.splitlines()[0].rpartition(" ")[2]
    again = runner.invoke(app, ["users", "add", "tang", "--display", "唐医生", "--role", "doctor", "--generate"])
    assert isinstance(again.exception, UserExists)
    odd = runner.invoke(app, ["users", "add", "唐", "--display", "唐医生", "--role", "doctor", "--generate"])
    assert isinstance(odd.exception, BadSettings)
    short = runner.invoke(app, ["users", "password", "tang"], input="short\nshort\n")
    assert short.exit_code == 1

    call("users", "block", "tang")

    listed = call("users", "list")
    assert "tang" in listed
    assert "blocked" in listed
    assert password not in listed
    with closing(wiring.open_records(get_settings())) as records:
        user = records.find_user("tang")
        assert user is not None
        assert is_right(password, user.password_hash)
        assert [entry.action for entry in records.audit()] == ["add user", "block user"]


def test_photos_are_read_one_by_one_and_the_exit_code_tells(state: Path):
    a_checkpoint(state / "checkpoint")
    write_phantom_photo(state / "a_OD.jpg", "D3", eye=Laterality.RIGHT, seed=1, size=128)
    (state / "b_OS.jpg").write_text("text")

    result = runner.invoke(
        app, ["diagnose", str(state / "b_OS.jpg"), str(state / "a_OD.jpg"), "--checkpoint", str(state / "checkpoint"), "--json"]
    )

    assert result.exit_code == 1
    bad, good = json.loads(result.stdout)
    assert (bad["outcome"], bad["reason"], bad["conclusion_zh"]) == ("not_assessed", "not_an_image", "未能评估")
    assert (good["outcome"], good["eye"]) == ("assessed", "OD")
    assert call("diagnose", state / "a_OD.jpg", "--checkpoint", state / "checkpoint")


def test_a_folder_is_read_whole_and_links_do_not_lead_out_of_it(state: Path):
    a_checkpoint(state / "checkpoint")
    folder = state / "visit" / os.fsdecode(b"caf\xe9")
    folder.mkdir(parents=True)
    write_phantom_photo(folder / "a_OD.jpg", "D3", eye=Laterality.RIGHT, seed=1, size=128)
    write_phantom_photo(state / "outside.jpg", "D3", eye=Laterality.RIGHT, seed=1, size=128)
    (state / "visit" / "link.jpg").symlink_to(state / "outside.jpg")

    result = runner.invoke(app, ["diagnose", str(state / "visit"), "--checkpoint", str(state / "checkpoint"), "--json"])

    link, good = json.loads(result.stdout)
    assert (link["outcome"], link["reason"]) == ("not_assessed", "outside_roots")
    assert (good["outcome"], good["photo"].endswith("caf\\xe9/a_OD.jpg")) == ("assessed", True)


def test_without_a_champion_diagnose_says_how_to_get_one(state: Path):
    with pytest.raises(EyeDxError, match="registry promote"):
        call("diagnose", state / "a.jpg")


def test_messages_are_sent_counted_and_replayed(state: Path):
    (state / "message.json").write_bytes(a_nested_body())
    call("queue", "send", state / "message.json", "--message-id", "m-1")
    assert json.loads(call("queue", "depth", "--json"))["eye_dx_screenings"] == 1

    queue = wiring.open_queue(get_settings())
    queue.reject(queue.receive("eye_dx_screenings", limit=1)[0], reason="bad fields: age")
    queue.close()

    (letter,) = json.loads(call("queue", "dead", "--json"))
    assert (letter["reason"], letter["queue"]) == ("bad fields: age", "eye_dx_screenings")
    assert "测试甲" not in call("queue", "dead")
    assert "replayed 1" in call("queue", "dead", "--replay")
    assert json.loads(call("queue", "depth", "--json")) | {"eye_dx_dead": 0, "eye_dx_screenings": 1} == json.loads(
        call("queue", "depth", "--json")
    )


def test_a_case_is_reviewed_reported_and_exported(state: Path):
    settings = get_settings()
    records = wiring.open_records(settings)
    records.add_case(a_case(), b"{}")
    records.add_diagnosis(a_diagnosis(), [announce_diagnosis(a_case(), a_diagnosis(), names=settings.queue_names, now=NOON)])
    records.close()

    with pytest.raises(EyeDxError, match="doctor's review"):
        call("report", "case-1")
    call("review", "case-1", "--conclusion", "高度近视", "--doctor", "唐医生", "--recommendation", "3个月后复查")
    page = Path(call("report", "case-1").strip())
    assert "高度近视" in page.read_text(encoding="utf-8")
    assert json.loads(call("report", "case-1", "--format", "json"))["conclusion"]["text"] == "高度近视"
    assert "Doctor&#39;s conclusion" in call("report", "case-1", "--format", "html", "--lang", "en")
    assert json.loads(call("report", "case-1", "--format", "fhir"))["resourceType"] == "Bundle"
    call("report", "case-1", "--format", "pdf", "--to", state / "copy.pdf")
    assert (state / "copy.pdf").read_bytes() == (settings.data / casework.report_pdf("case-1")).read_bytes()

    exported = json.loads(call("records", "export"))
    (screening,) = exported["patients"]["P2025001"]["screening_records"]
    assert set(screening) == {
        "screening_time", "eye_image_path", "vision_data", "notes", "ai_diagnosis", "doctor_review", "report_generated",
    }  # fmt: skip
    assert screening["report_generated"] is True
    assert screening["doctor_review"] == {"final_conclusion": "高度近视", "doctor_name": "唐医生", "recommendation": "3个月后复查"}
    assert exported["ai_diagnosis_results"]["P2025001_0"]["conclusion"] == "年龄相关性黄斑变性"
    assert datetime.strptime(exported["save_time"], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)


def test_a_patient_is_erased_and_the_audit_log_tells(state: Path):
    records = wiring.open_records(get_settings())
    records.add_case(a_case(), b'{"as": "it came"}')
    records.close()

    call("records", "message", "case-1", "--output", state / "message.json")
    assert (state / "message.json").read_bytes() == b'{"as": "it came"}'
    assert "erased 1 cases" in call("records", "erase", "P2025001", "--reason", "asked for it")

    with pytest.raises(EyeDxError, match="no case of this patient"):
        call("records", "erase", "P2025001", "--reason", "again")
    entries = json.loads(call("records", "audit", "--json"))
    assert [entry["action"] for entry in entries] == ["read_message", "erase"]
    assert "P2025001" not in json.dumps(entries)
    assert "2 entries, unbroken" in call("records", "audit", "--verify")


def test_a_key_is_changed_and_everything_opens_with_the_new_one(state: Path):
    records = wiring.open_records(get_settings())
    records.add_case(a_case(), b"raw")
    records.close()
    key_file = get_settings().vault_key_path
    old = key_file.read_text()

    assert "sealed with the new key" in call("vault", "rotate")

    assert key_file.read_text().split()[1:] == old.split()
    assert "the only one" in call("vault", "forget-old-keys")
    assert len(key_file.read_text().split()) == 1
    assert old.strip() not in key_file.read_text()
    records = wiring.open_records(get_settings())
    assert records.get_case("case-1") == a_case()
    records.close()
    assert len(call("vault", "new-key").strip()) == 44


def test_weights_are_converted_with_their_licence(state: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(TRUNKS, TINY.name, TINY)

    said = call("weights", "convert", a_fine_tuned_file(state), "--to", state / "trunks", "--head-norm-repeats", "1")

    assert "trunk tiny from fine_tuned" in said
    assert "CC BY-NC 4.0" in said
    note = json.loads(call("weights", "convert", a_fine_tuned_file(state), "--to", state / "trunks", "--json"))
    assert (state / "trunks" / note["weights_file"]).is_file()
    assert runner.invoke(app, ["weights", "convert", str(state / "none.pth"), "--to", str(state)]).exit_code == 2
    assert runner.invoke(app, ["weights", "convert", str(a_fine_tuned_file(state)), "--head-norm-repeats", "3"]).exit_code == 2


def test_an_unknown_case_is_one_line(state: Path):
    with pytest.raises(EyeDxError, match="there is no case case-9"):
        call("review", "case-9", "--conclusion", "x", "--doctor", "y")


def test_the_dataset_report_counts_and_names_what_was_refused(state: Path):
    write_phantom_dataset(state / "photos", size=96, counts={"N": 4, "A": 2})

    report = json.loads(call("dataset", "report", state / "photos", "--json"))

    assert report["imbalance"]["counts"]["A"] > 0
    assert [one["reason"] for one in report["refused"]] == ["not_an_image"]
    assert "severity" in call("dataset", "report", state / "photos")


def test_training_asks_for_retfound_weights_by_name(state: Path):
    write_phantom_dataset(state / "photos", size=96, counts={"N": 2})
    with pytest.raises(BadSettings, match="RETFound_mae needs its weights"):
        call("train", state / "photos")
    with pytest.raises(BadSettings, match="unknown label set 7"):
        call("train", state / "photos", "--nb-classes", "7")


def test_health_says_what_is_missing(state: Path):
    result = runner.invoke(app, ["health", "--json"])

    assert result.exit_code == 1
    by_part = {one["part"]: one for one in json.loads(result.stdout)}
    assert by_part["queue"]["is_well"]
    assert by_part["records"]["is_well"]
    assert "no champion" in by_part["registry"]["state"]


def test_health_says_at_which_installation_it_looks_and_no_password(state: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("EYE_DX_QUEUE_URL", "amqp://clinic:geheim@127.0.0.1:1/%2F")

    said = runner.invoke(app, ["health", "--json"]).stdout

    first = json.loads(said)[0]
    assert first["state"] == f"{state}, queue amqp://127.0.0.1:1/%2F, records sqlite:///{state}/data/records.db"
    assert "geheim" not in said


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("postgresql+psycopg://eye_dx:12/34@db:5432/eye", "postgresql://db:5432/eye"),
        ("postgresql+psycopg://u:12?3@x@db/eye?sslmode=require", "postgresql://db/eye"),
        ("amqps://u:ab#c:d@mq:5671/%2F", "amqps://mq:5671/%2F"),
        ("amqp://u:p@mq:port/", "amqp://mq:port/"),
        ("sqlite:////srv/data/records.db", "sqlite:////srv/data/records.db"),
    ],
)
def test_an_address_is_shown_without_its_secrets(address: str, shown: str):
    assert _without_secrets(address) == shown


def test_a_state_folder_that_cannot_be_made_is_named_with_the_setting_that_chooses_another(tmp_path: Path):
    (tmp_path / "file").touch()

    with pytest.raises(BadSettings, match=r"file/eye-dx cannot be made .* EYE_DX_STATE_DIR"):
        prepare_state(Settings(state_dir=tmp_path / "file/eye-dx"))


def test_health_tells_of_a_champion_that_must_not_read_patients(state: Path):
    registry = wiring.open_registry(get_settings())
    for tags, is_well in (({}, True), ({TRAINED_ON: PHANTOMS}, False)):
        version = registry.add_candidate(a_checkpoint(state / "checkpoint"), metrics={}, tags=tags)
        registry.set_alias(CHAMPION, version.version)

        found = json.loads(runner.invoke(app, ["health", "--json"]).stdout)[-1]

        assert (found["part"], found["is_well"], "phantoms" in found["state"]) == ("registry", is_well, not is_well)


def test_health_tells_of_a_store_that_is_away_and_of_reports_that_nobody_would_erase(state: Path, monkeypatch: pytest.MonkeyPatch):
    def files() -> dict[str, object]:
        found = json.loads(runner.invoke(app, ["health", "--json"]).stdout)
        return next(one for one in found if one["part"] == "files")

    assert files() == {"part": "files", "is_well": True, "state": str(state / "data")}

    for name, value in {
        "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "MLFLOW_S3_ENDPOINT_URL": "", "EYE_DX_S3_ENDPOINT": "http://127.0.0.1:1",
        "EYE_DX_FILES_URL": "s3://clinic/files",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    assert "object store of EYE_DX_FILES_URL" in str(files()["state"])

    (state / "data" / "reports").mkdir()
    (state / "data" / "reports" / "case-1.html").write_text("x")
    assert "move them to s3://clinic/files/reports" in str(files()["state"])


def test_health_raises_the_same_alarms_as_dagster(state: Path):
    settings = get_settings()
    queue, records = wiring.open_queue(settings), wiring.open_records(settings)
    records.add_case(a_case(), b"{}")
    queue.publish("eye_dx_screenings", Message(body=b"{", message_id="m-1"))
    queue.reject(queue.receive("eye_dx_screenings", limit=1)[0], reason="not JSON")
    queue.close()
    records.close()

    result = runner.invoke(app, ["health", "--json"])

    assert result.exit_code == 1
    by_part = {one["part"]: one for one in json.loads(result.stdout)}
    assert not by_part["no_dead_letters"]["is_well"]
    assert "1 dead letters, the oldest since 0 min" in by_part["no_dead_letters"]["state"]
    assert not by_part["every_case_is_read_in_time"]["is_well"]
    assert "the limit is 15 min" in by_part["every_case_is_read_in_time"]["state"]
    assert by_part["no_case_is_stuck"]["is_well"]


def test_a_taken_port_is_named_with_the_setting_that_changes_it():
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(BadSettings, match="EYE_DX_MLFLOW_PORT"):
        check_ports(Settings(dagster_port=1, mlflow_port=taken.getsockname()[1]))


def test_a_new_state_folder_has_every_database_before_anything_is_started(state: Path):
    """Dagster's web server and daemon would both make theirs, and one of the two would end."""
    prepare_state(get_settings())

    made = {str(path.relative_to(state)) for path in state.rglob("*.db")}
    dagsters = {"dagster_home/history/runs.db", "dagster_home/history/runs/index.db", "dagster_home/schedules/schedules.db"}
    assert made == {*dagsters, "data/records.db", "mlruns/mlflow.db"}


def test_a_state_folder_has_one_daemon(state: Path):
    settings = get_settings()
    settings.dagster_home.mkdir()

    with only_daemon(settings), pytest.raises(BadSettings, match="runs on this state folder already"), only_daemon(settings):
        pass
    with only_daemon(settings):
        pass


TOGETHER = """
from eye_dx_cli import serving
serving.prepare_state = serving.limit_pool = serving.check_ports = lambda settings: None
serving.commands = lambda settings: {"one": ["sleep", "61"], "two": ["sleep", "62"]}
serving.run_together(serving.get_settings(), {})
"""


@pytest.mark.parametrize(
    ("ended", "how", "code"),
    [("all", signal.SIGINT, 0), ("all", signal.SIGTERM, 0), ("one", signal.SIGTERM, 1), ("one", signal.SIGKILL, 1)],
)
def test_stopping_all_is_a_success_and_one_that_ends_alone_is_not(state: Path, ended: str, how: signal.Signals, code: int):
    environment = os.environ | {"EYE_DX_STATE_DIR": str(state), "PYTHONPATH": str(Path(__file__).parents[2])}
    together = subprocess.Popen([sys.executable, "-c", TOGETHER], env=environment, stdout=subprocess.DEVNULL)

    def asleep() -> list[psutil.Process]:
        return [one for one in psutil.Process(together.pid).children(recursive=True) if one.name() == "sleep"]

    assert wait_for(lambda: len(asleep()) == 2, 20)
    (together if ended == "all" else asleep()[0]).send_signal(how)

    assert together.wait(20) == code


def test_a_daemon_of_a_cluster_does_not_hold_up_the_other_one(state: Path):
    """They have a Dagster instance each."""
    cluster = get_settings().model_copy(update={"cluster": True})

    refused = pytest.raises(BadSettings, match=r"^`make cluster` runs on this state folder already: stop it, or set EYE_DX_STATE_DIR$")
    with only_daemon(cluster), only_daemon(get_settings()), refused, only_daemon(cluster):
        pass


@pytest.mark.parametrize("is_cluster", [False, True])
@pytest.mark.parametrize("command", [("vault", "rotate"), ("vault", "forget-old-keys"), ("restore", ".", "--replace")])
def test_what_nothing_may_run_beside_notices_a_cluster_too(state: Path, command: tuple[str, ...], is_cluster: bool):  # noqa: FBT001
    runs = get_settings().model_copy(update={"cluster": is_cluster})
    named = "`make cluster`" if is_cluster else "`make up` or `make demo`"

    with only_daemon(runs), pytest.raises(BadSettings, match=f"^{named} runs on this state folder: stop it first$"):
        call(*command)
    assert not get_settings().vault_key_path.exists()


def test_a_backup_says_what_is_not_in_it_and_comes_back_only_where_nothing_runs(state: Path):
    with closing(wiring.open_records(get_settings())) as records:
        records.add_case(a_case(), b"raw")

    said = call("backup", state / "backups")

    assert f"Without {get_settings().vault_key_path} nobody can read it" in said
    assert "Not in it: photographs" in said
    (backup,) = (path for path in (state / "backups").iterdir() if path.is_dir())
    with pytest.raises(BadSettings, match="--replace"):
        call("restore", backup)
    with only_daemon(get_settings()), pytest.raises(BadSettings, match="`make up` or `make demo` runs on this state folder: stop it first"):
        call("restore", backup, "--replace")
    assert "restored the state of" in call("restore", backup, "--replace")
    with closing(wiring.open_records(get_settings())) as records:
        assert records.get_case("case-1") == a_case()
    assert [entry["action"] for entry in json.loads(call("records", "audit", "--json"))] == ["backup", "restore"]
    assert "nobody can read it" not in call("backup", state / "keyed", "--with-key")


def test_a_partner_is_told_null_unless_the_setting_says_to_omit(monkeypatch: pytest.MonkeyPatch):
    assert wiring.diagnosis_outlet(get_settings()).not_assessed == "null"

    monkeypatch.setenv("EYE_DX_NOT_ASSESSED", "omit")
    assert wiring.diagnosis_outlet(get_settings()).not_assessed == "omit"

    monkeypatch.setenv("EYE_DX_NOT_ASSESSED", "0")
    with pytest.raises(BadSettings, match="EYE_DX_NOT_ASSESSED"):
        get_settings()


def test_half_a_language_model_is_refused_without_its_key(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("EYE_DX_LLM_API_KEY", "sk-geheim")

    with pytest.raises(BadSettings, match="belong together") as caught:
        get_settings()
    assert "geheim" not in str(caught.value)
