"""The engine can do what its adapter states, and no more."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from application.ports import UnitOfWork
from application.store import Store
from domain.item import Item
from domain.user import User
from interfaces.certification import another_process
from interfaces.certification.database import Database
from interfaces.certification.overlapping import COMMITTED, LIMIT, TRY_AGAIN, UNAVAILABLE, WAITING, attempt, insert
from interfaces.testing.builders import a_user, an_item

SHORT_WAIT = 1.0
"""Seconds after which a unit of work that has not ended is taken to be waiting."""
LONG_WAIT = LIMIT / 3
"""Seconds after which a unit of work has ended that does not wait, even on a busy machine."""


def verify(store: Store, capability: str, is_as_stated: bool, observed: str, remedy: str) -> None:
    """Fail, in words, unless what was observed is what the adapter states."""
    if not is_as_stated:
        stated = f"{capability}={getattr(store.capabilities, capability)!r}"
        pytest.fail(f"the adapter states {stated}, but {observed}; {remedy}", pytrace=False)


@pytest.mark.capability("durable")
async def test_data_outlive_the_process_as_stated(database: Database) -> None:
    """A process is killed that has committed a user and has not closed the store; then a store is closed here."""
    ada, grace = a_user(), a_user()
    async with AsyncExitStack() as stack:
        if database.store.capabilities.processes == "one":
            await stack.enter_async_context(database.closed())
        async with another_process.started(database.settings, "add", str(ada.id)) as process:
            said = await another_process.says(process)
    assert said == "added", f"another process that was to add a user answered {said or 'nothing'!r}"
    await verify_kept(database, ada, "the process that had committed it was killed")
    await insert(database.store.begin, grace)
    await database.reopen()
    await verify_kept(database, grace, "the store was closed and another one was opened with the same settings")


async def verify_kept(database: Database, user: User, event: str) -> None:
    """Fail unless the user, who was committed before the event, is there exactly if the store is durable."""
    async with database.store.begin() as uow:
        kept = user.id in await uow.users.hold(user.id)
    verify(
        database.store,
        "durable",
        kept == database.store.capabilities.durable,
        f"a committed user was {'still' if kept else 'no longer'} there after {event}",
        f"if that is right, state durable={kept}, or else "
        + ("let the data end with the store" if kept else "write the data to a disk before commit() returns"),
    )


@pytest.mark.capability("processes")
async def test_processes_share_the_data_as_stated(database: Database) -> None:
    user = a_user()
    await insert(database.store.begin, user)
    async with another_process.started(database.settings, "find", str(user.id)) as process:
        said = await another_process.says(process)
    if database.store.capabilities.processes != "one":
        verify(
            database.store,
            "processes",
            said == "found",
            f"another process that asked for a committed user was answered {said or 'nothing'!r}",
            'state processes="one" if only one process can use the data, or else read what others have committed',
        )
    elif database.store.capabilities.durable:
        verify(
            database.store,
            "processes",
            said.startswith("refused: "),
            "another process could open the store while it was open here",
            'state "one-machine" or "any" if that is safe, or else let Store.open() raise Unavailable there',
        )
    else:
        verify(
            database.store,
            "processes",
            said == "not found",
            f"another process that asked for a committed user was answered {said or 'nothing'!r}",
            'state "one-machine" or "any" if processes share the data, or else let each have data of its own',
        )


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


OBSERVED = {
    WAITING: "the second one had not ended after {seconds:g} s, while the first one was open",
    COMMITTED: "the second one was committed while the first one was open",
    TRY_AGAIN: "the second one got TryAgain while the first one was open",
    UNAVAILABLE: "the second one got Unavailable while the first one was open",
}
"""How the second of two units of work ended, in words."""


@pytest.mark.capability("conflicts")
async def test_units_of_work_that_change_one_aggregate_wait_or_fail_as_stated(database: Database, lamp: Item) -> None:
    waits = database.store.capabilities.conflicts == "wait"
    seconds = SHORT_WAIT if waits else LONG_WAIT
    meanwhile, at_last = await outcome_of_renaming(database, lamp, lamp, seconds)
    observed = "of two units of work that rename one item, " + OBSERVED.get(meanwhile, meanwhile).format(
        seconds=seconds
    )
    if waits:
        verify(
            database.store,
            "conflicts",
            (meanwhile, at_last) == (WAITING, COMMITTED),
            observed if meanwhile != WAITING else f"one that had waited for another one ended with {at_last}",
            'state "fail" if the engine cannot wait, or else let get_for_update() and save() wait until the other ends',
        )
    else:
        verify(
            database.store,
            "conflicts",
            meanwhile in {TRY_AGAIN, COMMITTED},
            observed,
            'state "wait" if that is what the engine does, or else raise TryAgain instead of waiting',
        )


@pytest.mark.capability("writers")
async def test_units_of_work_that_change_different_aggregates_run_at_once_as_stated(
    database: Database, lamp: Item, grace: User
) -> None:
    vase = an_item(grace)
    await insert(database.store.begin, vase)
    many = database.store.capabilities.writers == "many"
    seconds = LONG_WAIT if many else SHORT_WAIT
    meanwhile, at_last = await outcome_of_renaming(database, lamp, vase, seconds)
    verify(
        database.store,
        "writers",
        meanwhile == (COMMITTED if many else WAITING),
        "of two units of work that rename different items, "
        + OBSERVED.get(meanwhile, meanwhile).format(seconds=seconds),
        'state "one" if only one unit of work can be open at a time, or else lock no more than what is read and changed'
        if many
        else 'state "many" if that is right, or else let a unit of work begin only when no other one is open',
    )
    assert at_last == COMMITTED, "at last both units of work must have been committed"


@pytest.mark.capability("seconds_to_release_locks")
async def test_locks_are_in_the_memory_of_a_process_only_if_no_other_shares_them(store: Store) -> None:
    alone = store.capabilities.processes == "one"
    verify(
        store,
        "seconds_to_release_locks",
        (store.capabilities.seconds_to_release_locks is None) == alone,
        f"it also states processes={store.capabilities.processes!r}",
        "with one process locks end with it, so state None"
        if alone
        else "locks of a process that was killed are in the way of others: state after how many seconds at most they"
        " are released, 0 if at once",
    )
