"""Secrets stay where they were put, files of patients belong to their owner, and no process takes what could run code."""

import json
import os
import stat
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from fastapi import FastAPI

from eye_dx_cli.serving import commands
from eye_dx_core import wiring
from eye_dx_core.casework import report_page, save_report_page
from eye_dx_core.errors import BadSettings, ServiceUnavailable
from eye_dx_core.private_files import write_private
from eye_dx_core.reporting.material import ReportMaterial
from eye_dx_core.retention import Shelves, erase_patient
from eye_dx_core.settings import Settings, child_environment, get_settings
from eye_dx_dagster.resources import as_discreet_failures
from eye_dx_review.__main__ import server_config
from tests.builders import NOON, a_case, a_diagnosis, a_report, a_review
from tests.test_house import PROJECT

SECRET = "s3cret-of-nobody"
URLS = {
    "EYE_DX_QUEUE_URL": f"amqps://clinic:{SECRET}@broker/%2F",
    "EYE_DX_RECORDS_URL": f"postgresql+psycopg://clinic:{SECRET}@db/eye",
    "EYE_DX_MLFLOW_TRACKING_URI": f"https://clinic:{SECRET}@mlflow",
    "EYE_DX_VAULT_KEYS": SECRET,
    "EYE_DX_LLM_BASE_URL": "https://llm",
    "EYE_DX_LLM_API_KEY": SECRET,
    "EYE_DX_LLM_MODEL": "m",
}
PICKLES = "MLFLOW_ALLOW_PICKLE_DESERIALIZATION"
CLI = (sys.executable, "-c", "from eye_dx_cli.main import run; run()")


def said_by(code: str, folder: Path) -> bytes:
    """What a new process prints."""
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    return subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, stdout=subprocess.PIPE, check=True).stdout


def mode_of(path: Path) -> str:
    return oct(stat.S_IMODE(path.stat().st_mode))


@pytest.fixture
def generous_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def test_no_dump_of_the_settings_shows_a_secret(monkeypatch: pytest.MonkeyPatch):
    for name, value in URLS.items():
        monkeypatch.setenv(name, value)
    settings = Settings()

    shown = (
        repr(settings),
        str(settings),
        repr(settings.model_dump()),
        settings.model_dump_json(),
        json.dumps(settings.model_dump(mode="json")),
    )

    assert [text for text in shown if SECRET in text] == []
    assert settings.queue_address == URLS["EYE_DX_QUEUE_URL"]
    assert settings.records_address == URLS["EYE_DX_RECORDS_URL"]
    assert settings.mlflow_address == URLS["EYE_DX_MLFLOW_TRACKING_URI"]


def test_a_setting_that_is_wrong_is_named_and_not_repeated(monkeypatch: pytest.MonkeyPatch):
    for name in ("EYE_DX_DRAIN_LIMIT", "EYE_DX_NOT_ASSESSED", "EYE_DX_QUEUE_NAMES__WRONG"):
        monkeypatch.setenv(name, SECRET)

    with pytest.raises(BadSettings, match="EYE_DX_DRAIN_LIMIT") as caught:
        get_settings()

    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_an_empty_url_means_the_default(tmp_path: Path):
    settings = Settings(state_dir=tmp_path, queue_url="", records_url="", mlflow_tracking_uri="")

    assert settings.queue_address == f"sqlite:///{tmp_path}/data/queue.db"
    assert settings.records_address == f"sqlite:///{tmp_path}/data/records.db"
    assert settings.mlflow_address == f"sqlite:///{tmp_path}/mlruns/mlflow.db"


def test_other_machines_are_let_in_only_with_a_proxy_named(tmp_path: Path):
    with pytest.raises(ValueError, match="EYE_DX_DESK_PROXY"):
        Settings(state_dir=tmp_path, bind="0.0.0.0")
    assert Settings(state_dir=tmp_path, bind="0.0.0.0", desk_proxy="10.0.0.1").bind == "0.0.0.0"


def test_no_command_line_holds_a_secret_and_every_server_listens_here_only(tmp_path: Path):
    settings = Settings(state_dir=tmp_path, mlflow_tracking_uri=URLS["EYE_DX_MLFLOW_TRACKING_URI"])

    for name, command in commands(settings).items():
        assert SECRET not in " ".join(command), name
        hosts = [command[number + 1] for number, word in enumerate(command) if word in ("-h", "--host")]
        assert hosts == ([] if name in ("daemon", "desk", "monitor") else ["127.0.0.1"]), name
        assert "0.0.0.0" not in " ".join(command)
    assert settings.bind == "127.0.0.1"  # which the monitor listens on
    desk = server_config(FastAPI(), settings)
    assert (desk.host, desk.access_log, desk.proxy_headers) == ("127.0.0.1", False, False)
    assert child_environment(settings)["MLFLOW_BACKEND_STORE_URI"] == URLS["EYE_DX_MLFLOW_TRACKING_URI"]


