"""What is MongoDB's alone: what it is refused for, what is stored how, and what becomes of its own kinds of failure."""

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from bson import Binary
from bson.raw_bson import RawBSONDocument
from pymongo import AsyncMongoClient
from pymongo.asynchronous.collection import AsyncCollection

from application.errors import Busy, TryAgain, Unavailable
from domain.user import User
from infrastructure.persistence.beanie import open_store
from infrastructure.persistence.beanie.store import BeanieStore
from infrastructure.settings import Settings
from interfaces.certification.overlapping import insert
from interfaces.testing.builders import NOON, a_key, a_user, an_item
from tests.support import engines, servers

pytestmark = pytest.mark.skipif("mongodb" not in engines.selected(), reason="ENGINES leaves MongoDB out")


@pytest.fixture(scope="module")
def server() -> Iterator[servers.Mongo]:
    """Not the one that the contracts share: here it is made to hang."""
    with servers.mongodb() as server:
        yield server


@asynccontextmanager
async def opened(url: str, **settings: Any) -> AsyncIterator[BeanieStore]:
    store = open_store(Settings(database_url=url, _env_file=None, **settings))
    try:
        await store.open()
        yield store
    finally:
        await store.close()


@pytest.fixture(scope="module")
async def store(server: servers.Mongo) -> AsyncIterator[BeanieStore]:
    async with opened(server.url) as store:
        await store.upgrade()
        yield store


@pytest.fixture
async def client(server: servers.Mongo) -> AsyncIterator[AsyncMongoClient[RawBSONDocument]]:
    async with AsyncMongoClient(server.url, document_class=RawBSONDocument) as client:
        yield client


# Opening


async def refusal(url: str) -> str:
    with pytest.raises(Unavailable) as refused:
        async with opened(url):
            pass
    message = str(refused.value)
    assert "\n" not in message
    assert "swordfish" not in message
    return message


async def test_a_server_that_stands_alone_is_refused() -> None:
    with servers.mongodb(standalone=True) as server:
        assert "--replSet" in await refusal(server.url)


@pytest.mark.parametrize(
    "url",
    [
        "mongodb://",
        "mongodb://localhost:99999/handover",
        "mongodb://localhost/handover?swordfish=yes",
        "mongodb://localhost/handover?tls=true&tlsCAFile=/swordfish",
    ],
)
async def test_an_address_that_cannot_be_used_is_refused(url: str) -> None:
    assert "HANDOVER_DATABASE_URL" in await refusal(url)


async def test_a_server_that_is_not_there_is_named() -> None:
    assert "127.0.0.1:1:" in await refusal("mongodb://ada:swordfish@127.0.0.1:1/handover")


async def test_a_wrong_password_is_told_from_a_missing_server(server: servers.Mongo) -> None:
    assert "password" in await refusal(server.url.replace("//", "//ada:swordfish@"))


async def test_a_store_that_is_not_open_is_unavailable(server: servers.Mongo) -> None:
    store = open_store(Settings(database_url=server.url, _env_file=None))
    with pytest.raises(Unavailable):
        await store.users.find_by_login("ada")
    with pytest.raises(Unavailable):
        async with store.begin():
            pass


# What is stored


async def test_ids_are_binary_and_prices_are_cents(
    store: BeanieStore, client: AsyncMongoClient[RawBSONDocument]
) -> None:
    user = a_user()
    item = an_item(user, price=Decimal("9999999999.99"))
    await insert(store.begin, user, item)

    stored = await client["handover"]["items"].find_one({"_id": Binary.from_uuid(item.id)})
    assert stored
    assert stored["owner_id"] == Binary.from_uuid(user.id)
    assert stored["cents"] == 999_999_999_999


async def test_a_time_without_a_zone_is_refused(store: BeanieStore) -> None:
    with pytest.raises(ValueError, match="timezone"):
        await insert(store.begin, replace(a_user(), created_at=datetime.now()))


async def test_an_owner_need_not_be_held_for_the_name(store: BeanieStore) -> None:
    user = a_user()
    item = an_item(user)
    await insert(store.begin, user)
    await insert(store.begin, item)
    assert (await store.items.get(item.id)).owner_username == user.username


# Failures


