"""Optimistic transactions on PostgreSQL: what they send, and what they notice at the commit."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import asyncpg
import pytest

from application.errors import Busy, OutcomeUnknown, TryAgain
from application.idempotency import IdempotentRequest, Replay, idempotent
from application.paging import Sort, Window
from application.ports import KeyId, UnitOfWork
from application.readers import ItemFilter, ItemOrder
from application.transact import Transact
from application.use_cases.items import ChangeItem, CreateItem, DeleteItem, TransferItem
from application.use_cases.tasks import ChangeTask, CreateTask
from domain.errors import DomainError
from domain.item import Item, ItemChanges
from domain.task import Task, TaskChanges, TaskStatus
from domain.user import User
from infrastructure.persistence.sqlalchemy import SqlStore
from interfaces.certification.overlapping import COMMITTED, TRY_AGAIN, Work, attempt, insert
from interfaces.testing.builders import NOON, a_key, a_task, a_transfer, a_user, an_item, new_id
from interfaces.testing.clock_and_ids import SetClock
from tests.support import engines
from tests.support.engines import RunningEngines

pytestmark = pytest.mark.skipif("postgresql" not in engines.selected(), reason="ENGINES leaves PostgreSQL out")


@pytest.fixture
async def store(running_engines: RunningEngines) -> AsyncIterator[SqlStore]:
    _, database = await running_engines.get("postgresql")
    assert isinstance(database.store, SqlStore)
    yield database.store
    await database.empty()


@dataclass
class World:
    ada: User
    grace: User
    lamp: Item
    task: Task


@pytest.fixture
async def world(store: SqlStore) -> World:
    ada, grace = a_user(), a_user()
    lamp, task = an_item(ada), a_task(ada)
    await insert(store.begin, ada, grace, lamp, task)
    return World(ada, grace, lamp, task)


@asynccontextmanager
async def overheard(store: SqlStore, **settings: Any) -> AsyncIterator[tuple[SqlStore, list[str]]]:
    """The same database on one connection, and all that is sent on it."""
    sent: list[str] = []
    other = SqlStore(store.settings.model_copy(update={"pool_size": 1, **settings}))
    try:
        pooled = await other.database.acquire()
        connection: Any = pooled.connection
        connection.add_query_logger(lambda query: sent.append(query.query))
        pooled.release()
        yield other, sent
    finally:
        await other.close()


CLAIM: dict[str, Any] = {"at": NOON, "lifetime": timedelta(hours=1), "max_wait": 1}
BY_ID: Sort[ItemOrder] = Sort("id")
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
ENDING_THE_CONNECTION = """
    CREATE FUNCTION end_the_connection() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END';
    CREATE TRIGGER ending AFTER INSERT ON transfers FOR EACH ROW EXECUTE FUNCTION end_the_connection()
"""


async def attempt_optimistically(store: SqlStore, work: Work) -> str:
    return await attempt(partial(store.begin, optimistic=True), work)


def transact_on(store: SqlStore) -> Transact:
    return Transact(store.begin, SetClock())


def of_key(key: KeyId) -> IdempotentRequest:
    return IdempotentRequest(key, b"fingerprint", lambda _: b"answer")


Call = Callable[[Transact, World], Awaitable[object]]


async def transfer(transact: Transact, world: World) -> None:
    await TransferItem(transact, new_id, SetClock())(world.lamp.id, by=world.ada.id, to=world.grace.id)


async def create_item(transact: Transact, world: World) -> None:
    create = CreateItem(transact, new_id, SetClock())
    await create(by=world.ada.id, name="Lantern", description=None, price=Decimal(1))


async def change_item(transact: Transact, world: World) -> None:
    await ChangeItem(transact)(world.lamp.id, ItemChanges(name="Lantern"), by=world.ada.id)


async def delete_item(transact: Transact, world: World) -> None:
    await DeleteItem(transact)(world.lamp.id, by=world.ada.id)


async def create_task(transact: Transact, world: World) -> None:
    create = CreateTask(transact, new_id, SetClock())
    await create(by=world.ada.id, title="Polish", description=None, status=TaskStatus.PENDING)


async def change_task(transact: Transact, world: World) -> None:
    await ChangeTask(transact)(world.task.id, TaskChanges(title="Polish it"), by=world.ada.id)


@pytest.mark.parametrize("with_key", [False, True], ids=["without a key", "with a key"])
@pytest.mark.parametrize(
    ("call", "reads"),
    [(transfer, 1), (create_item, 1), (change_item, 1), (delete_item, 1), (create_task, 1), (change_task, 2)],
)
async def test_a_change_is_one_statement_after_what_it_reads(
    call: Call, reads: int, with_key: bool, store: SqlStore, world: World
) -> None:
    async with overheard(store) as (other, sent):
        if with_key:
            with idempotent(of_key(a_key(caller=world.ada.id))):
                await call(transact_on(other), world)
        else:
            await call(transact_on(other), world)
    assert [sql.split(maxsplit=1)[0] for sql in sent] == ["SELECT"] * reads + ["WITH"]
    assert ("INSERT INTO idempotency_keys" in sent[-1]) == with_key
    assert "FOR SHARE" in sent[-1]


async def test_with_another_isolation_everything_is_one_transaction(store: SqlStore, world: World) -> None:
    """A statement by itself would be one of the server's default isolation."""
    async with overheard(store, isolation="SERIALIZABLE") as (other, sent):
        await transfer(transact_on(other), world)
    assert re.match("BEGIN ISOLATION LEVEL serializable", sent[0], re.IGNORECASE)
    assert sent[-1] == "COMMIT"


