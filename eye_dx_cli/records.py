"""`eye-dx records` and `eye-dx vault`: what is kept of persons, who looked at it, and the keys that seal it."""

import getpass
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

import typer

from eye_dx_cli.serving import alone
from eye_dx_cli.showing import console, show_json, show_table
from eye_dx_core import wiring
from eye_dx_core.private_files import write_private
from eye_dx_core.records.audit import AuditEvent, verify_chain
from eye_dx_core.records.port import Records
from eye_dx_core.settings import get_settings

app = typer.Typer(help="The stored records: export, erase, audit.", no_args_is_help=True)
vault_app = typer.Typer(help="The keys that seal the records.", no_args_is_help=True)


@app.command()
def export(
    since: Annotated[datetime, typer.Option(help="First day, local time.")] = datetime(2000, 1, 1),  # noqa: DTZ001 - made local below
    until: Annotated[datetime, typer.Option(help="Day after the last, local time.")] = datetime(2100, 1, 1),  # noqa: DTZ001
    output: Annotated[Path | None, typer.Option(help="File to write; default is standard output.")] = None,
) -> None:
    """Export the records in the exchange shape. The export holds names and phones: handle it as patient data."""
    import json

    from eye_dx_core.records.exporting import export_records

    zone = ZoneInfo(get_settings().timezone)
    with _opened() as records:
        exported = export_records(
            records, since=since.replace(tzinfo=zone), until=until.replace(tzinfo=zone), at=datetime.now(UTC).astimezone(zone)
        )
        records.add_audit(audit_event("export", "records", {"patients": len(exported["patients"])}))
    if output is None:
        show_json(exported)
        return
    write_private(output, json.dumps(exported, ensure_ascii=False, indent=2).encode())
    console.print(f"exported {len(exported['patients'])} patients to {output}")


@app.command()
def erase(
    patient_id: Annotated[str, typer.Argument(help="The patient's id, as screenings name it.")],
    reason: Annotated[str, typer.Option(help="Why; it stands in the audit log, so name nobody.")],
    with_photos: Annotated[bool, typer.Option("--with-photos", help="Delete the photographs too, wherever they lie.")] = False,  # noqa: FBT002
) -> None:
    """Erase a patient: identity, screenings, messages, diagnoses, reviews, reports and pages. There is no way back but a backup."""
    from eye_dx_core import retention

    settings = get_settings()
    with _opened() as records:
        erased = retention.erase_patient(
            records,
            patient_id,
            shelves=wiring.shelves(settings),
            with_photos=with_photos,
            actor=_actor(),
            reason=reason,
            at=datetime.now(UTC),
        )
    console.print(f"erased {erased.cases} cases, {erased.photos} photographs; {erased.photos_left} photographs left where they lie")


@app.command()
def message(
    case_id: Annotated[str, typer.Argument(help="Case id.")],
    output: Annotated[Path, typer.Option(help="File to write the message to, as it came; it holds patient data.")],
) -> None:
    """Write the message of a case to a file, byte for byte as it came; `eye-dx queue send` sends it again."""
    with _opened() as records:
        raw = records.get_raw_message(case_id)
        records.add_audit(audit_event("read_message", case_id, {}))
    write_private(output, raw)
    console.print(f"wrote {len(raw)} bytes to {output}")


@app.command()
def rearm() -> None:
    """Let cases be tried again that failed too often, after what made them fail is mended."""
    with _opened() as records:
        cases = records.rearm_stuck()
        records.add_audit(audit_event("rearm", "records", {"cases": cases}))
    console.print(f"{cases} cases will be tried again")


@app.command()
def audit(
    verify: Annotated[bool, typer.Option("--verify", help="Check the chain of hashes; exit code 1 when an entry was changed.")] = False,  # noqa: FBT002
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,  # noqa: FBT002
) -> None:
    """Show who did what to the records, or check that nobody changed what stands there."""
    with _opened() as records:
        if verify:
            count, last_hash = verify_chain(records.audit())
            console.print(f"{count} entries, unbroken; last hash {last_hash}", soft_wrap=True)
            return
        entries = list(records.audit())
    if as_json:
        show_json([entry.model_dump(mode="json") for entry in entries])
        return
    rows = ((one.position, f"{one.at:%Y-%m-%d %H:%M:%S %Z}", one.actor, one.action, one.subject, one.details) for one in entries)
    show_table("Audit log", ("", "when", "who", "what", "of", "details"), rows)


@vault_app.command("new-key")
def new_key() -> None:
    """Print a new key, for EYE_DX_VAULT_KEYS."""
    from eye_dx_core import vault

    console.out(vault.new_key(), highlight=False)


@vault_app.command()
def rotate() -> None:
    """Seal everything with a new key; the old keys stay until `forget-old-keys`. Nothing else may run meanwhile."""
    from eye_dx_core import rotation

    settings = get_settings()
    with alone(settings):
        resealed = rotation.rotate_key(settings, event=audit_event("rotate_key", "vault", {}))
    console.print(
        f"{resealed} contents sealed with the new key. Keep a copy of it elsewhere, and restart everything that uses the records."
    )
    console.print("Then `eye-dx vault forget-old-keys`; backups made before need the old keys.")


@vault_app.command()
def forget_old_keys() -> None:
    """Drop all keys but the first, after a rotation and a restart of everything. Backups made before need them: keep a copy."""
    from eye_dx_core import rotation

    settings = get_settings()
    with alone(settings):
        rotation.forget_old_keys(settings, event=audit_event("forget_old_keys", "vault", {}))
    console.print("the first key is the only one now")


@contextmanager
def _opened() -> Generator[Records]:
    records = wiring.open_records(get_settings())
    try:
        yield records
    finally:
        records.close()


def audit_event(action: str, subject: str, details: dict[str, int | str]) -> AuditEvent:
    """What whoever sits at this terminal does now."""
    return AuditEvent(at=datetime.now(UTC), actor=_actor(), action=action, subject=subject, details=details)


def _actor() -> str:
    return f"{getpass.getuser()} (command line)"
