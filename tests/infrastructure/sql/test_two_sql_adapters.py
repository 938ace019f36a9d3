"""Both SQL adapters on one database at the same time: each reads what the other writes, and waits for it."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from itertools import cycle, islice
from typing import Any

import pytest

from application.errors import Unavailable
from application.idempotency import IdempotentRequest, Replay, idempotent
from application.paging import Sort, Window
from application.ports import UnitOfWork
from application.readers import ItemFilter, ItemOrder, TaskFilter
from application.store import Store
from application.streaming import KINDS, Record, SessionToken, StoredKey
from application.transact import Transact
from application.use_cases.items import ChangeItem, TransferItem
from application.use_cases.users import DeactivateUser
from domain.errors import DomainError
from domain.item import Item, Transfer
from domain.session import LoginAttempts, Session
from domain.task import Task
from domain.user import User
from interfaces.certification.overlapping import LIMIT, PAUSE, insert
from interfaces.testing.builders import NOON, a_key, a_session, a_task, a_transfer, a_user, an_item, new_id
from interfaces.testing.clock_and_ids import SetClock
from tests.support import engines
from tests.support.engines import RunningEngines, sqlalchemy_adapter, sqlmodel_adapter

SELECTED = [name for name in ("sqlite", "postgresql") if name in engines.selected()]
HOUR = timedelta(hours=1)


@pytest.fixture(params=SELECTED, scope="module")
async def shared(running_engines: RunningEngines, request: pytest.FixtureRequest) -> AsyncIterator[dict[str, Store]]:
    """The stores of both adapters, open on one database."""
    new_database, _ = await running_engines.get(request.param)
    async with new_database() as database:
        await database.store.upgrade()
        async with _opened(sqlmodel_adapter(database.settings)) as sqlmodel:
            assert type(sqlmodel) is not type(database.store)
            yield {"sqlalchemy": database.store, "sqlmodel": sqlmodel}


@asynccontextmanager
async def _opened(store: Store) -> AsyncIterator[Store]:
    await store.open()
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture(params=["sqlalchemy", "sqlmodel"])
def one(shared: dict[str, Store], request: pytest.FixtureRequest) -> Store:
    return shared[request.param]


@pytest.fixture
def other(shared: dict[str, Store], one: Store) -> Store:
    [other] = [store for store in shared.values() if store is not one]
    return other


def of_each_kind() -> dict[type[Record], Any]:
    user = a_user()
    item, session = an_item(user, version=3, transfers=1), a_session(user, version=2)
    return {
        User: user,
        Item: item,
        Transfer: a_transfer(item, user),
        Task: a_task(user),
        Session: session,
        SessionToken: SessionToken(
            token_hash=session.token_hash, session_id=session.id, user_id=user.id, expires_at=session.expires_at
        ),
        LoginAttempts: LoginAttempts(
            subject=new_id().bytes, failed=(NOON, NOON + HOUR), pending=(NOON + 2 * HOUR,), version=4
        ),
        StoredKey: StoredKey(id=a_key(), fingerprint=b"\x00request", expires_at=NOON + HOUR, answer=b"\xffanswer"),
    }


def test_there_is_one_of_each_kind() -> None:
    assert of_each_kind().keys() == set(KINDS)


async def test_what_one_writes_the_other_reads_alike(one: Store, other: Store) -> None:
    written = of_each_kind()
    for record in written.values():
        await one.stream.write([record])
    for kind, record in written.items():
        assert record in await other.stream.read(kind, None, 1_000)
        assert await one.stream.read(kind, None, 1_000) == await other.stream.read(kind, None, 1_000)
        assert await one.stream.count(kind) == await other.stream.count(kind)


async def test_what_one_adds_in_a_unit_of_work_the_other_reads_and_changes(one: Store, other: Store) -> None:
    user, taker = a_user(), a_user()
    item, task, session = an_item(user), a_task(user), a_session(user)
    await insert(one.begin, user, taker, item, task, session)

    assert await other.users.get(user.id) == user
    assert await other.users.find_by_login(user.email) == user
    assert (await other.items.get(item.id)).item == item
    assert await other.tasks.get(task.id, user.id) == task
    async with other.begin() as uow:
        assert await uow.sessions.find(session.token_hash) == (session.id, user.id)
        assert await uow.users.hold(user.id, taker.id) == {user.id: user, taker.id: taker}
        assert await uow.items.get_for_update(item.id) == item
        await uow.items.save(replace(item, owner_id=taker.id, version=2, transfers=1))
        await uow.transfers.add(a_transfer(item, taker))
        await uow.tasks.save(replace(task, title="Dust the shade", version=2))
        await uow.sessions.save(replace(session, token_hash=b"successor" * 4, version=2))
        await uow.commit()

    owned = await one.items.get(item.id)
    assert (owned.item.version, owned.owner_username) == (2, taker.username)
    assert (await one.tasks.get(task.id, user.id)).title == "Dust the shade"
    assert len((await one.transfers.page(item.id, Window())).items) == 1
    async with one.begin() as uow:
        assert await uow.sessions.find(b"successor" * 4) == (session.id, user.id)
        assert await uow.sessions.find(session.token_hash) == (session.id, user.id)
        await uow.sessions.remove_all(user.id)
        await uow.commit()
    async with other.begin() as uow:
        assert await uow.sessions.find(session.token_hash) is None


async def test_both_read_the_same_pages(one: Store, other: Store) -> None:
    user = a_user()
    items = [an_item(user, name=name, price=an_item(user).price * len(name)) for name in ("B", "a", "é", "💡", "aa")]
    await insert(one.begin, user, *items, *(a_task(user, title=item.name) for item in items))
    filter = ItemFilter(owner_id=user.id, min_price=items[0].price)
    orders: tuple[ItemOrder, ...] = ("id", "created_at", "price", "name")
    for by in orders:
        for descending in (False, True):
            for window in (Window(limit=2), Window(limit=2, skip=3), Window(limit=9, count=False)):
                sort = Sort(by, descending)
                assert await one.items.page(filter, sort, window) == await other.items.page(filter, sort, window)
    tasks = TaskFilter(owner_id=user.id)
    assert await one.tasks.page(tasks, Sort("title"), Window()) == await other.tasks.page(
        tasks, Sort("title"), Window()
    )
    assert await one.users.page(Window(limit=100)) == await other.users.page(Window(limit=100))


async def test_the_second_waits_for_what_the_first_holds(one: Store, other: Store) -> None:
    user, later = a_user(), a_user().email
    await insert(one.begin, user)

    async def rename() -> None:
        async with other.begin() as uow:
            held = await uow.users.get_for_update(user.id)
            await uow.users.save(replace(held, email=later, version=held.version + 1))
            await uow.commit()

    async with asyncio.timeout(LIMIT):
        async with one.begin() as uow:
            await uow.users.hold(user.id)
            renaming = asyncio.create_task(rename())
            await asyncio.wait({renaming}, timeout=PAUSE)
            assert not renaming.done()
            assert (await uow.users.hold(user.id))[user.id] == user
        await renaming
    assert (await one.users.get(user.id)).email == later
    await insert(other.begin, a_user(email=user.email))  # which nobody has any more


async def test_the_second_locks_a_row_after_the_first_has_ended(one: Store, other: Store) -> None:
    user = a_user()
    item = an_item(user)
    await insert(one.begin, user, item)

    async def lock() -> Item:
        async with other.begin() as uow:
            return await uow.items.get_for_update(item.id)

    async with asyncio.timeout(LIMIT):
        async with one.begin() as uow:
            await uow.items.get_for_update(item.id)
            locking = asyncio.create_task(lock())
            await asyncio.wait({locking}, timeout=PAUSE)
            assert not locking.done()
            await uow.items.save(replace(item, name="Lantern", version=2))
            await uow.commit()
        assert (await locking).name == "Lantern"


# Races, of which one half goes through each adapter


def transacts(shared: dict[str, Store], count: int) -> list[Transact]:
    """As in so many processes, half of them with each adapter."""
    return [Transact(store.begin, SetClock(), deadline=LIMIT) for store in islice(cycle(shared.values()), count)]


async def outcome(attempt: Awaitable[object]) -> str:
    try:
        await attempt
    except DomainError as refusal:
        return refusal.code
    return "done"


async def race(attempts: list[Awaitable[object]]) -> Counter[str]:
    async with asyncio.timeout(LIMIT):
        return Counter(await asyncio.gather(*(outcome(attempt) for attempt in attempts)))


async def test_one_of_many_transfers_succeeds(shared: dict[str, Store]) -> None:
    ada, *others = [a_user() for _ in range(21)]
    item = an_item(ada)
    store = shared["sqlmodel"]
    await insert(store.begin, ada, *others, item)

    outcomes = await race(
        [
            TransferItem(transact, new_id, SetClock())(item.id, by=ada.id, to=taker.id)
            for transact, taker in zip(transacts(shared, 20), others, strict=True)
        ]
    )

    assert outcomes == {"done": 1, "item-not-owned": 19}
    owned = await store.items.get(item.id)
    [transfer] = (await shared["sqlalchemy"].transfers.page(item.id, Window())).items
    assert (owned.item.version, owned.item.transfers, owned.item.owner_id) == (2, 1, transfer.to_user_id)


async def test_no_change_is_lost(shared: dict[str, Store]) -> None:
    ada = a_user()
    item = an_item(ada)
    await insert(shared["sqlalchemy"].begin, ada, item)

    outcomes = await race(
        [
            ChangeItem(transact)(item.id, {"name": f"Lamp {number}"}, by=ada.id)
            for number, transact in enumerate(transacts(shared, 20))
        ]
    )

    assert outcomes == {"done": 20}
    assert (await shared["sqlmodel"].items.get(item.id)).item.version == 21


async def test_a_request_has_one_effect_and_one_answer(
    shared: dict[str, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("application.transact.KEY_WAIT_SECONDS", LIMIT)
    ada, grace = a_user(), a_user()
    item, key = an_item(ada), a_key(caller=ada.id)
    await insert(shared["sqlalchemy"].begin, ada, grace, item)

    async def copy(number: int, transact: Transact) -> bytes:
        request = IdempotentRequest(key, b"request", render=lambda _: b"%d" % number)
        with idempotent(request):
            try:
                await TransferItem(transact, new_id, SetClock())(item.id, by=ada.id, to=grace.id)
            except Replay as replay:
                return replay.answer
        assert request.answer is not None
        return request.answer

    async with asyncio.timeout(LIMIT):
        copies = [copy(number, transact) for number, transact in enumerate(transacts(shared, 20))]
        answers = await asyncio.gather(*copies)

    assert len(set(answers)) == 1
    assert (await shared["sqlmodel"].items.get(item.id)).item.version == 2


async def test_attempts_are_counted_together(shared: dict[str, Store]) -> None:
    subject = new_id().bytes
    admitted: list[bool] = []

    async def admit(transact: Transact) -> None:
        async def work(uow: UnitOfWork) -> bool:
            [attempts] = await uow.attempts.get_for_update(subject)
            fits: bool = attempts.admit(NOON, limit=10)
            if fits:
                await uow.attempts.save(attempts)
            return fits

        admitted.append(await transact(work))

    await race([admit(transact) for transact in transacts(shared, 20)])
    assert Counter(admitted) == {True: 10, False: 10}


async def test_nobody_receives_an_item_after_their_deactivation(shared: dict[str, Store]) -> None:
    """The transfers hold the recipient that the others deactivate."""
    for first in (0, 1):
        ada, grace = a_user(), a_user()
        items = [an_item(ada) for _ in range(6)]
        await insert(shared["sqlalchemy"].begin, ada, grace, *items)
        transferring, deactivating = islice(cycle(shared.values()), first, first + 2)
        transact = Transact(transferring.begin, SetClock(), deadline=LIMIT)
        deactivate = DeactivateUser(Transact(deactivating.begin, SetClock(), deadline=LIMIT), deactivating.users)
        attempts: list[Awaitable[object]] = [
            TransferItem(transact, new_id, SetClock())(item.id, by=ada.id, to=grace.id) for item in items
        ]

        outcomes = await race([*attempts[:3], deactivate(grace.username), *attempts[3:]])

        assert outcomes.keys() <= {"done", "recipient-inactive"}
        received = await transferring.items.page(ItemFilter(owner_id=grace.id), Sort("id"), Window())
        assert received.total == outcomes["done"] - 1  # one of those done is the deactivation
        assert not (await transferring.users.get(grace.id)).is_active


# The schema


@pytest.mark.parametrize("change", ["upgrade", "purge"])
async def test_what_is_shared_may_be_done_by_either(shared: dict[str, Store], change: str) -> None:
    changes: dict[str, Callable[[Store], Awaitable[object]]] = {
        "upgrade": lambda store: store.upgrade(),
        "purge": lambda store: store.purge(NOON + 1_000 * HOUR, limit=10),
    }
    await insert(shared["sqlmodel"].begin, user := a_user(), a_session(user))
    async with asyncio.timeout(LIMIT):
        await asyncio.gather(*(changes[change](store) for store in shared.values()))
    for store in shared.values():
        assert (await store.schema()).is_current
        assert await store.users.get(user.id) == user
        if change == "purge":
            assert await store.stream.count(Session) == await store.stream.count(SessionToken) == 0


async def test_one_notices_what_the_other_has_done_to_the_schema(
    running_engines: RunningEngines, engine_name: str
) -> None:
    new_database, _ = await running_engines.get(engine_name)
    async with new_database() as database, _opened(sqlmodel_adapter(database.settings)) as sqlmodel:
        with pytest.raises(Unavailable, match="handover migrate up"):
            await sqlmodel.users.find_by_login("ada")
        await sqlmodel.upgrade()
        async with _opened(sqlalchemy_adapter(database.settings)) as sqlalchemy:
            assert (await sqlalchemy.schema()).is_current
            await sqlalchemy.downgrade()
            assert not (await sqlmodel.schema()).is_current


@pytest.fixture(params=SELECTED)
def engine_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)
