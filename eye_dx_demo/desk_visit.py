"""A doctor at the review desk: the real application in a process of its own, met by HTTP as a browser without scripts meets it."""

import re
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

from eye_dx_cli.desk import desk_command
from eye_dx_core.errors import EyeDxError
from eye_dx_core.records.port import CaseRecord
from eye_dx_core.schema.case import Laterality
from eye_dx_core.schema.review import Ungradable
from eye_dx_core.schema.routing import Urgency

_START_SECONDS, _STOP_SECONDS = 60, 10
_FIELDS = {Laterality.RIGHT: "right", Laterality.LEFT: "left"}


@dataclass(frozen=True)
class DeskUser:
    """Whoever logs in."""

    user_name: str
    password: str


@contextmanager
def running_desk(environment: Mapping[str, str], log: Path) -> Generator[str]:
    """Start the desk on a free port, for as long as the block lasts; yield its address at once, before it answers.

    One doctor works there, over plain HTTP, whatever the installation wants of its own desk.
    """
    port = _free_port()
    ours = {"EYE_DX_DESK_PORT": str(port), "EYE_DX_DESK_BLIND_FIRST": "false", "EYE_DX_DESK_TWO_PERSON": "false", "EYE_DX_DESK_PROXY": ""}
    with log.open("ab") as output:
        desk = subprocess.Popen(desk_command(), env={**environment, **ours}, stdout=output, stderr=output, start_new_session=True)
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            desk.terminate()
            try:
                desk.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                desk.kill()
                desk.wait(_STOP_SECONDS)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def add_doctor(user_name: str, environment: Mapping[str, str]) -> DeskUser:
    """Add an invented doctor with `eye-dx users add`; the password is the one that it makes and prints.

    Raises:
        EyeDxError: the command refused; its own words follow.
    """
    command = [
        str(Path(sys.executable).parent / "eye-dx"),
        "users",
        "add",
        user_name,
        "--display",
        "华医生",
        "--role",
        "doctor",
        "--generate",
    ]
    done = subprocess.run(command, env=dict(environment), check=False, capture_output=True, text=True)
    if done.returncode:
        raise EyeDxError(f"eye-dx users add failed:\n{(done.stderr or done.stdout)[-2000:]}")
    return DeskUser(user_name, done.stdout.partition("shown this once:")[2].split()[0])


class DeskVisit:
    """A doctor who is logged in."""

    def __init__(self, address: str, user: DeskUser) -> None:
        # No proxy of the surroundings: the desk is on this machine.
        self._client = httpx2.Client(base_url=address, follow_redirects=True, timeout=30, trust_env=False)
        self._user = user
        self._wait_until_it_answers()
        page = self._post("/login", user_name=user.user_name, password=user.password)
        self._csrf = _find(r'name="csrf" value="([^"]+)"', page, "the token of the forms")

    def review(self, record: CaseRecord) -> None:
        """Claim a case, fill in what the AI reads, look at what would be signed, and sign it with the password."""
        case_id = record.case.case_id
        self._send(f"/cases/{case_id}/hold")
        page = self._send(f"/cases/{case_id}/check", version=0, **_filled_in(record))
        version = _find(r'name="version" value="(\d+)"', page, "the page for checking")
        self._send(f"/cases/{case_id}/sign", version=version, password=self._user.password)

    def make_patient_link(self, case_id: str) -> str:
        """Make a link for the patient of a reported case; return its path, which any desk of this installation knows."""
        return _find(r"(/r/[\w-]+)", self._send(f"/cases/{case_id}/links"), "the patient's link")

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()

    def _wait_until_it_answers(self) -> None:
        until = time.monotonic() + _START_SECONDS
        while True:
            try:
                self._client.get("/login").raise_for_status()
            except httpx2.TransportError:
                if time.monotonic() > until:
                    raise EyeDxError(f"the review desk did not answer within {_START_SECONDS} s") from None
                time.sleep(0.1)
            else:
                return

    def _send(self, path: str, **fields: object) -> str:
        return self._post(path, csrf=self._csrf, **fields)

    def _post(self, path: str, **fields: object) -> str:
        answer = self._client.post(path, data=fields)
        if answer.is_error:
            raise EyeDxError(f"the review desk answered {answer.status_code} to {path}")
        return answer.text


def _filled_in(record: CaseRecord) -> dict[str, object]:
    """The form as a doctor fills it in who agrees with the AI, and wants a new photograph of an eye that it could not read."""
    proposed = record.diagnosis.routing if record.diagnosis else None
    form: dict[str, object] = {"urgency": proposed.urgency if proposed else Urgency.SOON, "recommendation": "请按医嘱到眼科门诊就诊。"}
    for eye in record.diagnosis.eyes if record.diagnosis else ():
        if eye.eye is not None and eye.photos:
            name = _FIELDS[eye.eye]
            form |= {f"{name}_labels": [eye.conclusion]} if eye.conclusion else {f"{name}_ungradable": Ungradable.RETAKE}
    return form


def _find(pattern: str, page: str, what: str) -> str:
    found = re.search(pattern, page)
    if found is None:
        raise EyeDxError(f"the review desk's answer lacks {what}")
    return found[1]
