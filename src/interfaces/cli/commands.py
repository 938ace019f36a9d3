"""The commands of the command line, except for those with subcommands."""

import asyncio
import json
from typing import Annotated

import typer

from application.use_cases.purge import PurgeExpired
from infrastructure.container import build_container, load_settings
from interfaces.cli import certify, copy, doctor, migrate, users
from interfaces.cli.store import open_container

app = typer.Typer(
    help="Keep track of who owns what, and hand ownership over safely.",
    epilog="Settings come from HANDOVER_* in the environment or a .env file.\n\n"
    "Exit codes: 0 done; 1 refused or failed, one line on stderr says why; 2 wrong usage.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(migrate.app, name="migrate")
app.add_typer(users.app, name="users")


@app.command(epilog="Example: HANDOVER_PORT=9000 handover serve")
def serve() -> None:
    """Serve the HTTP API until SIGTERM, which drains it, or Ctrl+C, which ends it at once; both exit with 0."""
    from interfaces.cli.serving.startup import start  # noqa: PLC0415 - slow to import

    start()


@app.command(epilog="Example: 0 * * * * handover purge")
def purge() -> None:
    """Remove all idempotency keys, sessions and log-in attempts that have expired, and print how many were removed.

    Servers do the same in the background.
    """

    async def remove() -> int:
        """Purge the configured store; return how many records were removed."""
        async with open_container() as (_, use_cases):
            removed: int = await use_cases[PurgeExpired]()
            return removed

    print(f"Removed {asyncio.run(remove())} keys, sessions, session tokens and log-in attempts that had expired")


app.command(epilog="Example: handover copy sqlite:///handover.db postgresql://handover@localhost/handover")(copy.copy)
app.command(epilog="Example: handover certify --url papyrus:///tmp/empty")(certify.certify)
app.command(epilog="Example: handover doctor --json")(doctor.doctor)


@app.command(epilog="Example: handover settings --json")
def settings(as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False) -> None:
    """Show the value of every setting, with secrets masked."""
    values = load_settings().masked_values()
    if as_json:
        print(json.dumps(values, indent=2))
        return
    width = max(map(len, values))
    for name, value in values.items():
        shown = ",".join(value) if isinstance(value, list) else value
        print(f"{name:{width}}  {'' if shown is None else shown}".rstrip())


@app.command(epilog="Example: handover openapi > openapi.json")
def openapi() -> None:
    """Print the API's OpenAPI document, the same that the server answers."""
    from interfaces.http.app import create_app  # noqa: PLC0415 - as above

    print(json.dumps(create_app(build_container(load_settings())).openapi(), indent=2))
