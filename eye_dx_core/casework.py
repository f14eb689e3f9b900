"""What is done to waiting cases: reading them and writing their reports, each stored with the message that announces it."""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from eye_dx_core.errors import BadPhoto, ChatModelUnavailable, EyeDxError, FilesUnavailable, NotFound, ServiceUnavailable
from eye_dx_core.files.port import FileStore
from eye_dx_core.logs import working_on
from eye_dx_core.queue.announcing import announce_diagnosis, announce_report
from eye_dx_core.queue.topology import QueueNames
from eye_dx_core.records.audit import AuditEvent
from eye_dx_core.records.port import CaseRecord, Records
from eye_dx_core.reporting.language_model.port import ChatModel
from eye_dx_core.reporting.language_model.prompt import SHIPPED_INSTRUCTIONS, Instructions
from eye_dx_core.reporting.material import ReportMaterial, ReportPicture
from eye_dx_core.reporting.rendering import render_html
from eye_dx_core.reporting.viewing import build_view
from eye_dx_core.reporting.writing import UNAVAILABLE, write_report
from eye_dx_core.routing.rules import RoutingRules, shipped_rules
from eye_dx_core.schema.case import Case
from eye_dx_core.schema.diagnosis import AiDiagnosis
from eye_dx_core.schema.outgoing import NotAssessed
from eye_dx_core.schema.picture import PictureGap
from eye_dx_core.schema.report import DiagnosisReport
from eye_dx_core.schema.review import Addendum

if TYPE_CHECKING:  # torch is for those who read photographs; writing a report must not load it
    from eye_dx_core.inference.intake import PhotoIntake
    from eye_dx_core.inference.predictor import Predictor

_log = logging.getLogger(__name__)
Clock = Callable[[], datetime]
PICTURE_SIDE = 480
"""Of a photograph in a report, in pixels: 290 dots per inch on paper."""
_GAPS = {"deleted": PictureGap.DELETED, "missing": PictureGap.UNAVAILABLE, "forbidden": PictureGap.UNAVAILABLE}


@dataclass(frozen=True)
class DiagnosisOutlet:
    """How AI results go out: to the queues of `names`, with what was not assessed told by `not_assessed`, and urgency by `rules`.

    `run_id` names the orchestrator's run that does it.
    """

    names: QueueNames
    not_assessed: NotAssessed = NotAssessed.NULL
    rules: RoutingRules = field(default_factory=shipped_rules)
    run_id: str | None = None


@dataclass(frozen=True)
class ReportOutlet:
    """Where reports go: pages and PDFs into `files`, with dates in `timezone`, announcements to the queues of `names`.

    Their pictures come by `photos`; without it, the pages say that there are none. `run_id` names the orchestrator's run that does it.
    """

    files: FileStore
    timezone: ZoneInfo
    names: QueueNames
    photos: "PhotoIntake | None" = None
    run_id: str | None = None


def diagnose_waiting(
    records: Records,
    predictor: "Predictor",
    photos: "PhotoIntake",
    *,
    outlet: DiagnosisOutlet,
    limit: int,
    micro_batch: int,
    lease_seconds: float,
    now: Clock,
) -> tuple[AiDiagnosis, ...]:
    """Read waiting cases in micro-batches and store each diagnosis with its outbox row; return the new diagnoses.

    A claim keeps two runs from reading one case; it lapses by itself when this process dies. A case that fails is
    left to its lease and its attempt count while the others go on, and the failure is raised at the end. One whose photographs
    cannot be fetched now comes again after the lease, for as long as it takes.
    """
    done: list[AiDiagnosis] = []
    failed: dict[str, Exception] = {}
    announce = partial(announce_diagnosis, names=outlet.names, not_assessed=outlet.not_assessed)
    photos.get_ready()  # before the first claim: should this process be killed while others start, no case has lost an attempt
    while len(done) + len(failed) < limit:
        cases = records.claim_undiagnosed(limit=min(micro_batch, limit - len(done) - len(failed)), lease_seconds=lease_seconds)
        if not cases:
            break
        for case, diagnosis in read_together_or_alone(cases, predictor, photos, now, failed, rules=outlet.rules):
            if records.add_diagnosis(diagnosis, [announce(case, diagnosis, now=now())], run_id=outlet.run_id):
                done.append(diagnosis)
    for case_id, error in failed.items():
        if isinstance(error, ServiceUnavailable):
            records.release_case(case_id, after_seconds=lease_seconds)
    if failed:
        raise EyeDxError(f"{len(failed)} of {len(failed) + len(done)} cases could not be read: {', '.join(failed)}")
    return tuple(done)


