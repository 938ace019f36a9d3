"""Migrating a store several times, also at once, has the same result as once, and undoing that removes all data."""

import asyncio
from collections import Counter

import pytest

from application.ports import Begin, Ids
from application.store import Store
from application.streaming import KINDS, StoredKey, label
from application.transact import Transact
from application.use_cases.health import CheckWritable
from domain.session import LoginAttempts
from interfaces.certification.completeness import check_complete
from interfaces.certification.database import NewDatabase, remove_schema
from interfaces.certification.overlapping import LIMIT, insert
from interfaces.testing.builders import NOON, a_key, a_session, a_task, a_transfer, a_user, an_item
from interfaces.testing.clock_and_ids import SetClock


async def test_no_method_is_missing(store: Store) -> None:
    await check_complete(store, "adapter")


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


async def test_undoing_all_migrations_removes_all_data(new_database: NewDatabase) -> None:
    """A store that is neither durable nor has a schema may keep them until it is opened again."""
    async with new_database() as database, asyncio.timeout(LIMIT):
        store = database.store
        await store.upgrade()
        ada, key = a_user(), StoredKey(id=a_key(), fingerprint=b"request", expires_at=NOON, answer=b"answer")
        item, session = an_item(ada), a_session(ada)
        await insert(store.begin, ada, item, a_transfer(item, ada), a_task(ada), session)
        await store.stream.write([LoginAttempts(subject=b"subject", failed=(NOON,), version=1)])
        await store.stream.write([key])
        assert [kind for kind in KINDS if await store.stream.count(kind) != 1] == []

        await remove_schema(store)
        if not store.capabilities.durable and (await store.schema()).needed is None:
            await database.reopen()
        await database.store.upgrade()

        kept = [label(kind) for kind in KINDS if await database.store.stream.count(kind)]
        if kept:
            pytest.fail(f"downgrade() has undone all migrations, and left {', '.join(kept)}", pytrace=False)
        assert await database.store.users.find_by_login(ada.email) is None


async def test_the_write_that_looks_for_disk_space_succeeds_and_is_purged(
    store: Store, transact: Transact, ids: Ids, clock: SetClock
) -> None:
    transact.writes.out_of_space = True
    assert await CheckWritable(transact, ids, clock)()
    assert not transact.writes.out_of_space
    assert await store.purge(clock(), limit=10) == Counter(keys=1)


async def test_a_pool_says_what_is_in_use(store: Store, begin: Begin) -> None:
    def in_use() -> int:
        return sum(pool.in_use for pool in store.pools().values())

    assert in_use() == 0
    async with begin() as uow:
        await uow.users.hold(a_user().id)
        assert in_use() == (1 if store.pools() else 0)
    async with asyncio.timeout(LIMIT):
        while in_use():  # noqa: ASYNC110 - a place may be given back shortly after the unit of work has ended
            await asyncio.sleep(0.01)
    assert all(pool.size > 0 == pool.waiting for pool in store.pools().values())


async def test_unsafe_settings_are_lines_by_name(store: Store) -> None:
    for name, problem in (await store.unsafe_settings()).items():
        assert name
        assert problem
        assert "\n" not in name + problem
