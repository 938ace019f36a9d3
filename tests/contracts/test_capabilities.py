"""The engine can do what its adapter states, and no more."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from application.ports import UnitOfWork
from application.store import Store
from domain.item import Item
from domain.user import User
from interfaces.certification import another_process
from interfaces.certification.database import Database
from interfaces.certification.overlapping import COMMITTED, LIMIT, TRY_AGAIN, WAITING, attempt, insert
from interfaces.testing.builders import a_user, an_item

SHORT_WAIT = 1.0
"""Seconds after which a unit of work that has not ended is taken to be waiting."""
LONG_WAIT = LIMIT / 3
"""Seconds after which a unit of work has ended that does not wait, even on a busy machine."""


@pytest.mark.capability("durable")
async def test_data_outlive_the_process_as_stated(database: Database) -> None:
    user = a_user()
    await insert(database.store.begin, user)
    await database.reopen()
    async with database.store.begin() as uow:
        kept = await uow.users.hold(user.id)
    assert kept == ({user.id: user} if database.store.capabilities.durable else {})


@pytest.mark.capability("processes")
async def test_processes_share_the_data_as_stated(database: Database) -> None:
    user = a_user()
    await insert(database.store.begin, user)
    async with another_process.started(database.settings, "find", str(user.id)) as process:
        said = await another_process.says(process)
    if database.store.capabilities.processes != "one":
        assert said == "found"
    elif database.store.capabilities.durable:
        assert said.startswith("refused: ")
    else:
        assert said == "not found"


@asynccontextmanager
async def renamed(database: Database, item: Item) -> AsyncIterator[None]:
    """Inside the block, a unit of work is open that has renamed the item: in another process, if it can be."""
    if database.store.capabilities.processes == "one":
        async with database.store.begin() as uow:
            await another_process.rename(uow, item.id)
            yield
    else:
        async with another_process.started(database.settings, "rename", str(item.id)) as process:
            assert await another_process.says(process) == "renamed"
            yield


async def outcome_of_renaming(database: Database, first: Item, second: Item, seconds: float) -> tuple[str, str]:
    """Return how a unit of work that renames `second` has ended after so many seconds, and how it ends at last.

    Another one, which has renamed `first`, is open during these seconds.
    """

    async def work(uow: UnitOfWork) -> None:
        await another_process.rename(uow, second.id)

    async with asyncio.TaskGroup() as tasks, renamed(database, first):
        task = tasks.create_task(attempt(database.store.begin, work))
        await asyncio.wait({task}, timeout=seconds)
        meanwhile = task.result() if task.done() else WAITING
    return meanwhile, task.result()


@pytest.mark.capability("conflicts")
async def test_units_of_work_that_change_one_aggregate_wait_or_fail_as_stated(database: Database, lamp: Item) -> None:
    waits = database.store.capabilities.conflicts == "wait"
    meanwhile, at_last = await outcome_of_renaming(database, lamp, lamp, SHORT_WAIT if waits else LONG_WAIT)
    if waits:
        assert (meanwhile, at_last) == (WAITING, COMMITTED)
    else:
        assert meanwhile in {TRY_AGAIN, COMMITTED}


@pytest.mark.capability("writers")
async def test_units_of_work_that_change_different_aggregates_run_at_once_as_stated(
    database: Database, lamp: Item, grace: User
) -> None:
    vase = an_item(grace)
    await insert(database.store.begin, vase)
    many = database.store.capabilities.writers == "many"
    meanwhile, at_last = await outcome_of_renaming(database, lamp, vase, LONG_WAIT if many else SHORT_WAIT)
    assert meanwhile == (COMMITTED if many else WAITING)
    assert at_last == COMMITTED


@pytest.mark.capability("seconds_to_release_locks")
async def test_locks_are_in_the_memory_of_a_process_only_if_no_other_shares_them(store: Store) -> None:
    alone = store.capabilities.processes == "one"
    assert (store.capabilities.seconds_to_release_locks is None) == alone
