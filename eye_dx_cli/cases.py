"""Commands on cases: review, report."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated
from uuid import uuid4

import typer

from eye_dx_cli.showing import console
from eye_dx_core import wiring
from eye_dx_core.private_files import write_private
from eye_dx_core.reporting.forms import Form, render
from eye_dx_core.reporting.material import Language
from eye_dx_core.schema.review import DoctorReview
from eye_dx_core.settings import get_settings

CaseId = Annotated[str, typer.Argument(help="Case id, as the AI result names it.")]


def review(
    case_id: CaseId,
    conclusion: Annotated[str, typer.Option(help="The doctor's final conclusion.")],
    doctor: Annotated[str, typer.Option(help="The doctor's name as it stands in the report.")],
    recommendation: Annotated[str, typer.Option(help="What the patient should do.")] = "",
) -> None:
    """Record a doctor's review of a case; the report is then written by the next report run."""
    records = wiring.open_records(get_settings())
    try:
        record = records.get_case_record(case_id)
        records.add_review(
            DoctorReview(
                review_id=uuid4().hex,
                case_id=case_id,
                conclusion=conclusion,
                doctor_name=doctor,
                recommendation=recommendation,
                reviewed_at=datetime.now(UTC),
                source="cli",
                ai_conclusion=record.diagnosis.conclusion if record.diagnosis else None,
                ai_model_version=record.diagnosis.model_version if record.diagnosis else None,
            )
        )
    finally:
        records.close()
    console.print(f"review of {case_id} stored")


def report(
    case_id: CaseId,
    to: Annotated[Path | None, typer.Option(help="Write it there, for you only; otherwise it goes to standard output.")] = None,
    kind: Annotated[
        Form | None, typer.Option("--format", help="In which form; without it, the page and the PDF of the case are kept.")
    ] = None,
    lang: Annotated[Language, typer.Option(help="Language of labels and fixed texts; the doctor's words stay as they are.")] = Language.ZH,
) -> None:
    """Write the report of a reviewed case if it has none yet; print where its page lies, or the report itself in a form you name."""
    from eye_dx_core import casework

    settings = get_settings()
    records, outlet = wiring.open_records(settings), wiring.report_outlet(settings)
    try:
        casework.report_case(
            records,
            case_id,
            chat_model=wiring.find_chat_model(settings),
            outlet=outlet,
            now=lambda: datetime.now(UTC),
            instructions=wiring.find_instructions(settings),
        )
        if kind is None and to is None and lang is Language.ZH:
            console.print(outlet.files.address(casework.report_page(case_id)), soft_wrap=True)
            return
        material = casework.material_of(records, records.get_case_record(case_id), photos=outlet.photos)
    finally:
        records.close()
    content = render(material, kind or Form.HTML, tz=outlet.timezone, lang=lang)
    if to is None:
        sys.stdout.buffer.write(content)
    else:
        write_private(to, content)


def register(app: typer.Typer) -> None:
    """Add the commands on cases to the root command."""
    app.command()(review)
    app.command()(report)
