"""Commands on cases: review, report."""

from datetime import UTC, datetime
from typing import Annotated
from uuid import uuid4

import typer

from eye_dx_cli.showing import console, show_json
from eye_dx_core import wiring
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


def report(case_id: CaseId, as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False) -> None:  # noqa: FBT002
    """Write the report of a reviewed case now, or show the one it has; prints where the page lies."""
    from eye_dx_core import casework

    settings = get_settings()
    records = wiring.open_records(settings)
    try:
        written = casework.report_case(
            records,
            case_id,
            chat_model=wiring.find_chat_model(settings),
            outlet=wiring.report_outlet(settings),
            now=lambda: datetime.now(UTC),
            instructions=wiring.find_instructions(settings),
        )
    finally:
        records.close()
    if as_json:
        show_json(written.model_dump(mode="json"))
    else:
        console.print(str(casework.report_page(settings.report_folder, case_id)), soft_wrap=True)


def register(app: typer.Typer) -> None:
    """Add the commands on cases to the root command."""
    app.command()(review)
    app.command()(report)
