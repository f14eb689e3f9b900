"""Runs the chain from phantoms to delivered reports and shows what came out; exit code 0 when every case is in its place."""

import json
import signal
import subprocess
import sys
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import dagster as dg

from eye_dx_cli.serving import only_daemon, prepare_state
from eye_dx_cli.showing import console
from eye_dx_core import wiring
from eye_dx_core.dataset.phantom_folders import write_phantom_dataset
from eye_dx_core.errors import BadSettings, EyeDxError
from eye_dx_core.queue.port import Message, Queue
from eye_dx_core.records.port import CaseRecord, Records
from eye_dx_core.registry.port import CHAMPION
from eye_dx_core.schema.message import parse_screening
from eye_dx_core.settings import Settings, adopt_environment, child_environment, get_settings
from eye_dx_demo import outcome
from eye_dx_demo.dagster_runs import find_path, follow_run, launch_job, materialize_partition, running_daemon
from eye_dx_demo.desk_visit import DeskVisit, add_doctor, running_desk
from eye_dx_demo.screenings import DemoScreening, draw_screenings, messages_of

_RUN_TIMEOUT, _WAIT_SECONDS = 600, 180


def main() -> int:
    """Run the demo; return the exit code."""
    started = time.monotonic()
    # As Ctrl-C does: the daemon must be stopped on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        settings = get_settings()
        missing = run_demo(settings)
    except EyeDxError as error:
        console.print(f"[red]demo: {error}[/red]")
        return 1
    console.print(f"\nThe demo took {time.monotonic() - started:.0f} s.")
    for line in missing:
        console.print(f"[red]missing: {line}[/red]")
    return 1 if missing else 0


def run_demo(settings: Settings) -> list[str]:
    """Run every step; return what is not in its place at the end."""
    adopt_environment(settings)
    refuse_to_replace_a_real_champion(settings)
    prepare_state(settings)
    tag = f"demo{datetime.now(UTC):%m%d%H%M%S}"
    phantoms = settings.data / "phantoms"
    environment = child_environment(settings) | {"EYE_DX_PHOTOS_DIR": str(phantoms)}

    step(1, "Phantom photographs, sorted into class folders")
    write_phantom_dataset(phantoms)
    console.print(f"  {sum(1 for _ in phantoms.rglob('*.*'))} files under {phantoms}", soft_wrap=True)

    log = settings.dagster_home / "demo-daemon.log"
    queue, records = wiring.open_queue(settings), wiring.open_records(settings)
    try:
        with (
            only_daemon(settings),
            running_daemon(environment, log),
            dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance,
        ):
            step(2, "Training in Dagster: manifest, imbalance report, splits, checkpoint, evaluation, candidate; then promotion")
            follow_run(instance, launch_job("training_job", environment), show=console.print, timeout_seconds=_RUN_TIMEOUT)
            promote_candidate(instance, environment)
            return run_cases(settings, queue, records, environment, instance, tag)
    finally:
        queue.close()
        records.close()


def run_cases(
    settings: Settings, queue: Queue, records: Records, environment: dict[str, str], instance: dg.DagsterInstance, tag: str
) -> list[str]:
    """Steps 3 to 6: publish, wait for sensor-driven runs, review, wait for reports, show."""
    step(3, "Screenings onto the queue, in every wire format; among them a broken photo, a message that is no JSON and a repeat")
    screenings = draw_screenings(settings.data / "incoming", tag=tag, names=settings.queue_names)
    for name in (*settings.queue_names.screening_queues, *settings.queue_names.review_queues, *outcome.result_queues(settings)):
        queue.declare(name)
    sent = messages_of(screenings)
    for name, message in sent:
        queue.publish(name, message)
    console.print(f"  {len(sent)} messages published")

    case_ids = {case_id_of(one): one for one in screenings if one.is_readable}
    with running_desk(environment, settings.dagster_home / "demo-desk.log") as address:
        step(4, "The sensors see them and start runs: drain, diagnose, deliver")
        doctor = add_doctor(tag, environment)
        results = outcome.collect(queue, outcome.ai_queues(settings), set(case_ids), timeout_seconds=_WAIT_SECONDS, show=show_ai_result)

        step(5, "Doctors review, at the desk, by queue and by command line; report runs write and deliver")
        by_command_line, at_desk, *by_queue = case_ids
        with closing(DeskVisit(address, doctor)) as visit:
            visit.review(records.get_case_record(at_desk))
            review_by_command_line(by_command_line, environment)
            review_by_queue(settings, queue, records, by_queue)
            console.print(f"  {len(case_ids)} reviews given: one signed at the desk, one with `eye-dx review`, the others by queue")
            names = outcome.report_queues(settings)
            reports = outcome.collect(queue, names, set(case_ids), timeout_seconds=_WAIT_SECONDS, show=show_report)
            patient_link = visit.make_patient_link(at_desk)

    step(6, "What came out")
    today = f"{datetime.now(ZoneInfo(settings.timezone)):%Y-%m-%d}"
    materialize_partition("daily_diagnosis_report", today, environment)
    found = [records.get_case_record(case_id) for case_id in case_ids if case_id in results]
    outcome.show_cases(settings, found, case_ids)
    dead = outcome.show_dead_letters(queue, {one.message_id for one in screenings if not one.is_readable})
    signed = records.get_case_record(at_desk)
    pdf = find_path(instance, signed.runs.wrote or "", at_desk)
    outcome.show_signed_case(settings, signed, doctor, patient_link, pdf)
    outcome.show_where_to_look(settings, today)
    return outcome.missing(found, case_ids, set(results), set(reports), dead) + outcome.missing_of_desk(settings, signed, pdf)


