"""The command line: its commands, and those of them that take a few lines.

Modules of commands import what is slow to import when a command runs, so that help and the completion of a shell do not
wait for it.
"""

import asyncio
import json
from typing import Annotated

import typer

from interfaces.cli import certify, copy, doctor, migrate, settings, users
from interfaces.cli.store import open_container
from interfaces.cli.terminal.output import AsJson, print_json

app = typer.Typer(
    help="Keep track of who owns what, and hand ownership over safely.",
    epilog="Settings come from HANDOVER_* in the environment or a .env file.\n\n"
    "Exit codes: 0 done; 1 refused or failed, one line on stderr says why; 2 wrong usage.\n\n"
    "Example: handover serve",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(migrate.app, name="migrate")
app.add_typer(users.app, name="users")


def print_version(is_wanted: bool) -> None:
    """Print the version of the installed package and exit, if that is wanted."""
    from importlib.metadata import version

    if is_wanted:
        print(f"handover {version('handover')}")
        raise typer.Exit


@app.callback()
def before_every_command(
    _version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Name on stderr each line of `.env` that is ignored, and each variable that looks like a setting and is none."""
    from infrastructure.container import ignored_lines, unknown_variables

    for fault in [*ignored_lines(), *unknown_variables()]:
        typer.echo(f"handover: {fault}", err=True)


@app.command(epilog="Example: HANDOVER_PORT=9000 handover serve")
def serve() -> None:
    """Serve the HTTP API until SIGTERM or Ctrl+C.

    SIGTERM drains the server first, Ctrl+C ends it at once; both exit with 0.
    """
    from interfaces.cli.serving.startup import start

    start()


@app.command(epilog="Example: handover purge --json")
def purge(as_json: AsJson = False) -> None:
    """Remove all expired keys, sessions and log-in attempts.

    Print how many were removed. Servers do the same in the background.
    """
    from application.use_cases.purge import PurgeExpired

    async def remove() -> int:
        """Purge the configured store; return how many records were removed."""
        async with open_container() as (_, use_cases):
            purge: PurgeExpired = use_cases[PurgeExpired]
            return (await purge()).total()

    removed = asyncio.run(remove())
    if as_json:
        print_json({"removed": removed})
    else:
        print(f"Removed {removed} keys, sessions, session tokens and log-in attempts that had expired")


app.command(epilog="Example: handover copy sqlite:///handover.db postgresql://ada@db/handover")(copy.copy)
app.command(epilog="Example: handover certify --url lmdb:///empty.lmdb")(certify.certify)
app.command(epilog="Example: handover doctor --json")(doctor.doctor)
app.command(epilog="Example: handover settings --json")(settings.settings)


@app.command(epilog="Example: handover openapi > openapi.json")
def openapi() -> None:
    """Print the API's OpenAPI document. The server answers the same at /openapi.json."""
    from infrastructure.container import build_container, load_settings
    from interfaces.http.app import create_app

    print(json.dumps(create_app(build_container(load_settings())).openapi(), indent=2))
