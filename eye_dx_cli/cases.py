"""Commands on cases: review, report, export."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated
from uuid import uuid4
from zoneinfo import ZoneInfo

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
        )
    finally:
        records.close()
    if as_json:
        show_json(written.model_dump(mode="json"))
    else:
        console.print(str(casework.report_page(settings.report_folder, case_id)), soft_wrap=True)


def export(
    since: Annotated[datetime, typer.Option(help="First day, local time.")] = datetime(2000, 1, 1),  # noqa: DTZ001 - made local below
    until: Annotated[datetime, typer.Option(help="Day after the last, local time.")] = datetime(2100, 1, 1),  # noqa: DTZ001
    output: Annotated[Path | None, typer.Option(help="File to write; default is standard output.")] = None,
) -> None:
    """Export the records in the exchange shape. The export holds names and phones: handle it as patient data."""
    import json

    from eye_dx_core.records.exporting import export_records

    settings = get_settings()
    zone = ZoneInfo(settings.timezone)
    records = wiring.open_records(settings)
    try:
        exported = export_records(
            records, since=since.replace(tzinfo=zone), until=until.replace(tzinfo=zone), at=datetime.now(UTC).astimezone(zone)
        )
    finally:
        records.close()
    if output is None:
        show_json(exported)
        return
    output.write_text(json.dumps(exported, ensure_ascii=False, indent=2), encoding="utf-8")
    console.print(f"exported {len(exported['patients'])} patients to {output}")


def register(app: typer.Typer) -> None:
    """Add the commands on cases to the root command."""
    app.command()(review)
    app.command()(report)
    records_app = typer.Typer(help="The stored records.", no_args_is_help=True)
    records_app.command(name="export")(export)
    # A callback keeps the group a group although it has one command.
    records_app.callback()(lambda: None)
    app.add_typer(records_app, name="records")
