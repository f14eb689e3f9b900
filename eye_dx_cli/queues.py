"""`eye-dx queue`: send a message, see what waits, see and replay what was set aside, write the contract for partners."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated
from uuid import uuid4

import typer

from eye_dx_cli.showing import console, show_json, show_table
from eye_dx_core import wiring
from eye_dx_core.message_flow import count_depths
from eye_dx_core.queue.asyncapi import build_contract
from eye_dx_core.queue.port import Message
from eye_dx_core.settings import get_settings

app = typer.Typer(help="Send messages, see what waits, replay dead letters.", no_args_is_help=True)


@app.command()
def send(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="JSON file that holds one message.")],
    queue: Annotated[str | None, typer.Option(help="Queue name; default is the screenings queue.")] = None,
    message_id: Annotated[str | None, typer.Option(help="Message id; default is a new one.")] = None,
) -> None:
    """Publish a file as one message; returns when the queue has stored it."""
    settings = get_settings()
    port = wiring.open_queue(settings)
    message = Message(body=file.read_bytes(), message_id=message_id or uuid4().hex, timestamp=datetime.now(UTC))
    try:
        port.publish(queue or settings.queue_names.screenings, message)
    finally:
        port.close()
    console.print(f"sent {message.message_id}")


@app.command()
def depth(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:  # noqa: FBT002 - a command-line flag
    """Show how many messages wait on each queue."""
    settings = get_settings()
    port = wiring.open_queue(settings)
    try:
        depths = count_depths(port, settings.queue_names)
    finally:
        port.close()
    if as_json:
        show_json(depths)
    else:
        show_table("Waiting messages", ("queue", "messages"), depths.items())


@app.command()
def discard(
    reason: Annotated[str, typer.Option(help="Why; it stands in the audit log, so name nobody.")],
    older_than_days: Annotated[int, typer.Option(min=0, help="Only those that were set aside so long ago.")] = 0,
) -> None:
    """Delete dead letters for good, once nobody can mend them."""
    from eye_dx_cli.records import audit_event

    settings, before = get_settings(), datetime.now(UTC) - timedelta(days=older_than_days)
    port, records = wiring.open_queue(settings), wiring.open_records(settings)
    try:
        discarded = port.discard_dead_letters(before=before)
        records.add_audit(audit_event("discard", settings.queue_names.dead, {"messages": discarded, "reason": reason}))
    finally:
        records.close()
        port.close()
    console.print(f"discarded {discarded}")


@app.command()
def dead(
    replay: Annotated[bool, typer.Option("--replay", help="Send them back to the queues they came from.")] = False,  # noqa: FBT002
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,  # noqa: FBT002
) -> None:
    """Show the messages that were set aside, each with its reason; bodies are not shown, they hold patients' data."""
    port = wiring.open_queue(get_settings())
    try:
        if replay:
            console.print(f"replayed {port.replay_dead_letters(limit=limit)}")
            return
        letters = port.dead_letters(limit=limit)
    finally:
        port.close()
    if as_json:
        show_json([one.model_dump(mode="json", exclude={"message": {"body"}}) for one in letters])
        return
    rows = ((one.queue, one.message.message_id, one.reason, f"{one.died_at:%Y-%m-%d %H:%M:%S %Z}") for one in letters)
    show_table("Dead letters", ("queue", "message", "reason", "since"), rows)


@app.command()
def contract(to: Annotated[Path, typer.Option(file_okay=False, help="Folder; created if need be.")] = Path("docs/messages")) -> None:
    """Write the contract for partners: a JSON Schema of every message, and an AsyncAPI document of this installation's queues."""
    to.mkdir(parents=True, exist_ok=True)
    documents = build_contract(get_settings().queue_names)
    for name, document in documents.items():
        (to / name).write_text(json.dumps(document, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    console.print(f"wrote {len(documents)} files")
