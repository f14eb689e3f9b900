"""deploy/compose.yaml, Dockerfile and env.example say what the program knows."""

from pathlib import Path

import pytest
import yaml
from compose_spec import PyCompose
from typer.testing import CliRunner

from eye_dx_cli.main import app
from eye_dx_core.settings import Settings
from tests.deploy.compose import DEPLOY, PROJECT, needed_variables, ours, read_compose, read_env_file, read_image

GIVEN = {name: value or ("a value" if name in needed_variables() else "") for name, value in read_env_file().items()}
OURS = ours(read_compose(GIVEN)["services"])


def test_compose_has_the_form_that_engines_take():
    with_gpus = yaml.safe_load((DEPLOY / "compose.gpu.yaml").read_text(encoding="utf-8"))

    assert set(OURS) < set(PyCompose.from_yaml(yaml.safe_dump(read_compose(GIVEN))).service_names())
    assert set(PyCompose.from_yaml(yaml.safe_dump(with_gpus)).service_names()) < set(OURS)


def test_every_variable_that_must_be_given_is_in_the_example():
    without = {name: value for name, value in GIVEN.items() if name != "POSTGRES_PASSWORD"}

    assert read_compose(GIVEN)
    with pytest.raises(KeyError, match="POSTGRES_PASSWORD"):
        read_compose(without)


@pytest.mark.parametrize("name", OURS)
def test_a_command_is_one_of_ours(name: str):
    program, *arguments = OURS[name]["command"]

    assert program == "eye-dx"
    assert CliRunner().invoke(app, [*arguments, "--help"]).exit_code == 0


@pytest.mark.parametrize("name", OURS)
def test_a_variable_is_a_setting(name: str, monkeypatch: pytest.MonkeyPatch):
    told = {**read_image(), **OURS[name]["environment"]}
    for key, value in told.items():
        monkeypatch.setenv(key, value)

    unknown = {key for key in told if key.startswith("EYE_DX_") and key.removeprefix("EYE_DX_").lower() not in Settings.model_fields}
    assert not unknown
    assert Settings()


@pytest.mark.parametrize("name", [name for name, service in OURS.items() if service["command"][1] == "worker"])
def test_a_worker_is_asked_by_its_own_name_and_has_time_to_finish(name: str):
    _, _, worker, *_ = OURS[name]["command"]

    assert OURS[name]["healthcheck"]["test"][1].endswith(f" -d {worker}@$HOSTNAME")
    assert OURS[name]["stop_grace_period"] == "2m"


def test_what_the_image_copies_exists_and_is_sent_to_the_engine():
    copied = [line.split()[1:-1] for line in (DEPLOY / "Dockerfile").read_text(encoding="utf-8").splitlines() if line.startswith("COPY ")]
    sources = {Path(one) for words in copied if not words[0].startswith("--") for one in words}
    sent = [line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines() if line.startswith("!")]

    assert all((PROJECT / one).exists() for one in sources)
    assert all(any(one.match(pattern) for pattern in sent) for one in sources)
