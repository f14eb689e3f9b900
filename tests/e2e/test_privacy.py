"""A person goes through the whole installation, and afterwards every byte that it wrote or said is searched for that person."""

import base64
import gzip
import json
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest

from eye_dx_core import wiring
from eye_dx_core.queue.port import Message
from eye_dx_core.records.port import CaseRecord
from eye_dx_core.settings import Settings, child_environment
from eye_dx_demo.dagster_runs import running_daemon
from tests.e2e.marked_chain import ALBUM, NAMES, case_ids, nested, review
from tests.endpoint import Answer, LoopbackEndpoint, completion, error
from tests.services import wait_for
from tests.traces import BIRTH_DATE, NAME, PATIENT_ID, PHONE, find_traces, traces_in

PROJECT = Path(__file__).parents[2]
CLI = (sys.executable, "-c", "from eye_dx_cli.main import run; run()")
UNASSESSED = dict.fromkeys(("retina", "macula", "optic_disc", "vessels"), "未单独评估。")
NARRATIVE = {
    "right_eye": UNASSESSED,
    "left_eye": UNASSESSED,
    "opinion": "经医生审核，结论以医生结论栏为准。",
    "advice": "请按照医生的建议随访和复查。",
    "conclusion_codes": ["high_myopia"],
    "urgency_code": None,
    "claims": [],
}


@dataclass(frozen=True)
class Installation:
    """A state folder, everything that its processes said, and everything that a language model was told."""

    state: Path
    said: Path
    prompts: tuple[bytes, ...] = ()

    @property
    def settings(self) -> Settings:
        return Settings(state_dir=self.state)

    @property
    def environment(self) -> dict[str, str]:
        short = {"EYE_DX_LINGER_SECONDS": "0", "EYE_DX_LEASE_SECONDS": "2", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(PROJECT)}
        return child_environment(self.settings) | short

    def record(self, message_id: str) -> CaseRecord:
        records = wiring.open_records(self.settings)
        try:
            return records.get_case_record(case_ids(self.settings)[message_id])
        finally:
            records.close()

    def call(self, *command: str, code: int = 0, **environment: str) -> None:
        """Run a command whose output is kept."""
        with (self.said / f"{len(list(self.said.iterdir())):02}.txt").open("wb") as output:
            done = subprocess.run(
                command, cwd=self.state, env=self.environment | environment, stdout=output, stderr=output, timeout=120, check=False
            )
        assert done.returncode == code, (command[3:], Path(output.name).read_text(errors="replace")[-3000:])

    def publish(self, queue: str, body: bytes, message_id: str) -> None:
        port = wiring.open_queue(self.settings)
        port.publish(queue, Message(body=body, message_id=message_id))
        port.close()


def an_installation(folder: Path) -> Installation:
    (folder / "state").mkdir()
    (folder / "said").mkdir()
    return Installation(folder / "state", folder / "said")


