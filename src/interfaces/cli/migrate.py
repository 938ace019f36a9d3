"""The commands `handover migrate ...`, for the schema of the store."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Annotated

import typer

from application.store import Schema, Store
from infrastructure.container import load_settings, open_store

app = typer.Typer(
    help="Bring the store's schema to the revision that this version of Handover needs.", no_args_is_help=True
)


@app.command(epilog="Example: handover migrate up")
def up() -> None:
    """Migrate the schema to the newest revision, unless it has that already; print the revision."""
    print(_describe(_with_store(lambda store: store.upgrade())))


@app.command(epilog="Example: handover migrate down")
def down() -> None:
    """Undo the newest revision, with the data that only it can hold, and print which revision is left.

    Nothing happens if there is no revision to undo.
    """
    print(_describe(_with_store(lambda store: store.downgrade())))


@app.command(epilog="Example: handover migrate status --json")
def status(as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False) -> None:
    """Show the revision that the store has and the one that is needed; exit with 1 if they differ."""

    async def change_nothing(_: Store) -> None: ...

    schema = _with_store(change_nothing)
    if as_json:
        print(json.dumps({"found": schema.found, "needed": schema.needed, "is_current": schema.is_current}))
    else:
        print(_describe(schema))
    raise typer.Exit(not schema.is_current)


def _with_store(change: Callable[[Store], Awaitable[None]]) -> Schema:
    """Open the configured store, call `change` with it, and return the state of the schema afterwards.

    Raise Misconfigured if a setting is wrong, Unavailable if the store cannot be used, and what `change` raises.
    """

    async def change_and_look() -> Schema:
        """Open the store, change it, and return the state of its schema; close the store in any case."""
        store = open_store(load_settings())
        await store.open()
        try:
            await change(store)
            return await store.schema()
        finally:
            await store.close()

    return asyncio.run(change_and_look())


def _describe(schema: Schema) -> str:
    """Return a sentence that says whether the schema is current, with its revision, or the one needed if not."""
    if schema.is_current:
        return f"The schema is current: {schema.found or 'there is nothing to migrate'}"
    return f"The schema is not current: {schema.found or 'none'} where {schema.needed} is needed"
