"""The commands `handover migrate ...`, for the schema of the store."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Annotated

import typer

from application.errors import Unavailable
from application.store import Schema, Store
from interfaces.cli.store import check_file_exists, naming_adapter
from interfaces.cli.terminal.output import AsJson, print_json

app = typer.Typer(
    help="Change or show the revision of the store's schema.",
    epilog="Example: handover migrate up",
    no_args_is_help=True,
)


@app.command(epilog="Example: handover migrate up")
def up(as_json: AsJson = False) -> None:
    """Migrate the schema to the newest revision, and print it.

    Nothing happens if the schema has that revision already.
    """

    async def migrate(store: Store) -> None:
        """Migrate to the newest revision; raise Unavailable if the store has a newer one."""
        _check_known(await store.schema())
        await store.upgrade()

    _print(_with_store(migrate), as_json)


@app.command(epilog="Example: handover migrate down")
def down(
    remove_everything: Annotated[
        bool, typer.Option("--remove-everything", help="Undo the first revision, too, with all data.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Undo the newest revision, with the data that only it can hold.

    Print which revision is left. Undoing the first one removes all data, and is refused without --remove-everything.
    Nothing happens if there is no revision to undo.
    """

    undone: str | None = None

    async def undo(store: Store) -> None:
        """Undo the newest revision, if there is one.

        Raise Misconfigured if it is the first one and that was not asked for, Unavailable if this version does not
        know it.
        """
        from infrastructure.container import Misconfigured

        nonlocal undone
        schema = await store.schema()
        _check_known(schema)
        found = schema.found
        if found is None:
            return
        if found.isdecimal() and int(found) == 1 and not remove_everything:
            raise Misconfigured(
                f"the revision {found} is the first one, and undoing it removes all data: if you mean that, run"
                " `handover migrate down --remove-everything`"
            )
        await store.downgrade()
        undone = found

    schema = _with_store(undo, creates=False)
    if as_json:
        _print(schema, as_json)
    elif undone is None:
        print("There is no revision to undo.")
    else:
        print(f"Undone: {undone}. The schema is now {schema.found or 'none'}.")


@app.command(epilog="Example: handover migrate status --json")
def status(as_json: AsJson = False) -> None:
    """Show the store's revision; exit with 1 if another is needed."""

    async def change_nothing(_: Store) -> None: ...

    schema = _with_store(change_nothing, creates=False)
    _print(schema, as_json)
    raise typer.Exit(not schema.is_current)


def _with_store(change: Callable[[Store], Awaitable[None]], *, creates: bool = True) -> Schema:
    """Open the configured store, call `change` with it, and return the state of the schema afterwards.

    A SQLite file that does not exist is created only if `creates` is true. Otherwise that raises Misconfigured, as a
    wrong setting does. Raise Unavailable if the store cannot be used, and what `change` raises.
    """

    from infrastructure.container import load_settings, open_store

    settings = load_settings()

    async def change_and_look() -> Schema:
        """Open the store, change it, and return the state of its schema; close the store in any case."""
        store = open_store(settings)
        if not creates:
            check_file_exists(settings)
        await store.open()
        try:
            await change(store)
            return await store.schema()
        finally:
            await store.close()

    with naming_adapter(settings):
        return asyncio.run(change_and_look())


def _check_known(schema: Schema) -> None:
    """Raise Unavailable if a newer version of Handover has migrated the store."""
    if schema.is_newer:
        raise Unavailable(f"the store's schema is {schema.found}, and {schema.needed} is needed: {schema.remedy}")


def _print(schema: Schema, as_json: bool) -> None:
    """Print whether the schema is current, with its revision and the one needed, in a sentence or as JSON."""
    if as_json:
        print_json({**asdict(schema), "is_current": schema.is_current})
    elif schema.is_current:
        print(f"The schema is current: {schema.found or 'there is nothing to migrate'}")
    else:
        print(f"The schema is not current: {schema.found or 'none'} where {schema.needed} is needed: {schema.remedy}")
