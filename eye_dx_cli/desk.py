"""`eye-dx desk` and `eye-dx users`: start the review desk, and say who may work there."""

import getpass
import secrets
import subprocess
import sys
from collections.abc import Generator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import Annotated

import typer

from eye_dx_cli.showing import console, show_table
from eye_dx_core import wiring
from eye_dx_core.errors import BadSettings, NotFound
from eye_dx_core.records.accounts import Role, User
from eye_dx_core.records.audit import AuditEvent
from eye_dx_core.records.port import Records
from eye_dx_core.settings import child_environment, get_settings

users_app = typer.Typer(help="Who may log in at the review desk.", no_args_is_help=True)
UserName = Annotated[str, typer.Argument(help="Small letters, digits, . _ -")]
Generate = Annotated[bool, typer.Option("--generate", help="Make a password and print it once, instead of asking for one.")]


def desk_command() -> list[str]:
    """The command of the desk's process."""
    return [sys.executable, "-m", "eye_dx_review"]


def desk() -> None:
    """Start the review desk on this machine; Ctrl-C stops it."""
    settings = get_settings()
    console.print(f"Review desk http://127.0.0.1:{settings.desk_port}   Ctrl-C stops it")
    try:
        raise typer.Exit(subprocess.run(desk_command(), env=child_environment(settings), check=False).returncode)
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


@users_app.command()
def add(
    user_name: UserName,
    display: Annotated[str, typer.Option(help="The name as it stands in reports: 唐医生.")],
    role: Annotated[Role, typer.Option(help="doctor reviews and signs; screener sees the list; auditor reads; admin sees no patient.")],
    generate: Generate = False,  # noqa: FBT002
) -> None:
    """Add a user; the password is asked for twice."""
    from eye_dx_core.reviewing.passwords import hash_password

    hashed = hash_password(_new_password(user_name, generate=generate))
    with _records() as records:
        user = _user(user_name=user_name, display_name=display, role=role, password_hash=hashed, added_at=datetime.now(UTC))
        records.add_user(user, event=_event("add user", user_name, role=role.value))
    console.print(f"{user_name} may log in as {role}")


@users_app.command()
def password(user_name: UserName, generate: Generate = False) -> None:  # noqa: FBT002
    """Give a user a new password; open sessions end."""
    from eye_dx_core.reviewing.passwords import hash_password

    with _records() as records:
        user = _get(records, user_name)
        hashed = hash_password(_new_password(user_name, generate=generate))
        records.change_user(user.model_copy(update={"password_hash": hashed}), event=_event("change password", user_name))
    console.print(f"{user_name} has a new password")


@users_app.command()
def block(user_name: UserName) -> None:
    """Let a user log in no more; open sessions end. What was signed stays."""
    with _records() as records:
        user = _get(records, user_name)
        records.change_user(user.model_copy(update={"is_blocked": True}), event=_event("block user", user_name))
    console.print(f"{user_name} is blocked")


@users_app.command("list")
def list_users() -> None:
    """Who may log in."""
    with _records() as records:
        rows = [(user.user_name, user.display_name, user.role.value, "blocked" if user.is_blocked else "") for user in records.users()]
    show_table("Users", ("user name", "in reports", "role", ""), rows)


@contextmanager
def _records() -> Generator[Records]:
    with closing(wiring.open_records(get_settings())) as records:
        yield records


def _new_password(user_name: str, *, generate: bool) -> str:
    if generate:
        made = secrets.token_urlsafe(12)
        console.print(f"password of {user_name}, shown this once: {made}")
        return made
    first, second = getpass.getpass("Password: "), getpass.getpass("Again: ")
    if first != second:
        raise BadSettings("the two passwords differ")
    return first


def _user(**said: object) -> User:
    try:
        return User.model_validate(said)
    except ValueError:
        raise BadSettings("a user name is 2 to 64 small letters, digits, . _ or -, first a letter; --display has 1 to 64") from None


def _get(records: Records, user_name: str) -> User:
    user = records.find_user(user_name)
    if user is None:
        raise NotFound(f"there is no user {user_name}; `eye-dx users list` shows them")
    return user


def _event(action: str, user_name: str, **details: int | str) -> AuditEvent:
    return AuditEvent(at=datetime.now(UTC), actor=getpass.getuser(), action=action, subject=user_name, details=details)


def register(app: typer.Typer) -> None:
    """Add the commands to the root command."""
    app.command()(desk)
    app.add_typer(users_app, name="users")