def test_what_mlflow_says_of_a_server_that_is_gone_names_no_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert child_environment(Settings())["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] == "true"
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    registry = wiring.open_registry(Settings(state_dir=tmp_path, mlflow_tracking_uri=f"http://clinic:{SECRET}@127.0.0.1:9"))

    with pytest.raises(ServiceUnavailable) as caught:
        registry.versions()

    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_every_process_of_ours_refuses_pickled_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(PICKLES, "true")  # even where somebody allows them

    assert child_environment(Settings(state_dir=tmp_path))[PICKLES] == "false"
    code = f"import os; from eye_dx_core.settings import get_settings; get_settings(); print(os.environ['{PICKLES}'])"
    assert said_by(code, tmp_path) == b"false\n"


def test_an_error_that_is_not_ours_leaves_its_class_and_place_only():
    value = "测试甲 13800138000".replace("测", "试")
    with pytest.raises(dg.Failure) as caught, as_discreet_failures():
        raise ValueError(value)

    told = f"{caught.value.description} {caught.value.metadata}"
    assert "ValueError" in told
    assert "test_security.py" in told
    assert value not in told + "".join(traceback.format_exception(caught.value))


@pytest.mark.usefixtures("generous_umask")
def test_databases_and_pages_are_for_their_owner_only(tmp_path: Path):
    settings = Settings(state_dir=tmp_path)
    records, queue = wiring.open_records(settings), wiring.open_queue(settings)
    try:
        records.add_case(a_case(), b"{}")
        queue.depth(settings.queue_names.screenings)
        databases = [path for path in settings.data.glob("*.db*") if path.suffix != ".lock"]
        assert {path.name for path in databases} >= {"records.db", "records.db-wal", "records.db-shm", "queue.db"}
        assert {mode_of(path) for path in databases} == {"0o600"}
    finally:
        records.close()
        queue.close()
    outlet = wiring.report_outlet(settings)
    save_report_page(ReportMaterial(a_case(), a_diagnosis(), a_review(), a_report()), outlet)
    page = settings.data / report_page("case-1")
    assert (mode_of(page), mode_of(page.parent)) == ("0o600", "0o700")


@pytest.mark.usefixtures("generous_umask")
def test_exports_are_for_their_owner_only_even_over_a_file_that_was_not(tmp_path: Path):
    settings = Settings(state_dir=tmp_path)
    records = wiring.open_records(settings)
    records.add_case(a_case(), b'{"a": "longer than what comes"}')
    records.close()
    exported, message = tmp_path / "export.json", tmp_path / "message.json"
    message.write_text("x" * 1000)

    for arguments in (("export", "--output", str(exported)), ("message", "case-1", "--output", str(message))):
        environment = child_environment(settings) | {"PYTHONPATH": str(PROJECT)}
        subprocess.run([*CLI, "records", *arguments], cwd=tmp_path, env=environment, check=True, capture_output=True)

    assert (mode_of(exported), mode_of(message)) == ("0o600", "0o600")
    assert "测试甲" in exported.read_text(encoding="utf-8")
    assert message.read_bytes() == b'{"a": "longer than what comes"}'


def test_a_pipe_can_be_written_to(tmp_path: Path):
    code = "from pathlib import Path; from eye_dx_core.private_files import write_private; write_private(Path('/dev/stdout'), b'x')"
    assert said_by(code, tmp_path) == b"x"


def test_an_erased_patient_leaves_no_half_written_page(tmp_path: Path):
    settings = Settings(state_dir=tmp_path)
    records = wiring.open_records(settings)
    records.add_case(a_case(), b"{}")
    settings.report_folder.mkdir()
    draft = settings.report_folder / "case-1.pdf.draft"
    write_private(draft, "测试甲".encode())

    shelves: Shelves = wiring.shelves(settings)
    erase_patient(records, "P2025001", shelves=shelves, with_photos=False, actor="test", reason="asked", at=NOON)

    assert not draft.exists()
    records.close()
