"""How much is tried: `suite` in every run and always the same, `long` anew each time."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import HealthCheck, settings

from application.ports import Store
from tests.engines import Database

LONG, SUITE = "long", "suite"
settings.register_profile(
    LONG,
    deadline=None,
    max_examples=200,
    stateful_step_count=50,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
settings.register_profile(
    SUITE, settings.get_profile(LONG), derandomize=True, database=None, max_examples=12, stateful_step_count=30
)


@pytest.fixture
async def loop() -> asyncio.AbstractEventLoop:
    """The one that the stores live on. It stands still while a test runs that is not asynchronous, as Hypothesis wants them."""
    return asyncio.get_running_loop()


@pytest.fixture
def effort() -> settings:
    """`make test-long` chooses the other one."""
    return settings.get_profile(LONG if settings.get_current_profile_name() == LONG else SUITE)


@pytest.fixture
def fresh(database: Database) -> Callable[[], Awaitable[Store]]:
    """The engine's store, emptied."""

    async def fresh() -> Store:
        await database.empty()
        return database.store

    return fresh