def step(number: int, title: str) -> None:
    """Say which step begins."""
    console.print(f"\n[bold]{number} · {title}[/bold]")


def refuse_to_replace_a_real_champion(settings: Settings) -> None:
    """A model that learnt from drawings must never take the place of one that reads patients.

    Raises:
        BadSettings: the champion of this installation was not trained on phantoms.
    """
    champion = wiring.open_registry(settings).find_by_alias(CHAMPION)
    if champion is not None and not champion.learnt_from_phantoms:
        raise BadSettings(
            "this installation has a champion trained on real photographs; run the demo elsewhere: EYE_DX_STATE_DIR=/some/folder make demo"
        )


def promote_candidate(instance: dg.DagsterInstance, environment: dict[str, str]) -> None:
    """Make the new candidate the champion, with the reason that promotion asks for."""
    config = {"reason": "demo: first model of this installation, trained on phantoms only", "by": "demo"}
    run_id = launch_job("promotion_job", environment, run_config={"ops": {"promote_version": {"config": config}}})
    follow_run(instance, run_id, show=console.print, timeout_seconds=_RUN_TIMEOUT)


def case_id_of(screening: DemoScreening) -> str:
    """The id that the platform gives this message: it follows from queue and message."""
    return parse_screening(
        screening.body, source_queue=screening.queue, message_id=screening.message_id, received_at=datetime.now(UTC)
    ).case_id


def review_by_queue(settings: Settings, queue: Queue, records: Records, case_ids: list[str]) -> None:
    """Review cases: the partner's by its own queue, the others by ours."""
    for case_id in case_ids:
        record = records.get_case_record(case_id)
        if record.case.external_id is not None:
            queue.publish(settings.queue_names.partner_reviews, Message(body=partner_review(record)))
        else:
            queue.publish(settings.queue_names.reviews, Message(body=our_review(record), message_id=f"review-of-{case_id}"))


def review_by_command_line(case_id: str, environment: dict[str, str]) -> None:
    """Give a review as a doctor without a desk would."""
    command = [str(Path(sys.executable).parent / "eye-dx"), "review", case_id, "--conclusion", "高度近视", "--doctor", "唐医生"]
    subprocess.run([*command, "--recommendation", "3个月后复查，避免剧烈运动"], env=environment, check=True, stdout=subprocess.DEVNULL)


def our_review(record: CaseRecord) -> bytes:
    """A doctor who follows the AI where it has a conclusion, and asks for a new photograph where it has none."""
    has_conclusion = record.diagnosis is not None and record.diagnosis.conclusion is not None
    conclusion = record.diagnosis.conclusion_zh if record.diagnosis is not None and has_conclusion else "照片无法判读，建议重新拍摄"
    review = {
        "case_id": record.case.case_id,
        "final_conclusion": conclusion,
        "doctor_name": "宋医生",
        "recommendation": "请按医嘱到眼科门诊复查",
    }
    return json.dumps(review, ensure_ascii=False).encode()


def partner_review(record: CaseRecord) -> bytes:
    """What the partner's system sends after its doctor confirmed."""
    diseases = {eye: found.conclusion_zh for eye in ("OD", "OS") if record.diagnosis for found in record.diagnosis.eyes if found.eye == eye}
    review = {
        "id": record.case.external_id,
        "odFundusDisease": diseases.get("OD", ""),
        "osFundusDisease": diseases.get("OS", ""),
        "odFundusFeatures": "色素沉着，血管变细",
        "osFundusFeatures": "色素沉着，血管变细",
    }
    return json.dumps(review, ensure_ascii=False).encode()


def show_ai_result(body: dict[str, object]) -> None:
    """One line for a result as its receiver sees it."""
    inner = body.get("body")
    if isinstance(inner, dict):
        confidence = "–" if inner["confidence"] is None else f"{inner['confidence']:.2f}"
        areas = "、".join(inner["abnormal_areas"]) or "–"
        urgency = f"{inner['routing']['urgency']} within {inner['routing']['within_days']} days".replace("_", " ")
        console.print(f"  AI result: {inner['conclusion']}, confidence {confidence}, abnormal areas {areas}; proposed: {urgency}")
    else:
        console.print(f"  AI result for the partner: OD {body['odFundusResult']}  OS {body['osFundusResult']}", soft_wrap=True)


def show_report(body: dict[str, object]) -> None:
    """One line for a report as its receiver sees it."""
    inner = body.get("body")
    if isinstance(inner, dict):
        console.print(f"  report: {inner['report']['conclusion']} ({inner['report']['writer']})")
    else:
        console.print(f"  report for the partner: {str(body['fundusInterpret'])[:60]}…")


if __name__ == "__main__":
    sys.exit(main())
