"""Accounts, from the command line: what is for operators, and so has no route."""

import asyncio
import json
import sys
from typing import Annotated, Any

import structlog
import typer

from application.paging import Position, Window
from application.readers import UserReader
from application.users import ActivateUser, CreateUser, DeactivateUser
from domain.user import User
from interfaces.cli.store import opened

log = structlog.get_logger()

PAGE = 100

app = typer.Typer(help="Create, list, activate and deactivate accounts.", no_args_is_help=True)

Username = Annotated[str, typer.Argument(help="3 to 50 of ASCII letters, digits, '_', '.' and '-'.")]


@app.command(epilog="Example: handover users create ada ada@example.org < file-with-the-password")
def create(username: Username, email: Annotated[str, typer.Argument(help="Their e-mail address.")]) -> None:
    """Sign somebody up; the password is asked for, or is the first line of what is piped in."""

    async def sign_up() -> User:
        async with opened() as (_, use):
            user: User = await use[CreateUser](email=email, username=username, password=password)
            log.info("account created", user_id=str(user.id))
            return user

    password = _password()
    print(_said(asyncio.run(sign_up())))


@app.command("list", epilog="Example: handover users list --json | jq -r 'select(.is_active) | .email'")
def list_(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line, for scripts.")] = False,
) -> None:
    """Show all accounts in the order of their creation, e-mail addresses included."""

    async def show() -> None:
        async with opened() as (_, use):
            users: UserReader = use[UserReader]
            after, more = None, True
            while more:
                page = await users.page(Window(PAGE, after=after, count=False))
                for user in page.items:
                    print(json.dumps(_fields(user), ensure_ascii=False) if as_json else _said(user))
                    after = Position(user.id, user.id)
                more = page.more

    asyncio.run(show())


@app.command(epilog="Example: handover users activate ada")
def activate(username: Username) -> None:
    """Let somebody act again who was deactivated; they sign in anew."""
    print(_said(asyncio.run(_change(ActivateUser, username, "account activated"))))


@app.command(epilog="Example: handover users deactivate ada")
def deactivate(username: Username) -> None:
    """Let somebody act no longer, from this moment on; all their sessions end."""
    print(_said(asyncio.run(_change(DeactivateUser, username, "account deactivated"))))


async def _change(use_case: type[ActivateUser | DeactivateUser], username: str, event: str) -> User:
    async with opened() as (_, use):
        user: User = await use[use_case](username)
        log.info(event, user_id=str(user.id))
        return user


def _password() -> str:
    if sys.stdin.isatty():
        password: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
        return password
    return sys.stdin.buffer.readline().decode(errors="surrogateescape").removesuffix("\n").removesuffix("\r")


def _fields(user: User) -> dict[str, Any]:
    return {
        "id": str(user.id),
        "username": user.username,
        "email": user.email,
        "is_active": user.is_active,
        "created_at": user.created_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    }


def _said(user: User) -> str:
    return f"{user.username:20}  {'active' if user.is_active else 'inactive':8}  {user.id}  {user.email}"
