"""The whole chain for one person, with everything going wrong that can, in a process whose every word is kept.

python -m tests.e2e.marked_chain [leak]   with EYE_DX_STATE_DIR; `leak` lets one log line and one metadata value name the person.
"""

import json
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import patch
from zoneinfo import ZoneInfo

import dagster as dg

from eye_dx_cli.serving import prepare_state
from eye_dx_core import casework, wiring
from eye_dx_core.dataset.phantom_folders import write_phantom_photo
from eye_dx_core.inference.sources.folders import FolderPhotos
from eye_dx_core.queue.draining import DrainResult
from eye_dx_core.queue.port import Message, Queue
from eye_dx_core.queue.topology import QueueNames
from eye_dx_core.registry.promotion import promote
from eye_dx_core.reporting.material import ReportMaterial
from eye_dx_core.schema.case import Laterality, find_eye_in_name
from eye_dx_core.settings import Settings, adopt_environment, get_settings
from eye_dx_dagster.definitions import defs
from tests.checkpoints import a_checkpoint
from tests.traces import NAME, PATIENT_ID, PERSON, PHONE

NAMES = QueueNames()
ALBUM = f"incoming/{NAME}_{PHONE}"  # camera software names folders and files by the patient
GOOD = {"balanced_accuracy": 0.8, "worst_recall": 0.5, "chance": 0.125}


def main() -> None:
    """Run everything once."""
    leak = sys.argv[1:] == ["leak"]
    settings = get_settings()
    adopt_environment(settings)
    prepare_state(settings)
    draw_photos(settings.data)
    queue = wiring.open_queue(settings)
    with dg.DagsterInstance.get() as instance, retries_at_once():
        run = Runner(instance)
        if leak:
            with_leaks(settings, queue, run)
        else:
            with_faults(settings, queue, run)
    queue.close()


class Runner:
    """Runs jobs as Dagster does, on the instance that the state folder holds."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self._instance = instance

    def __call__(self, job: str, *, succeeds: bool = True, day: str | None = None) -> None:
        done = defs.resolve_job_def(job).execute_in_process(instance=self._instance, raise_on_error=False, partition_key=day)
        assert done.success is succeeds, f"{job} was to {'succeed' if succeeds else 'fail'}"


def with_faults(settings: Settings, queue: Queue, run: Runner) -> None:
    """Every wire format, good and broken, and runs that fail while they have the person in hand."""
    for number, body in enumerate(bad_screenings()):
        queue.publish(NAMES.screenings, Message(body=body, message_id=f"bad-{number}"))
    for name, body, message_id in screenings():
        queue.publish(name, Message(body=body, message_id=message_id))
    run("diagnosis_job", succeeds=False)  # there is no champion
    trust_a_model(settings)
    with failing(FolderPhotos, "find_photo", lambda _, location: location.endswith("trouble.jpg")):
        run("diagnosis_job", succeeds=False)
    time.sleep(settings.lease_seconds)  # a failed run holds its cases until then
    run("diagnosis_job")

    for number, body in enumerate(reviews(settings)):
        queue.publish(NAMES.partner_reviews if b"odFundusDisease" in body else NAMES.reviews, Message(body=body, message_id=f"r-{number}"))
    with failing(casework, "render_html", lambda view: any(one.label == "姓名" for one in view.patient)):
        run("report_job", succeeds=False)  # an error that is not ours, with the person's values in its text
    time.sleep(settings.lease_seconds)
    with without_table(settings.data / "records.db", "reports"):
        run("report_job", succeeds=False)
    time.sleep(settings.lease_seconds)
    run("report_job")  # the language model fails first, and repeats what it was asked
    run("daily_report_job", day=f"{datetime.now(ZoneInfo(settings.timezone)):%Y-%m-%d}")
    run("message_flow_job")
    run("retention_job")


def with_leaks(settings: Settings, queue: Queue, run: Runner) -> None:
    """One line of a log that names the person, and one number of an op's metadata that is the person's."""
    save_page, counts = casework.save_report_page, DrainResult.model_dump

    def saying_whose(material: ReportMaterial, outlet: casework.ReportOutlet) -> object:
        patient = material.case.screening.patient
        casework._log.info("the page of %s", patient and patient.name)
        return save_page(material, outlet)

    trust_a_model(settings)
    queue.publish(NAMES.screenings, Message(body=nested(f"{ALBUM}/OD.jpg"), message_id="m-nested"))
    run("diagnosis_job")
    queue.publish(NAMES.reviews, Message(body=review(case_ids(settings)["m-nested"]), message_id="r-0"))
    with (
        patch.object(casework, "save_report_page", saying_whose),
        patch.object(DrainResult, "model_dump", lambda result: counts(result) | {"last": PHONE}),
    ):
        run("report_job")


def draw_photos(data: Path) -> None:
    """Photographs whose folder names the person; two of the files do as well."""
    album = data / ALBUM
    album.mkdir(parents=True)
    for name in ("OD.jpg", "OS.jpg", "trouble.jpg", f"{NAME}_OD.jpg"):
        eye = find_eye_in_name(name) or Laterality.RIGHT
        write_phantom_photo(album / name, "D3", eye=eye, seed=1, size=320)
    broken = album / f"{NAME}_OD.jpg"
    broken.write_bytes(broken.read_bytes()[:2000])


def screenings() -> Iterator[tuple[str, bytes, str]]:
    """Queue, body and message id of what can be read: every wire format, a broken photograph and one that makes trouble."""
    photos = [f"{ALBUM}/OD.jpg", f"{ALBUM}/OS.jpg"]
    flat = PERSON | {"patient_id": PATIENT_ID, "age": 88, "gender": "男", "photos": photos}
    yield NAMES.screenings, nested(*photos), "m-nested"
    envelope = {"schema": "eye-dx/screening/1", "message_id": "m-envelope", "body": json.loads(nested(*photos))}
    yield NAMES.screenings, as_json(envelope), "m-envelope"
    yield NAMES.screenings, nested(f"{ALBUM}/{NAME}_OD.jpg", f"{ALBUM}/{NAME}_missing.jpg", f"/etc/{NAME}"), "m-broken"
    yield NAMES.screenings, nested(f"{ALBUM}/trouble.jpg"), "m-trouble"
    yield NAMES.flat_screenings, as_json(flat), "m-flat"
    yield NAMES.partner_screenings, as_json({"id": "check-1", "odFundusImg": photos[0], "osFundusImg": photos[1]}), "m-check"


def nested(*photos: str) -> bytes:
    """A screening with everything that can tell of the person."""
    patient = PERSON | {"patient_id": PATIENT_ID, "age": 88, "gender": "男", "photos": list(photos)}
    notes = f"{NAME}的家属来电 {PHONE}，生于{PERSON['birth_date']}"
    return as_json({"Patient": patient, "vision_data": {"left_eye": 0.8, "right_eye": 0.6}, "notes": notes})


def bad_screenings() -> Iterator[bytes]:
    """What is set aside: the person stands where a number, a list or a field's name should."""
    for wrong in ({"age": NAME}, {"photos": PHONE}, {"name": [NAME]}, {"gender": {NAME: PHONE}}, {"patient_id": ""}):
        yield as_json({"patient_id": PATIENT_ID} | PERSON | wrong)
    yield as_json({NAME: PHONE})
    yield as_json({"schema": NAME, "Patient": PERSON})
    yield as_json({"Patient": PERSON | {"patient_id": PATIENT_ID}, "vision_data": {NAME: 1, "left_eye": PHONE}, "screening_time": NAME})
    yield f'{{"patient_id": "{PATIENT_ID}", "{NAME}": 1, "{NAME}": 2}}'.encode()
    yield f"<patient>{NAME} {PHONE}</patient>".encode()
    yield f'{{"name": "{NAME}"}}'.encode("utf-16")