@pytest.fixture(scope="module")
def visited(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """An installation after everything has been done in it: by runs, by the daemon and by the command line."""
    installation, endpoint = an_installation(tmp_path_factory.mktemp("visited")), LoopbackEndpoint()
    endpoint.answer = failing_first(endpoint)
    model = {"EYE_DX_LLM_BASE_URL": endpoint.url, "EYE_DX_LLM_API_KEY": "none", "EYE_DX_LLM_MODEL": "m"}
    try:
        installation.call(sys.executable, "-m", "tests.e2e.marked_chain", **model, EYE_DX_LOG_FORMAT="json")
    finally:
        endpoint.close()
    use_the_command_line(installation)
    let_the_daemon_work(installation)
    prompts = tuple(json.dumps(request, ensure_ascii=False).encode() for request in endpoint.requests)
    return Installation(installation.state, installation.said, prompts)


def failing_first(endpoint: LoopbackEndpoint) -> Callable[[dict[str, object]], Answer]:
    """Broken for the first run, and it repeats in its error what it was asked."""

    def answer(request: dict[str, object]) -> Answer:
        if len(endpoint.requests) < 4:
            return 500, error(json.dumps(request, ensure_ascii=False))
        return 200, completion(json.dumps(NARRATIVE, ensure_ascii=False))

    return answer


def use_the_command_line(installation: Installation) -> None:
    case_id = installation.record("m-trouble").case.case_id
    words = ("--conclusion", f"{NAME}：未见明显异常", "--doctor", "唐医生", "--recommendation", f"请{NAME}复查")
    installation.call(*CLI, "report", case_id, code=1)
    installation.call(*CLI, "review", case_id, *words)
    installation.call(*CLI, "report", case_id)
    installation.call(*CLI, "health", code=1)  # there are dead letters
    installation.call(*CLI, "queue", "dead")
    installation.call(*CLI, "queue", "dead", "--json")
    installation.call(*CLI, "records", "audit")


def let_the_daemon_work(installation: Installation) -> None:
    """The sensors find a screening and a review by themselves, and start runs in processes of their own."""
    installation.publish(NAMES.screenings, nested(f"{ALBUM}/OD.jpg"), "m-daemon")
    installation.publish(NAMES.screenings, json.dumps({"age": NAME, "patient_id": PATIENT_ID}).encode(), "bad-daemon")
    with running_daemon(installation.environment, installation.said / "daemon.txt"):
        assert wait_for(lambda: "m-daemon" in case_ids(installation.settings), 90)
        assert wait_for(lambda: installation.record("m-daemon").diagnosis, 30)
        installation.publish(NAMES.reviews, review(installation.record("m-daemon").case.case_id), "r-daemon")
        assert wait_for(lambda: installation.record("m-daemon").report, 60)


def test_everything_happened_that_could_have_left_a_trace(visited: Installation):
    reports = {name: visited.record(name).report for name in case_ids(visited.settings)}

    assert len(reports) == 7
    assert all(reports.values())
    writers = {name: report.writer for name, report in reports.items() if report}
    assert (writers["m-nested"], writers["m-trouble"]) == ("openai/m", "template/1")
    assert {"m-broken", "m-daemon", "m-check"} <= writers.keys()
    said = b"".join(path.read_bytes() for path in visited.said.iterdir())
    for trouble in (b"no champion", b"could not be read", b"an error of ours (OSError)", b"the records did not answer", b"set aside"):
        assert trouble in said


def test_only_the_pages_that_patients_get_name_them(visited: Installation):
    pages = {path.relative_to(visited.state).as_posix() for path in visited.settings.report_folder.glob("*.html")}

    found = find_traces(visited.state)

    assert len(pages) == 7
    assert set(found) == pages


def test_only_photographs_are_called_after_a_patient(visited: Installation):
    called = [path for path in visited.state.rglob("*") if NAME in path.name or PHONE in path.name]

    assert called
    assert all(path.is_relative_to(visited.state / "data" / ALBUM) for path in called)


def test_no_process_says_whom_it_works_for(visited: Installation):
    assert len(list(visited.said.iterdir())) == 9
    assert find_traces(visited.said, (NAME, PHONE, BIRTH_DATE, PATIENT_ID)) == {}


def json_lines(installation: Installation) -> list[dict[str, object]]:
    said = (installation.said / "00.txt").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in said if line.startswith('{"time"')]


def test_json_lines_name_run_case_and_message_by_ids_of_ours(visited: Installation):
    lines = json_lines(visited)
    known, ours = set(case_ids(visited.settings).values()), [line for line in lines if str(line["logger"]).startswith("eye_dx_core")]

    assert {line["job"] for line in ours} >= {"diagnosis_job", "report_job"}
    assert all(len(str(line["run_id"])) == 36 for line in ours)
    assert known & {line.get("case_id") for line in ours if line["logger"] == "eye_dx_core.casework"}
    set_aside = [line for line in ours if "set aside" in str(line["message"])]
    assert set_aside
    assert all(len(str(line["message_sha256"])) == 64 for line in set_aside)