def read_together_or_alone(
    cases: Sequence[Case],
    predictor: "Predictor",
    photos: "PhotoIntake",
    now: Clock,
    failed: dict[str, Exception],
    *,
    rules: RoutingRules,
) -> Iterable[tuple[Case, AiDiagnosis]]:
    """Read a batch; if that fails, case by case, so that one bad case never takes its batch along."""
    from eye_dx_core.inference.diagnosing import diagnose_cases

    try:
        return list(zip(cases, diagnose_cases(cases, predictor, photos=photos, now=now(), rules=rules), strict=True))
    except Exception as error:  # noqa: BLE001 - whatever it was, the other cases must still be read
        # The class only: a library's own text may hold a path, and a path may hold a name.
        _log.warning("reading %s cases together failed (%s); reading them one by one", len(cases), type(error).__name__)
    read: list[tuple[Case, AiDiagnosis]] = []
    for case in cases:
        with working_on(case_id=case.case_id):
            try:
                read.append((case, diagnose_cases([case], predictor, photos=photos, now=now(), rules=rules)[0]))
            except Exception as error:  # noqa: BLE001 - counted, named and raised by the caller
                _log.error("%s could not be read (%s)", case.case_id, type(error).__name__)
                failed[case.case_id] = error
    return read


def report_waiting(
    records: Records,
    chat_model: ChatModel | None,
    *,
    outlet: ReportOutlet,
    limit: int,
    lease_seconds: float,
    now: Clock,
    is_last_try: bool = False,
    instructions: Instructions = SHIPPED_INSTRUCTIONS,
) -> tuple[DiagnosisReport, ...]:
    """Write the reports of reviewed cases, one by one, each stored with its outbox row; return the new reports.

    When the language model does not answer, the case is given back and the error raised for a later try. On the last try
    the template writes instead, for this and all further cases, and the report says so in `fallback_reason`. One whose page has
    no place now comes again after the lease, for as long as it takes, while the others go on; that is raised at the end.

    Raises:
        ChatModelUnavailable: the language model does not answer, and this is not the last try.
        FilesUnavailable: a page has no place now, or none has.
        ServiceUnavailable: the records do not answer.
    """
    done: list[DiagnosisReport] = []
    failed: dict[str, FilesUnavailable] = {}
    fallback_reason: str | None = None
    outlet.files.check()  # before a language model is asked, and paid, for words that have no place
    write = partial(report_case, records, outlet=outlet, now=now, instructions=instructions)
    while len(done) + len(failed) < limit:
        claimed = records.claim_unreported(limit=1, lease_seconds=lease_seconds)
        if not claimed:
            break
        case_id = claimed[0].case_id
        with working_on(case_id=case_id):
            try:
                done.append(write(case_id, chat_model=chat_model, fallback_reason=fallback_reason))
            except ChatModelUnavailable as error:
                if not is_last_try:
                    records.release_case(case_id)
                    raise
                _log.warning("the language model did not answer (%s); the template writes", type(error).__name__)
                chat_model, fallback_reason = None, UNAVAILABLE
                records.release_case(case_id)
            except FilesUnavailable as error:
                records.release_case(case_id, after_seconds=lease_seconds)
                failed[case_id] = error
                outlet.files.check()  # no other page has a place either
    if failed:
        reason = "; ".join(sorted({str(error) for error in failed.values()}))
        raise FilesUnavailable(f"{len(failed)} of {len(failed) + len(done)} reports have no place ({reason}): {', '.join(failed)}")
    return tuple(done)


def report_case(
    records: Records,
    case_id: str,
    *,
    chat_model: ChatModel | None,
    outlet: ReportOutlet,
    now: Clock,
    fallback_reason: str | None = None,
    instructions: Instructions = SHIPPED_INSTRUCTIONS,
) -> DiagnosisReport:
    """Write and store the report of one reviewed case; a case that has one keeps it.

    `fallback_reason` says why the template writes where a language model is configured.

    Raises:
        NotFound: the case does not exist, or has no diagnosis or no review yet.
    """
    record = records.get_case_record(case_id)
    if record.diagnosis is None or record.review is None:
        missing = "AI diagnosis" if record.diagnosis is None else "doctor's review"
        raise NotFound(f"{case_id} has no {missing} yet, so no report can be written")
    report = record.report or write_report(
        record.case,
        record.diagnosis,
        record.review,
        chat_model=chat_model,
        now=now(),
        fallback_reason=fallback_reason,
        instructions=instructions,
    )
    # The page first: if we die in between, the row is missing and the page is written again with the same content.
    save_report_page(material_of(records, record.model_copy(update={"report": report}), photos=outlet.photos), outlet)
    message = announce_report(record.case, record.diagnosis, report, names=outlet.names, now=now())
    is_new = records.add_report(report, [message], run_id=outlet.run_id)
    if not is_new and records.find_report(case_id) is None:
        # Erased while it was written: the page tells of a person whom nobody may know any more.
        delete_report_files(outlet.files, case_id)
        raise NotFound(f"{case_id} was erased while its report was written")
    return report