def reviews(settings: Settings) -> Iterator[bytes]:
    """Doctors' words on the cases, the person's name among them; one on no case, one that says nothing."""
    cases = case_ids(settings)
    for message_id in ("m-nested", "m-envelope", "m-flat", "m-broken"):
        yield review(cases[message_id])
    yield as_json({"id": "check-1", "odFundusDisease": f"青光眼,{NAME}", "osFundusDisease": ""})
    yield review("case-of-nobody")
    yield as_json({"case_id": cases["m-nested"], "final_conclusion": "", "doctor_name": [NAME]})


def review(case_id: str) -> bytes:
    """A doctor's word that speaks of the person by name."""
    words = {"final_conclusion": f"{NAME}：高度近视", "doctor_name": "唐医生", "recommendation": f"请{NAME}3个月后复查，电话{PHONE}"}
    return as_json({"case_id": case_id} | words)


def case_ids(settings: Settings) -> dict[str, str]:
    """The cases by the ids of their messages."""
    records = wiring.open_records(settings)
    ever = {"since": datetime(2000, 1, 1, tzinfo=UTC), "until": datetime(2200, 1, 1, tzinfo=UTC)}
    found = {record.case.message_id: record.case.case_id for record in records.case_records(**ever)}
    records.close()
    return found


def trust_a_model(settings: Settings) -> None:
    """A champion in MLflow."""
    registry = wiring.open_registry(settings)
    registry.add_candidate(a_checkpoint(settings.data / "checkpoint"), metrics=GOOD, tags={})
    promote(registry, None, reason="test", by="test")


@contextmanager
def failing(owner: object, name: str, has_trouble: Callable[..., bool]) -> Iterator[None]:
    """Let a function raise an error as other libraries do, which holds the values that it was given."""
    original = getattr(owner, name)

    def fail(*given: object, **named: object) -> object:
        if has_trouble(*given):
            raise OSError(f"{name} failed for {[vars(one) if hasattr(one, '__dict__') else one for one in given]} of {PERSON}")
        return original(*given, **named)

    with patch.object(owner, name, fail):
        yield


@contextmanager
def without_table(database: Path, table: str) -> Iterator[None]:
    """A database that answers every question about one table with an error."""

    def rename(old: str, new: str) -> None:
        with sqlite3.connect(database) as connection:
            connection.execute(f"ALTER TABLE {old} RENAME TO {new}")
        connection.close()

    rename(table, "gone")
    try:
        yield
    finally:
        rename("gone", table)


@contextmanager
def retries_at_once() -> Iterator[None]:
    """Dagster would wait for half a minute between the tries of a step."""
    with patch.object(dg.RetryPolicy, "calculate_delay", lambda _policy, _attempt: 0):
        yield


def as_json(value: object) -> bytes:
    """As the clients write it."""
    return json.dumps(value, ensure_ascii=False).encode()


if __name__ == "__main__":
    main()