async def test_a_conflict_undoes_the_whole_statement(store: SqlStore, world: World) -> None:
    """Its item has moved on, and so neither its history nor its key is stored."""
    key = a_key(caller=world.ada.id)
    moved = replace(world.lamp, version=2, transfers=1, owner_id=world.grace.id)

    async def hand_over_what_changes(uow: UnitOfWork) -> None:
        await uow.keys.claim(key, b"fingerprint", **CLAIM)
        item, _ = await uow.lock_item(world.lamp.id, world.ada.id, world.grace.id)
        assert item == world.lamp
        await rename(store, world.lamp)
        await uow.items.save(moved)
        await uow.transfers.add(a_transfer(world.lamp, world.grace))
        await uow.keys.save_answer(key, b"answer")

    assert await attempt_optimistically(store, hand_over_what_changes) == TRY_AGAIN
    assert (await store.items.get(world.lamp.id)).item.name == "Lantern"
    assert (await store.transfers.page(world.lamp.id, Window())).items == []
    async with store.begin() as uow:
        assert await uow.keys.claim(key, b"fingerprint", **CLAIM) is None


async def deactivate(store: SqlStore, user: User) -> None:
    async with store.begin() as uow:
        found = await uow.users.get_for_update(user.id)
        found.deactivate()
        await uow.users.save(found)
        await uow.commit()


async def rename(store: SqlStore, item: Item) -> None:
    async with store.begin() as uow:
        found = await uow.items.get_for_update(item.id)
        await uow.items.save(replace(found, name="Lantern", version=found.version + 1))
        await uow.commit()


@pytest.mark.parametrize("who", ["ada", "grace"])
async def test_a_held_user_who_has_changed_is_noticed(who: str, store: SqlStore, world: World) -> None:
    runs = 0

    @asynccontextmanager
    async def begin(*, optimistic: bool = False) -> AsyncIterator[Any]:
        nonlocal runs
        runs += 1
        async with store.begin(optimistic=optimistic) as uow:
            lock_item = uow.lock_item

            async def lock_and_meddle(*arguments: Any) -> Any:
                found = await lock_item(*arguments)
                if runs == 1:
                    await deactivate(store, getattr(world, who))
                return found

            uow.lock_item = lock_and_meddle  # type: ignore[assignment, method-assign]
            yield uow

    with pytest.raises(DomainError):
        await transfer(Transact(begin, SetClock()), world)
    assert runs == 2
    assert (await store.items.get(world.lamp.id)).item == world.lamp


async def test_a_used_key_is_answered_even_if_the_work_would_be_refused_now(store: SqlStore, world: World) -> None:
    key = a_key(caller=world.ada.id)
    with idempotent(of_key(key)):
        await transfer(transact_on(store), world)
    with idempotent(of_key(key)), pytest.raises(Replay) as replayed:
        await transfer(transact_on(store), world)  # Ada is no longer the owner
    assert replayed.value.answer == b"answer"
    assert (await store.items.get(world.lamp.id)).item.transfers == 1


async def test_copies_of_one_key_take_effect_once(store: SqlStore, world: World) -> None:
    """Each with a lock of its own, as in processes of their own, so that they meet in the store."""
    key = a_key(caller=world.ada.id)

    async def copy() -> str:
        try:
            with idempotent(of_key(key)):
                await create_item(transact_on(store), world)
        except Replay:
            return "replayed"
        return "created"

    assert sorted(await asyncio.gather(*(copy() for _ in range(12)))) == ["created", *["replayed"] * 11]
    assert len((await store.items.page(ItemFilter(), BY_ID, Window())).items) == 2