def test_no_language_model_is_told_whom_it_writes_about(visited: Installation):
    assert len(visited.prompts) > 4
    assert set(traces_in(visited.prompts, (NAME, PHONE, BIRTH_DATE, PATIENT_ID))) == set()


def test_a_patients_id_stays_in_the_records(visited: Installation):
    found = find_traces(visited.state, [PATIENT_ID])

    assert {path.removesuffix("-wal") for path in found if not path.startswith("data/reports/")} == {"data/records.db"}


def test_dagster_stores_what_its_processes_said_and_nothing_else(visited: Installation):
    stored = [path for path in (visited.settings.dagster_home / "storage").rglob("*") if path.is_file()]

    assert stored
    assert {path.parent.name for path in stored} == {"compute_logs"}
    assert {path.suffix for path in stored} <= {".out", ".err", ".complete"}
    assert not any(path.read_bytes().startswith(b"\x80") for path in stored)  # as every pickle does


def test_what_tells_of_patients_is_for_its_owner_only(visited: Installation):
    data = visited.settings.data
    databases = [path for path in (*data.glob("records.db*"), *data.glob("queue.db*")) if path.suffix != ".lock"]
    files = [*databases, data / "vault.key", *visited.settings.report_folder.iterdir()]

    assert len(files) > 9
    assert {path.name: oct(stat.S_IMODE(path.stat().st_mode)) for path in files if stat.S_IMODE(path.stat().st_mode) & 0o077} == {}
    assert stat.S_IMODE(visited.settings.report_folder.stat().st_mode) == 0o700


@pytest.fixture(scope="module")
def leaking(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """An installation in which one line of a log says the name, and one value in Dagster is the phone number."""
    installation = an_installation(tmp_path_factory.mktemp("leaking"))
    installation.call(sys.executable, "-m", "tests.e2e.marked_chain", "leak", EYE_DX_LOG_FORMAT="json")
    return installation


def test_one_line_of_a_log_would_be_found(leaking: Installation):
    found = {path for path, traces in find_traces(leaking.state).items() if NAME in traces and not path.endswith(".html")}

    assert any(path.startswith("dagster_home/history/runs/") for path in found)
    assert any(path.startswith("dagster_home/storage/") and path.endswith(".err") for path in found)
    assert NAME in find_traces(leaking.said)["00.txt"]
    assert any(NAME in str(line["message"]) for line in json_lines(leaking))


def test_one_value_in_dagster_would_be_found(leaking: Installation):
    found = {path for path, traces in find_traces(leaking.state).items() if PHONE in traces and not path.endswith(".html")}

    assert found
    assert all(path.startswith("dagster_home/history/runs/") for path in found)


@pytest.mark.parametrize(
    "write",
    [
        str.encode,
        lambda text: text.encode("utf-16"),
        lambda text: json.dumps({"name": text}).encode(),
        lambda text: json.dumps(json.dumps({"name": text})).encode(),
        lambda text: "".join(f"\\u{ord(one):04X}" for one in text).encode(),
        lambda text: quote(text).encode(),
        lambda text: repr(text.encode()).encode(),
        lambda text: text.encode().hex().encode(),
        lambda text: text.encode("ascii", "xmlcharrefreplace"),
        *(lambda text, lead=lead: base64.b64encode(b"x" * lead + text.encode() + b"y") for lead in range(3)),
        *(lambda text, lead=lead: base64.urlsafe_b64encode(b"x" * lead + text.encode() + b"y") for lead in range(3)),
    ],
)
def test_a_trace_is_found_however_it_is_written(write: Callable[[str], bytes]):
    assert set(traces_in([b"before" + write(f"在{NAME}后") + b"after"])) == {NAME}
    assert set(traces_in([gzip.compress(b"nobody")])) == set()
