"""Pages of the review desk over 100 000 screenings in SQLite: asked for under 100 ms each."""

import argparse
import re
import sys
import tempfile
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1]))

from eye_dx_core.records.desk import review_due_at, work_order
from eye_dx_core.records.engine import open_engine, writing
from eye_dx_core.records.rows import DIAGNOSED, REVIEWED, case_row
from eye_dx_core.records.tables import cases, diagnoses
from eye_dx_core.schema.routing import Urgency
from eye_dx_core.vault import Vault
from tests.builders import NOON, a_case, a_diagnosis
from tests.review.desks import a_client, a_desk, csrf_of, with_evidence
from tests.services import A_KEY, open_records

_CHUNK, _TIMES = 5000, 30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--screenings", type=int, default=100_000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        url = f"sqlite:///{folder}/records.db"
        records = open_records(url)
        fill(url, args.screenings)
        desk = a_desk(folder)
        for user in desk.records.users():
            records.add_user(user, event=desk.event("bench", "add user", user.user_name))
        client = a_client(replace(desk, records=records), "tang")
        csrf = csrf_of(client)
        client.post("/cases/case-7/hold", data={"csrf": csrf})
        print(f"{args.screenings} screenings, SQLite, sealed; median and longest of {_TIMES} (asked: 100 ms)")
        for what, path in (
            ("work list", "/"),
            ("rows alone", "/rows"),
            ("page 1000 of the list", "/?start=20000"),
            ("urgent only", "/?urgency=urgent"),
            ("overdue only", "/?overdue=1"),
            ("case page", "/cases/case-7"),
            ("why this report", "/cases/case-7/why"),
        ):
            taken = sorted(timed(client, path) for _ in range(_TIMES))
            print(f"{what:24} {1000 * median(taken):7.1f} ms {1000 * taken[-1]:7.1f} ms")


def timed(client, path: str) -> float:
    started = time.perf_counter()
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    return time.perf_counter() - started


def fill(url: str, screenings: int) -> None:
    """Half of the screenings wait for a doctor, spread over all urgencies and 30 days."""
    vault, urgencies = Vault([A_KEY]), list(Urgency)
    case, said = a_case("case-0").model_dump_json(), with_evidence(a_diagnosis("case-0"), "case-0").model_dump_json()
    engine, template = open_engine(url), case_row(a_case("case-0"), vault)
    for start in range(0, screenings, _CHUNK):
        rows, words = [], []
        for number in range(start, min(start + _CHUNK, screenings)):
            case_id, urgency = f"case-{number}", urgencies[number % len(urgencies)]
            received_at = NOON + timedelta(minutes=number * 30 * 24 * 60 / screenings)
            row = template | {"case_id": case_id, "message_id": f"message-of-{case_id}"}
            patient = {"patient_id": f"P{number // 3}", "sealed": vault.seal(re.sub("case-0", case_id, case))}
            place = {"urgency": urgency, "work_order": work_order(urgency), "review_due_at": review_due_at(received_at, urgency)}
            rows.append(row | patient | place | {"received_at": received_at, "state": (DIAGNOSED, REVIEWED)[number % 2 == 0]})
            sealed = vault.seal(re.sub("case-0", case_id, said))
            words.append({"case_id": case_id, "model_version": "3", "diagnosed_at": received_at, "sealed": sealed})
        with writing(engine) as connection:
            connection.execute(cases.insert(), rows)
            connection.execute(diagnoses.insert(), words)
    engine.dispose()


if __name__ == "__main__":
    main()
