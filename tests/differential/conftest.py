"""How much is tried: a little in every run and always the same, or `long`, which is much and new each time."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import HealthCheck, settings

from application.ports import Store
from tests.engines import Database

LONG = settings(
    max_examples=200, stateful_step_count=50, deadline=None, print_blob=True, suppress_health_check=list(HealthCheck)
)
SHORT = settings(LONG, max_examples=10, stateful_step_count=30, derandomize=True, database=None)

settings.register_profile("long", LONG)


@pytest.fixture
def effort() -> settings:
    """`make test-long` chooses the profile."""
    return LONG if settings.get_current_profile_name() == "long" else SHORT


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