async def test_a_connection_that_is_lost_during_the_statement_leaves_it_open_what_happened(
    store: SqlStore, world: World
) -> None:
    server = await asyncpg.connect(store.settings.database_url)
    await server.execute(ENDING_THE_CONNECTION)
    try:
        with pytest.raises(OutcomeUnknown):
            await transfer(transact_on(store), world)
    finally:
        await server.execute("DROP FUNCTION end_the_connection CASCADE")
        await server.close()


async def test_a_unit_that_begins_with_a_lock_claims_its_key(store: SqlStore, world: World) -> None:
    key = a_key(caller=world.ada.id)
    async with store.begin(optimistic=True) as uow:
        await uow.keys.claim(key, b"fingerprint", **CLAIM)
        await uow.users.get_for_update(world.ada.id)
        await uow.keys.save_answer(key, b"answer")
        await uow.commit()
    async with store.begin() as uow:
        assert await uow.keys.claim(key, b"fingerprint", **CLAIM) == b"answer"


async def test_a_unit_that_asks_for_a_lock_becomes_a_transaction_that_checks_what_was_read(
    store: SqlStore, world: World
) -> None:
    async with store.begin(optimistic=True) as uow:
        await uow.users.hold(world.grace.id)
        await uow.users.get_for_update(world.ada.id)
        assert not uow.transaction.is_optimistic
        await uow.commit()

    async def hold_and_lock(uow: UnitOfWork) -> None:
        await uow.users.hold(world.grace.id)
        await deactivate(store, world.grace)
        await uow.users.get_for_update(world.ada.id)

    assert await attempt_optimistically(store, hold_and_lock) == TRY_AGAIN


async def test_a_commit_that_is_cancelled_while_it_waits_takes_no_effect_later(store: SqlStore, world: World) -> None:
    """Its connection is closed, and the server has ended the statement before the lock is released."""
    async with store.begin() as holder:
        await holder.users.get_for_update(world.ada.id)
        transact = Transact(store.begin, SetClock(), deadline=0.3)
        with pytest.raises(Busy):
            await transfer(transact, world)
        await server_has_no_other_statement(store)
    await asyncio.sleep(0.3)
    assert (await store.items.get(world.lamp.id)).item == world.lamp


async def server_has_no_other_statement(store: SqlStore) -> None:
    server = await asyncpg.connect(store.settings.database_url)
    try:
        async with asyncio.timeout(2):  # by itself it would wait for five seconds
            while await server.fetchval(WAITING):
                await server.execute("SELECT pg_sleep(0.05)")
    finally:
        await server.close()


async def test_what_has_a_lock_of_the_database_does_not_wait_in_the_process(store: SqlStore, world: World) -> None:
    locked = asyncio.Event()

    async def lock_user_then_item(uow: UnitOfWork) -> None:
        await uow.users.get_for_update(world.ada.id)
        locked.set()
        await asyncio.sleep(0.3)
        await uow.items.get_for_update(world.lamp.id)

    async def lock_both(uow: UnitOfWork) -> None:
        await locked.wait()
        await uow.lock_item(world.lamp.id, world.ada.id)

    async with asyncio.timeout(4):
        ended = await asyncio.gather(
            attempt_optimistically(store, lock_user_then_item), attempt_optimistically(store, lock_both)
        )
    assert COMMITTED in ended


async def test_after_an_error_at_its_beginning_nothing_is_committed(store: SqlStore, world: World) -> None:
    """PostgreSQL would answer COMMIT with ROLLBACK, and no error."""
    async with overheard(store) as (other, _), other.begin(optimistic=True) as uow, store.begin() as holder:
        await uow.users.hold(world.grace.id)
        await uow.transaction.connection.execute("SET lock_timeout = 50")
        await holder.users.get_for_update(world.grace.id)
        with pytest.raises(TryAgain):
            await uow.users.get_for_update(world.ada.id)
        with pytest.raises(RuntimeError):
            await uow.commit()


async def test_a_unit_that_reads_two_versions_of_a_row_is_tried_again(store: SqlStore, world: World) -> None:
    async def read_twice(uow: UnitOfWork) -> None:
        await uow.items.get_for_update(world.lamp.id)
        await rename(store, world.lamp)
        await uow.items.get_for_update(world.lamp.id)

    assert await attempt_optimistically(store, read_twice) == TRY_AGAIN
