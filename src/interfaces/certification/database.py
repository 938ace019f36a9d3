"""A database that contract tests use."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from application.store import Store

if TYPE_CHECKING:  # tests of the use cases run where pydantic is not installed
    from infrastructure.container import Settings


OpenStore = Callable[["Settings"], Store]
"""The entry point of an adapter."""


@dataclass(slots=True)
class Database:
    """A database and an open store on it, which empty() and reopen() may replace by another one."""

    settings: "Settings"
    store: Store
    adapter: OpenStore
    remove_all: Callable[["Database"], Awaitable[None]]

    async def empty(self) -> None:
        """Remove all records with the function `remove_all`, which may call reopen()."""
        await self.remove_all(self)

    async def reopen(self) -> None:
        """Close the store and open another one with the same settings."""
        async with self.closed():
            pass

    @asynccontextmanager
    async def closed(self) -> AsyncIterator[None]:
        """Close the store for the time of the block, and open another one with the same settings at its end."""
        await self.store.close()
        try:
            yield
        finally:
            self.store = self.adapter(self.settings)
            await self.store.open()


@asynccontextmanager
async def opened(
    settings: "Settings", adapter: OpenStore, remove_all: Callable[[Database], Awaitable[None]]
) -> AsyncIterator[Database]:
    """Open a store with the adapter and yield it as a database; close the database's store at the end of the block.

    `remove_all` is what Database.empty() calls. Nothing is migrated.
    """
    store = adapter(settings)
    await store.open()
    database = Database(settings, store, adapter, remove_all)
    try:
        yield database
    finally:
        await database.store.close()


NewDatabase = Callable[[], AbstractAsyncContextManager[Database]]
"""Opens an empty database without a schema."""


async def remove_schema(store: Store) -> None:
    """Undo all migrations of the store, and so remove all its data, also if it is one that needs no schema.

    End the whole run if that does not go on, because every test needs a database that is empty.
    """
    before = (await store.schema()).found
    await store.downgrade()
    while (found := (await store.schema()).found) is not None:
        if found == before:
            pytest.exit(f"downgrade() has left the revision {found} as it was, so nothing can be emptied", returncode=1)
        before = found
        await store.downgrade()
