"""A desk with phantoms, two doctors and the other roles, on records in memory."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from zoneinfo import ZoneInfo

from argon2 import PasswordHasher
from fastapi.testclient import TestClient

from eye_dx_core.casework import ReportOutlet, report_case
from eye_dx_core.dataset.phantom import render_phantom
from eye_dx_core.files.folders import FolderFiles
from eye_dx_core.inference.intake import PhotoIntake
from eye_dx_core.inference.sources.folders import FolderPhotos
from eye_dx_core.queue.topology import QueueNames
from eye_dx_core.records.accounts import Role, User
from eye_dx_core.records.memory import MemoryRecords
from eye_dx_core.schema.case import Laterality
from eye_dx_core.schema.diagnosis import AiDiagnosis, EvidenceMap
from eye_dx_review.app import create_app
from eye_dx_review.desk import Desk
from tests.builders import a_case, a_diagnosis
from tests.pictures import as_jpeg

PASSWORD = "correct horse battery"
_HASH = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)  # as fast as it gets: tests log in often
USERS = {
    "tang": ("唐医生", Role.DOCTOR), "song": ("宋医生", Role.DOCTOR), "li": ("李技师", Role.SCREENER),
    "qin": ("秦审计", Role.AUDITOR), "root": ("管理员", Role.ADMIN),
}  # fmt: skip
EVIDENCE = EvidenceMap(rows=4, columns=4, weights=(0,) * 5 + (255, 200) + (0,) * 9, deletion_score=0.8)


@lru_cache
def _photo(eye: Laterality) -> bytes:
    return as_jpeg(render_phantom("A" if eye is Laterality.RIGHT else "N", eye=eye, seed=3, size=500).rgb)


class Clock:
    """A clock that a test sets forward."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


def with_evidence(diagnosis: AiDiagnosis, case_id: str) -> AiDiagnosis:
    """Photo ids of their own, and evidence for what is abnormal."""
    eyes = []
    for number, eye in enumerate(diagnosis.eyes, start=1):
        changes = {"photo_id": f"{case_id}-{number}", "evidence": EVIDENCE if eye.abnormal_areas else None}
        eyes.append(eye.model_copy(update={"photos": tuple(photo.model_copy(update=changes) for photo in eye.photos)}))
    return diagnosis.model_copy(update={"eyes": tuple(eyes)})


def a_desk(folder: Path, **changes: object) -> Desk:
    """A desk with one read case, `case-1`: AMD on the right, normal on the left."""
    records = MemoryRecords()
    photos = PhotoIntake(FolderPhotos((folder,), base=folder))
    clock = Clock()
    zone = ZoneInfo("Asia/Shanghai")
    outlet = ReportOutlet(FolderFiles(folder), zone, QueueNames(), photos=photos)
    desk = Desk(records=records, photos=photos, reports=outlet, cookie_key=b"k" * 32, now=clock)
    add_doctors(desk)
    for eye in Laterality:
        path = folder / "visit" / f"{eye}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(_photo(eye))
    add_case(desk, "case-1")
    return replace(desk, **changes)  # pyright: ignore[reportArgumentType] - named by tests


def add_doctors(desk: Desk) -> None:
    """Two doctors and the other roles."""
    for name, (display, role) in USERS.items():
        user = User(user_name=name, display_name=display, role=role, password_hash=_HASH, added_at=desk.now())
        desk.records.add_user(user, event=desk.event("test", "add user", name))


def add_case(desk: Desk, case_id: str) -> None:
    """One more read case of the same patient, received now."""
    desk.records.add_case(a_case(case_id).model_copy(update={"received_at": desk.now()}), b"raw")
    desk.records.add_diagnosis(with_evidence(a_diagnosis(case_id), case_id), [])


def add_report(desk: Desk, case_id: str) -> None:
    """What a report run does after a signature."""
    report_case(desk.records, case_id, chat_model=None, outlet=desk.reports, now=desk.now)


def a_client(desk: Desk, user: str | None = None) -> TestClient:
    """A browser without a script, logged in if a user is named."""
    client = TestClient(create_app(desk), base_url="http://127.0.0.1", follow_redirects=True)
    if user is not None:
        logged_in = client.post("/login", data={"user_name": user, "password": PASSWORD}, follow_redirects=False)
        assert logged_in.status_code == 303
    return client


def csrf_of(client: TestClient) -> str:
    """The token that the pages of this session carry."""
    found = re.search(r'name="csrf" value="([^"]+)"', client.get("/").text) or re.search(
        r'name="csrf" value="([^"]+)"', client.get("/nowhere").text
    )
    assert found is not None
    return found[1]


def a_form(**changes: object) -> dict[str, object]:
    """A form that can be signed: AMD on the right, normal on the left, as urgent as the AI proposes."""
    filled = {"version": 0, "right_labels": ["A"], "left_labels": ["N"], "urgency": "urgent", "recommendation": "请于2周内到眼科就诊。"}
    return filled | changes
