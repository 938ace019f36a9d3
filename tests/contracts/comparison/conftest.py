"""The event loop of the stores, an emptied store, and the number of examples."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import settings

from application.store import Store
from interfaces.certification.comparison import effort as efforts
from interfaces.certification.database import Database


@pytest.fixture
def effort() -> settings:
    """How many examples are tried; `make test-long` chooses more."""
    return efforts.on_a_store()


@pytest.fixture
async def loop() -> asyncio.AbstractEventLoop:
    """The one that the stores live on; it stands still while a test runs that is not asynchronous."""
    return asyncio.get_running_loop()


@pytest.fixture
def fresh(database: Database) -> Callable[[], Awaitable[Store]]:
    """The engine's store, emptied."""

    async def fresh() -> Store:
        await database.empty()
        return database.store

    return fresh