async def test_a_key_that_is_claimed_again_while_it_is_purged_stays(
    store: BeanieStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A purge first looks for what has expired, and then removes it."""
    key = a_key()

    async def claim(at: datetime) -> bytes | None:
        async with store.begin() as uow:
            answer = await uow.keys.claim(key, b"request", at=at, lifetime=timedelta(hours=1), max_wait=1)
            if answer is None:
                await uow.keys.save_answer(key, str(at).encode())
                await uow.commit()
            return answer

    async def claim_and_delete(collection: Any, *filters: Any) -> Any:
        await claim(now)
        return await delete_many(collection, *filters)

    await claim(NOON)
    now = NOON + timedelta(hours=1)
    delete_many = AsyncCollection.delete_many
    monkeypatch.setattr(AsyncCollection, "delete_many", claim_and_delete)
    assert (await store.purge(now, limit=10)).total() == 0
    assert await claim(now) == str(now).encode()


async def test_a_purge_that_is_cancelled_cancels_no_call_of_the_driver(
    store: BeanieStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As at the beginning of every stop (decision 26)."""
    begun, let, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def delete_slowly(collection: Any, *filters: Any) -> Any:
        begun.set()
        await let.wait()
        removed = await delete_many(collection, *filters)
        ended.set()
        return removed

    async with store.begin() as uow:
        await uow.keys.claim(a_key(), b"request", at=NOON, lifetime=timedelta(hours=1), max_wait=1)
        await uow.commit()
    delete_many = AsyncCollection.delete_many
    monkeypatch.setattr(AsyncCollection, "delete_many", delete_slowly)
    purging = asyncio.create_task(store.purge(NOON + timedelta(hours=2), limit=10))
    await begun.wait()
    purging.cancel()
    with pytest.raises(asyncio.CancelledError):
        await purging
    let.set()
    async with asyncio.timeout(60):
        await ended.wait()


async def test_a_transaction_that_the_server_gave_up_can_be_tried_again(
    store: BeanieStore, client: AsyncMongoClient[RawBSONDocument]
) -> None:
    user = a_user()
    await insert(store.begin, user)
    async with store.begin() as uow:
        await uow.users.hold(user.id)
        await client.admin.command({"killAllSessions": []})  # as it does by itself when transactions grow too old
        with pytest.raises(TryAgain):
            await uow.users.hold(user.id)
    async with store.begin() as uow:
        await uow.users.hold(user.id)
        await client.admin.command({"killAllSessions": []})
        with pytest.raises(TryAgain):
            await uow.commit()


async def test_more_units_than_connections_have_to_wait(server: servers.Mongo) -> None:
    async with opened(server.url, pool_size=1, pool_timeout=0.1) as store, store.begin():
        with pytest.raises(Busy):
            async with store.begin():
                pass


async def test_a_hanging_server_is_unavailable_in_time(server: servers.Mongo, store: BeanieStore) -> None:
    user = a_user()
    await insert(store.begin, user)
    async with hanging(server), asyncio.timeout(20):
        with pytest.raises(Unavailable):
            await store.users.get(user.id)
    async with asyncio.timeout(60):
        assert await store.users.get(user.id) == user


async def test_who_is_cancelled_does_not_wait_for_a_hanging_server(server: servers.Mongo, store: BeanieStore) -> None:
    user, other = a_user(), a_user()
    await insert(store.begin, user, other)
    held = asyncio.Event()

    async def work() -> None:
        async with store.begin() as uow:
            await uow.users.hold(user.id)
            held.set()
            await uow.users.hold(other.id)
            await asyncio.sleep(60)

    working = asyncio.create_task(work())
    await held.wait()
    async with hanging(server):
        await asyncio.sleep(0.1)
        working.cancel()
        before = time.monotonic()
        await asyncio.wait({working})
        assert time.monotonic() - before < 20
    async with asyncio.timeout(60):  # the abort arrives after all
        while True:
            try:
                async with store.begin() as uow:
                    assert await uow.users.hold(user.id)
                break
            except TryAgain:
                await asyncio.sleep(0.1)


async def test_calls_that_are_cut_short_leave_the_connections_usable(server: servers.Mongo) -> None:
    """Each by two deadlines at the same time, as those of a request are."""

    async def hold(store: BeanieStore, user: User) -> None:
        async with store.begin() as uow:
            await uow.users.hold(user.id)
            await uow.commit()

    async def cut_short(work: Coroutine[Any, Any, object]) -> None:
        with suppress(TimeoutError, Busy):
            async with asyncio.timeout(0.4), asyncio.timeout(0.4):
                await work

    async with opened(server.url, pool_size=4, pool_timeout=1) as store:
        users = [a_user() for _ in range(6)]
        await insert(store.begin, *users)
        for _ in range(4):
            async with hanging(server):
                before = time.monotonic()
                works = [work for user in users for work in (hold(store, user), store.users.get(user.id))]
                await asyncio.gather(*map(cut_short, works))
                assert time.monotonic() - before < 5  # the driver's own limits add up to more
            async with asyncio.timeout(60):
                await asyncio.gather(*(store.users.get(user.id) for user in users))
                for user in users:
                    while await is_locked(hold(store, user)):  # noqa: ASYNC110 - there is no event for it
                        await asyncio.sleep(0.1)


async def is_locked(work: Coroutine[Any, Any, object]) -> bool:
    try:
        await work
    except TryAgain:  # the abort of a transaction before has not arrived yet
        return True
    return False


@asynccontextmanager
async def hanging(server: servers.Mongo) -> AsyncIterator[None]:
    server.pause()
    try:
        yield
    finally:
        server.resume()


# Turns


async def test_units_of_one_process_that_hold_the_same_users_wait_for_their_turn(store: BeanieStore) -> None:
    """MongoDB itself would refuse all of them but one."""
    ada, grace = a_user(), a_user()
    await insert(store.begin, ada, grace)

    async def hold(*users: User) -> None:
        async with store.begin() as uow:
            await uow.users.hold(*(user.id for user in users))
            await asyncio.sleep(0.01)
            await uow.commit()

    async with asyncio.timeout(60):
        await asyncio.gather(*(hold(ada, grace) if number % 2 else hold(grace, ada) for number in range(10)))


async def test_who_comes_late_in_a_unit_is_told_at_once(store: BeanieStore) -> None:
    """Its snapshot is older than what it would wait for."""
    ada, grace = a_user(), a_user()
    await insert(store.begin, ada, grace)
    async with asyncio.timeout(60), store.begin() as first, store.begin() as second:
        await first.users.hold(ada.id)
        await second.users.hold(grace.id)
        with pytest.raises(TryAgain):
            await second.users.hold(ada.id)
