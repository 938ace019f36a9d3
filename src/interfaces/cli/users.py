"""The commands `handover users ...`, with which operators manage accounts."""

import asyncio
import json
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any

import typer

from application.paging import Position, Window
from application.readers import UserReader
from application.use_cases.users import ActivateUser, CreateUser, DeactivateUser
from domain.user import User
from interfaces.cli.store import open_container
from interfaces.cli.terminal.interruption import interruptible
from interfaces.cli.terminal.output import AsJson, print_json, print_rows

PAGE = 100
COLUMNS = {"Username": 20, "State": 8, "Id": 36, "E-mail address": 0}

app = typer.Typer(
    help="Create, list, activate and deactivate accounts.",
    epilog="Example: handover users list",
    no_args_is_help=True,
)

Username = Annotated[str, typer.Argument(help="3 to 50 of ASCII letters, digits, '_', '.' and '-'.")]


@app.command(epilog="Example: handover users create ada ada@example.org < file-with-password")
def create(
    username: Username,
    email: Annotated[str, typer.Argument(help="The user's e-mail address.")],
    as_json: AsJson = False,
) -> None:
    """Create an account.

    The password is asked for, or is the first line of stdin if that is not a terminal.
    """

    async def sign_up() -> User:
        """Create the account, log its id, and return it."""
        async with open_container() as (_, use):
            user: User = await use[CreateUser](email=email, username=username, password=password)
            _log("account created", user)
            return user

    password = _read_password()
    _print(asyncio.run(sign_up()), as_json)


@app.command("list", epilog="Example: handover users list --json | jq -r '.[] | .email'")
def list_(as_json: AsJson = False) -> None:
    """List all accounts in the order of their creation."""
    asyncio.run(_print_all_as_json() if as_json else _print_all())


async def _print_all() -> None:
    """Print all accounts, on a terminal in a table for each 100."""
    async with aclosing(_pages()) as pages:
        async for users in pages:
            print_rows(COLUMNS, map(_row, users))


async def _print_all_as_json() -> None:
    """Print an array of all accounts while they are read. It is not closed if an error ends the command."""
    separator = "[\n"
    async with aclosing(_pages()) as pages:
        async for users in pages:
            for user in users:
                print(separator, json.dumps(_fields(user)), sep="", end="")
                separator = ",\n"
    print("[]" if separator == "[\n" else "\n]")


async def _pages() -> AsyncGenerator[list[User], None]:
    """Yield all accounts in the order of their creation, in lists of PAGE. The store is open until it is closed."""
    async with open_container() as (_, use):
        users: UserReader = use[UserReader]
        after, more = None, True
        while more:
            page = await users.page(Window(PAGE, after=after, count=False))
            if page.items:
                after = Position(page.items[-1].id, page.items[-1].id)
                yield page.items
            more = page.more


@app.command(epilog="Example: handover users activate ada")
def activate(username: Username, as_json: AsJson = False) -> None:
    """Activate an account, so that its user can sign in again."""
    _print(asyncio.run(_change(ActivateUser, username, "account activated")), as_json)


@app.command(epilog="Example: handover users deactivate ada")
def deactivate(username: Username, as_json: AsJson = False) -> None:
    """Deactivate an account, and end all sessions of its user."""
    _print(asyncio.run(_change(DeactivateUser, username, "account deactivated")), as_json)


async def _change(use_case: type[ActivateUser | DeactivateUser], username: str, event: str) -> User:
    """Run the use case for this user, log the event with the user's id, and return the user as stored afterwards.

    Raise NotFound if there is no such user, Invalid if this cannot be a username.
    """
    async with open_container() as (_, use):
        user: User = await use[use_case](username)
        _log(event, user)
        return user


def _log(event: str, user: User) -> None:
    """Log the event with the user's id."""
    import structlog

    structlog.get_logger().info(event, user_id=str(user.id))


def _read_password() -> str:
    """Return the password that is typed twice in the terminal; ask again until both are the same.

    If stdin is not a terminal, return its first line without the line end. Raise Interrupted on Ctrl+C or Ctrl+D, once
    the terminal shows again what is typed.
    """
    if not sys.stdin.isatty():
        return sys.stdin.buffer.readline().decode(errors="surrogateescape").removesuffix("\n").removesuffix("\r")
    with interruptible("no account was created"):
        try:
            password: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
        except typer.Abort:
            raise KeyboardInterrupt from None
        return password


def _print(user: User, as_json: bool) -> None:
    """Print one account, as a row or as JSON."""
    if as_json:
        print_json(_fields(user))
    else:
        print_rows(COLUMNS, [_row(user)])


def _fields(user: User) -> dict[str, Any]:
    """Return the account's fields for JSON."""
    return {
        "id": str(user.id),
        "username": user.username,
        "email": user.email,
        "is_active": user.is_active,
        "created_at": user.created_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    }


def _row(user: User) -> tuple[str, ...]:
    """Return the account's cells, in the order of COLUMNS."""
    return user.username, "active" if user.is_active else "inactive", str(user.id), user.email
