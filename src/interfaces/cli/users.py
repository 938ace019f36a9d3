"""The commands `handover users ...`, with which operators manage accounts."""

import asyncio
import json
import sys
from typing import Annotated, Any

import structlog
import typer

from application.paging import Position, Window
from application.readers import UserReader
from application.use_cases.users import ActivateUser, CreateUser, DeactivateUser
from domain.user import User
from interfaces.cli.store import open_container

log = structlog.get_logger()

PAGE = 100

app = typer.Typer(help="Create, list, activate and deactivate accounts.", no_args_is_help=True)

Username = Annotated[str, typer.Argument(help="3 to 50 of ASCII letters, digits, '_', '.' and '-'.")]


@app.command(epilog="Example: handover users create ada ada@example.org < file-with-the-password")
def create(username: Username, email: Annotated[str, typer.Argument(help="The user's e-mail address.")]) -> None:
    """Create an account. The password is asked for, or is the first line of stdin if that is piped."""

    async def sign_up() -> User:
        """Create the account, log its id, and return it."""
        async with open_container() as (_, use):
            user: User = await use[CreateUser](email=email, username=username, password=password)
            log.info("account created", user_id=str(user.id))
            return user

    password = _read_password()
    print(_describe(asyncio.run(sign_up())))


@app.command("list", epilog="Example: handover users list --json | jq -r 'select(.is_active) | .email'")
def list_(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line, for scripts.")] = False,
) -> None:
    """List all accounts in the order of their creation, with their e-mail addresses."""

    async def print_all() -> None:
        """Read all accounts in pages and print a line for each."""
        async with open_container() as (_, use):
            users: UserReader = use[UserReader]
            after, more = None, True
            while more:
                page = await users.page(Window(PAGE, after=after, count=False))
                for user in page.items:
                    print(json.dumps(_fields(user), ensure_ascii=False) if as_json else _describe(user))
                    after = Position(user.id, user.id)
                more = page.more

    asyncio.run(print_all())


@app.command(epilog="Example: handover users activate ada")
def activate(username: Username) -> None:
    """Activate an account, so that its user can sign in again."""
    print(_describe(asyncio.run(_change(ActivateUser, username, "account activated"))))


@app.command(epilog="Example: handover users deactivate ada")
def deactivate(username: Username) -> None:
    """Deactivate an account. Its user can do nothing any more, and all their sessions end."""
    print(_describe(asyncio.run(_change(DeactivateUser, username, "account deactivated"))))


async def _change(use_case: type[ActivateUser | DeactivateUser], username: str, event: str) -> User:
    """Run the use case for this user, log the event with the user's id, and return the user as stored afterwards.

    Raise NotFound if there is no such user, Invalid if this cannot be a username.
    """
    async with open_container() as (_, use):
        user: User = await use[use_case](username)
        log.info(event, user_id=str(user.id))
        return user


def _read_password() -> str:
    """Return the password that is typed twice in the terminal; ask again until both are the same.

    If stdin is not a terminal, return its first line without the line end.
    """
    if sys.stdin.isatty():
        password: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
        return password
    return sys.stdin.buffer.readline().decode(errors="surrogateescape").removesuffix("\n").removesuffix("\r")


def _fields(user: User) -> dict[str, Any]:
    """Return the account's fields for JSON."""
    return {
        "id": str(user.id),
        "username": user.username,
        "email": user.email,
        "is_active": user.is_active,
        "created_at": user.created_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    }


def _describe(user: User) -> str:
    """Return one line for a terminal: the account's username, `active` or `inactive`, id and e-mail address."""
    return f"{user.username:20}  {'active' if user.is_active else 'inactive':8}  {user.id}  {user.email}"
