"""The store as a whole: its schema, and that it is one of its own."""

import asyncio

import pytest

from application.ports import Begin, Ids
from application.store import Store
from application.transact import Transact
from application.use_cases.health import CheckWritable
from domain.errors import NotFound
from tests.contracts.support.units import LIMIT
from tests.support.builders import SetClock, a_user
from tests.support.engines import Database, NewDatabase


async def test_an_upgraded_store_is_current(store: Store) -> None:
    assert (await store.schema()).is_current


async def test_upgrading_again_changes_nothing(store: Store, begin: Begin) -> None:
    user = a_user()
    async with begin() as uow:
        await uow.users.add(user)
        await uow.commit()
    before = await store.schema()

    await store.upgrade()

    assert await store.schema() == before
    assert await store.users.get(user.id) == user


async def test_two_may_upgrade_at_once(new_database: NewDatabase) -> None:
    async with new_database() as database, asyncio.timeout(LIMIT):
        await asyncio.gather(database.store.upgrade(), database.store.upgrade())
        assert (await database.store.schema()).is_current


async def test_two_stores_share_nothing(database: Database, new_database: NewDatabase) -> None:
    user = a_user()
    async with new_database() as other:
        await other.store.upgrade()
        async with database.store.begin() as uow:
            await uow.users.add(user)
            await uow.commit()

        with pytest.raises(NotFound):
            await other.store.users.get(user.id)
        async with other.store.begin() as uow:
            assert await uow.users.hold(user.id) == {}
            await uow.users.add(user)
            await uow.commit()


async def test_the_write_that_looks_for_disk_space_succeeds_and_is_purged(
    store: Store, transact: Transact, ids: Ids, clock: SetClock
) -> None:
    transact.writes.out_of_space = True
    assert await CheckWritable(transact, ids, clock)()
    assert not transact.writes.out_of_space
    assert await store.purge(clock(), limit=10) == 1
