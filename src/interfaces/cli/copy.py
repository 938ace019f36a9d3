"""The command `handover copy`, which moves a whole store to another engine."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from application.errors import Unavailable
from application.store import Store
from application.use_cases.copy_store import CopyStore
from domain.user import User
from interfaces.cli.store import check_durable, check_file_exists, naming, naming_adapter
from interfaces.cli.terminal.interruption import interruptible
from interfaces.cli.terminal.output import AsJson, print_json
from interfaces.cli.terminal.progress import progress

if TYPE_CHECKING:
    from infrastructure.container import Settings

SOURCE = {"HANDOVER_DATABASE_URL": "SOURCE_URL", "HANDOVER_PERSISTENCE": "--source-adapter"}
TARGET = {"HANDOVER_DATABASE_URL": "TARGET_URL", "HANDOVER_PERSISTENCE": "--target-adapter"}
"""The arguments for the source and for the target, as naming() takes them."""


def copy(
    source_url: Annotated[str, typer.Argument(help="The URL of the store to copy.")],
    target_url: Annotated[str, typer.Argument(help="The URL of an empty store, or of an unfinished copy.")],
    source_adapter: Annotated[str, typer.Option(help="The source's adapter; by default that of its URL.")] = "",
    target_adapter: Annotated[str, typer.Option(help="The target's adapter; by default that of its URL.")] = "",
    as_json: AsJson = False,
) -> None:
    """Copy a whole store to another one, and verify the copy.

    The two may have different engines. An interrupted copy is continued by the same command. Stop the servers of the
    source first: if it changes meanwhile, that is noticed at the end, and the command fails.
    """
    from infrastructure.container import Misconfigured, load_settings

    with naming(**SOURCE):
        source = load_settings(database_url=source_url, persistence=source_adapter)
    with naming(**TARGET):
        target = load_settings(database_url=target_url, persistence=target_adapter)
    if source.location == target.location:
        raise Misconfigured(f"the source and the target are the same store, {source.masked_url}: name another target")
    with interruptible("repeat the command to continue the copy"):
        counts = asyncio.run(_copy(source, target))
    if as_json:
        print_json({"copied": counts, "verified": True})
        return
    for name, count in counts.items():
        print(f"{name + ':':18} {count:>10,}")
    print("Copied and verified.")


async def _copy(source: "Settings", target: "Settings") -> dict[str, int]:
    """Copy the source to the target and verify the copy; return the number of records of each kind.

    The target is migrated first if it has no schema, or an older one and no users. Raise Misconfigured if the source
    is a SQLite file that does not exist. Raise Unavailable if a store cannot be used, if the source's schema is not
    current, or if the target's is not current then. Raise CopyRefused if the target has anything
    but an unfinished copy of this source, or if the copy differs from the source. Report progress to stderr.
    """
    with naming(**SOURCE):
        check_file_exists(source)
    async with _opened(source, SOURCE) as from_store, _opened(target, TARGET) as to_store:
        schema = await from_store.schema()
        if not schema.is_current:
            raise Unavailable(
                f"the schema of {source.masked_url} is {schema.found or 'missing'}, and {schema.needed} is needed:"
                f" {schema.remedy}{'' if schema.is_newer else ' on it'}"
            )
        # A copy that was killed while it migrated the target has left an older schema, and no users.
        schema = await to_store.schema()
        if schema.found is None or not (schema.is_newer or await to_store.stream.count(User)):
            await to_store.upgrade()
        if not (schema := await to_store.schema()).is_current:
            raise Unavailable(
                f"the schema of {target.masked_url} is {schema.found}, not {schema.needed}: name an empty store"
            )
        with progress() as report:
            return await CopyStore(from_store, to_store, report)(source.location)


@asynccontextmanager
async def _opened(settings: "Settings", names: dict[str, str]) -> AsyncIterator[Store]:
    """Yield a store that is open inside the block. `names` are the arguments of naming() while it is opened.

    Raise Misconfigured if its data do not outlive the command, Unavailable if it cannot be used.
    """
    from infrastructure.container import open_store

    with naming(**names), naming_adapter(settings):
        store = open_store(settings)
        check_durable(settings, store)
        await store.open()
    try:
        with naming_adapter(settings):
            await store.schema()  # a broken adapter is noticed here, and not in the middle of the copy
        yield store
    finally:
        await store.close()