def add_addendum(records: Records, addendum: Addendum, *, outlet: ReportOutlet, event: AuditEvent, now: Clock) -> None:
    """Add to a signed case, send it out, and make page and PDF anew; the signed review stays as it was.

    Raises:
        NotFound: the case has no report yet.
        FilesUnavailable: the page has no place now; nothing was stored or sent.
    """
    case_id = addendum.case_id
    record, known = records.get_case_record(case_id), records.addenda(case_id)
    if record.diagnosis is None or record.report is None:
        raise NotFound(f"{case_id} has no report yet")
    material = replace(material_of(records, record, photos=outlet.photos), addenda=(*known, addendum))
    try:
        # The page first, as for a report: a doctor who is told that it failed adds the same again, and it must not stand there twice.
        save_report_page(material, outlet)
        message = announce_report(record.case, record.diagnosis, record.report, names=outlet.names, now=now(), addenda=material.addenda)
        records.add_addendum(addendum, [message], event=event)
    except NotFound:
        delete_report_files(outlet.files, case_id)  # erased meanwhile
        raise
    except Exception:
        _show_what_is_stored(records, material, outlet, known=known)
        raise
    _show_what_is_stored(records, material, outlet, known=material.addenda)  # somebody else may have added something meanwhile


def _show_what_is_stored(records: Records, material: ReportMaterial, outlet: ReportOutlet, *, known: tuple[Addendum, ...]) -> None:
    """Make a page anew that shows other addenda than are stored; those known count while the records are away.

    What fails is only logged: whether the addendum is stored is what its doctor must be told.
    """
    case_id = material.case.case_id
    try:
        try:
            stored = records.addenda(case_id)
        except ServiceUnavailable:
            stored = known
        if stored != material.addenda:
            save_report_page(replace(material, addenda=stored), outlet)
    except Exception as error:  # noqa: BLE001 - whatever it was
        _log.error("the page of %s shows other addenda than are stored (%s): eye-dx report makes it anew", case_id, type(error).__name__)


def material_of(records: Records, record: CaseRecord, *, photos: "PhotoIntake | None") -> ReportMaterial:
    """What a report of a case tells of, with its photographs as far as they can be had now.

    Raises:
        NotFound: the case has no diagnosis yet.
    """
    if record.diagnosis is None:
        raise NotFound(f"{record.case.case_id} has no AI diagnosis yet")
    return ReportMaterial(
        case=record.case,
        diagnosis=record.diagnosis,
        review=record.review,
        report=record.report,
        addenda=records.addenda(record.case.case_id),
        pictures=_pictures(record.case, record.diagnosis, photos) if photos else {},
    )


def _pictures(case: Case, diagnosis: AiDiagnosis, photos: "PhotoIntake") -> dict[str, ReportPicture | PictureGap]:
    """By photo id. Whatever is wrong with a photograph, the report does not wait for it."""
    from eye_dx_core.inference.pictures import evidence_on_grey, picture_of

    predictions = {one.photo_id: one for eye in diagnosis.eyes for one in eye.photos}
    pictures: dict[str, ReportPicture | PictureGap] = {}
    for photo in case.screening.photos:
        try:
            picture = picture_of(photo.location, predictions.get(photo.photo_id), photos, side=PICTURE_SIDE)
            pictures[photo.photo_id] = ReportPicture(picture.photo_jpeg, evidence_on_grey(picture))
        except BadPhoto as error:
            pictures[photo.photo_id] = _GAPS.get(error.reason, PictureGap.UNREADABLE)
        except ServiceUnavailable:
            pictures[photo.photo_id] = PictureGap.UNAVAILABLE
    return pictures


def report_page(case_id: str) -> str:
    """Name of the delivered page of a case."""
    return f"reports/{case_id}.html"


def report_pdf(case_id: str) -> str:
    """Name of the same as PDF."""
    return f"reports/{case_id}.pdf"


def delete_report_files(files: FileStore, case_id: str) -> None:
    """Delete all that lies of a case's report, half written or whole."""
    for name in (report_page(case_id), report_pdf(case_id)):
        files.delete(name)


def save_report_page(material: ReportMaterial, outlet: ReportOutlet) -> None:
    """Render the page that the patient gets and the PDF beside it; the only files that hold the patient's name."""
    from eye_dx_core.reporting.pdf import render_pdf

    view, case_id = build_view(material, tz=outlet.timezone), material.case.case_id
    for name, content in ((report_pdf(case_id), render_pdf(view)), (report_page(case_id), render_html(view).encode())):
        outlet.files.write(name, content)
