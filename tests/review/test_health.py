"""What a reverse proxy asks the desk."""

from dataclasses import replace
from pathlib import Path

import pytest

from eye_dx_core.errors import ServiceUnavailable
from eye_dx_core.records.memory import MemoryRecords
from eye_dx_core.records.port import Work
from tests.review.desks import a_client, a_desk


class SilentRecords(MemoryRecords):
    """A database that is down."""

    def find_work(self) -> Work:
        raise ServiceUnavailable("the records did not answer (OperationalError)")


@pytest.mark.parametrize(("path", "said"), [("/healthz", {"status": "alive"}), ("/readyz", {"ready": True, "problems": {}})])
def test_a_proxy_is_answered_without_a_login_and_nothing_is_noted(tmp_path: Path, path: str, said: dict[str, object]):
    desk = a_desk(tmp_path)
    noted = len(list(desk.records.audit()))

    answer = a_client(desk).get(path, follow_redirects=False)

    assert (answer.status_code, answer.json()) == (200, said)
    assert answer.cookies == {}
    assert answer.headers["cache-control"] == "no-store"
    assert len(list(desk.records.audit())) == noted


def test_a_desk_whose_records_are_gone_lives_and_is_not_ready(tmp_path: Path):
    client = a_client(replace(a_desk(tmp_path), records=SilentRecords()))

    answer = client.get("/readyz")

    assert answer.status_code == 503
    assert answer.json() == {"ready": False, "problems": {"records": "the records did not answer (OperationalError)"}}
    assert client.get("/healthz").status_code == 200


def test_probes_change_nothing(tmp_path: Path):
    client = a_client(a_desk(tmp_path))

    assert client.post("/healthz").status_code == 405
    assert client.post("/readyz").status_code == 405
