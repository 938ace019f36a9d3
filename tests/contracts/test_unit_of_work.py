"""A unit of work takes effect as a whole or not at all, and leaving it releases everything."""

import asyncio
import gc
from collections.abc import Awaitable, Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import product
from time import monotonic
from typing import Any

import pytest

from application.errors import TryAgain
from application.paging import Window
from application.ports import Begin, KeyId, UnitOfWork
from application.readers import ItemReader
from application.store import Store
from domain.errors import NotFound
from domain.item import Item, Transfer
from domain.session import Session
from domain.task import Task
from domain.user import User, UserId
from interfaces.certification.another_process import rename
from interfaces.certification.database import Database
from interfaces.certification.overlapping import COMMITTED, LIMIT, TRY_AGAIN, Work, attempt, insert
from interfaces.testing.builders import NOON, a_key, a_session, a_task, a_transfer, a_user, an_item


@dataclass
class World:
    """Something of each kind that is stored, and something of each kind that is not."""

    ada: User
    grace: User
    lamp: Item
    transfer: Transfer
    new_user: User
    new_item: Item
    new_transfer: Transfer
    task: Task
    new_task: Task
    session: Session
    new_session: Session
    used_key: KeyId
    new_key: KeyId


@pytest.fixture
async def world(begin: Begin) -> World:
    ada, grace = a_user(), a_user()
    lamp = an_item(ada, version=2, transfers=1)
    transfer = a_transfer(lamp, ada, number=1, from_user_id=grace.id, version=2)
    task, session = a_task(grace), a_session(grace)
    await insert(begin, ada, grace, lamp, transfer, task, session)
    used_key, new_key = a_key(), a_key()
    async with begin() as uow:
        await uow.keys.claim(used_key, b"request", at=NOON, lifetime=timedelta(hours=1), max_wait=1)
        await uow.keys.save_answer(used_key, b"answer")
        await uow.commit()
    return World(
        ada=ada,
        grace=grace,
        lamp=lamp,
        transfer=transfer,
        new_user=a_user(),
        new_item=an_item(ada),
        new_transfer=a_transfer(lamp, grace),
        task=task,
        new_task=a_task(grace),
        session=session,
        new_session=a_session(grace),
        used_key=used_key,
        new_key=new_key,
    )


SUBJECT = b"grace" * 6


async def answer_to(begin: Begin, key: KeyId) -> bytes | None:
    async with begin() as uow:
        return await uow.keys.claim(key, b"request", at=NOON, lifetime=timedelta(hours=1), max_wait=1)


async def remembered(begin: Begin, world: World) -> list[object]:
    """All that only a unit of work can tell, and that none must be in the way of."""
    async with begin() as uow:
        return [
            await uow.sessions.find(world.new_session.token_hash),
            await uow.sessions.find(b"rotated" * 4),
            await uow.sessions.get_for_update(world.session.id),
            await uow.attempts.get_for_update(SUBJECT),
        ]


async def or_none(read: Awaitable[object]) -> object:
    try:
        return await read
    except NotFound:
        return None


async def read(store: Store, world: World) -> list[object]:
    """All that readers tell of it."""
    people = (world.ada, world.grace, world.new_user)
    told = [
        *[await or_none(store.users.get(user.id)) for user in people],
        *[await store.users.find_by_login(user.email) for user in people],
        *[await or_none(store.items.get(item.id)) for item in (world.lamp, world.new_item)],
        await or_none(store.transfers.page(world.lamp.id, Window())),
        *[await or_none(store.tasks.get(task.id, task.owner_id)) for task in (world.task, world.new_task)],
    ]
    return deepcopy(told)  # lest it be changed with what is stored


BLOCKED = 3.0
"""Seconds in which other tasks run, even on a busy machine, unless the event loop is blocked."""


async def test_other_tasks_run_while_a_unit_of_work_waits_for_another(begin: Begin, lamp: Item) -> None:
    """The first test of a certification: an adapter that fails it would stop the whole server."""

    async def work(uow: UnitOfWork) -> None:
        await rename(uow, lamp.id)

    turns, longest = 0, 0.0
    async with asyncio.TaskGroup() as tasks, begin() as first:
        await work(first)
        second = tasks.create_task(attempt(begin, work))
        while turns < 10 and not second.done():
            began = monotonic()
            await asyncio.sleep(0.01)
            turns, longest = turns + 1, max(longest, monotonic() - began)
    if turns < 10 and longest > BLOCKED:
        pytest.fail(
            f"no other task could run for {longest:.1f} s while a unit of work waited for another one: wait with"
            " `await`, never with calls that block the event loop",
            pytrace=False,
        )


async def test_each_unit_of_work_lets_other_tasks_run(begin: Begin) -> None:
    """A task that begins units of work in a loop would stop the whole server otherwise, even if nothing has to wait."""
    turns, user = 0, a_user()

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count_turns())
    await asyncio.sleep(0)
    units, without_a_turn, began = 0, 0, monotonic()
    while units < 100 and monotonic() - began < LIMIT:
        before = turns
        async with begin() as uow:
            await uow.users.hold(user.id)
        units, without_a_turn = units + 1, without_a_turn + (turns == before)
    counting.cancel()
    if without_a_turn:
        pytest.fail(
            f"in {without_a_turn} of {units} units of work, entering begin() let no other task run, nor did a call or"
            " leaving it; `await asyncio.sleep(0)` in it",
            pytrace=False,
        )


async def add_user(uow: UnitOfWork, world: World) -> None:
    await uow.users.add(world.new_user)


async def hold_users(uow: UnitOfWork, world: World) -> None:
    await uow.users.hold(world.ada.id, world.grace.id)


async def lock_user(uow: UnitOfWork, world: World) -> None:
    await uow.users.get_for_update(world.grace.id)


async def save_user(uow: UnitOfWork, world: World) -> None:
    user = await uow.users.get_for_update(world.grace.id)
    await uow.users.save(replace(user, email="new@example.org", is_active=False, version=2))


async def remove_user(uow: UnitOfWork, world: World) -> None:
    grace = await uow.users.get_for_update(world.grace.id)
    await uow.tasks.remove_all(grace.id)
    await uow.sessions.remove_all(grace.id)
    await uow.users.remove(grace)


async def add_item(uow: UnitOfWork, world: World) -> None:
    await uow.users.hold(world.ada.id)
    await uow.items.add(world.new_item)


async def lock_item(uow: UnitOfWork, world: World) -> None:
    await uow.items.get_for_update(world.lamp.id)


async def lock_item_and_users(uow: UnitOfWork, world: World) -> None:
    await uow.lock_item(world.lamp.id, world.ada.id, world.grace.id)


async def save_item(uow: UnitOfWork, world: World) -> None:
    item = await uow.items.get_for_update(world.lamp.id)
    await uow.items.save(replace(item, name="Lantern", version=3))


async def remove_item(uow: UnitOfWork, world: World) -> None:
    await uow.items.remove(await uow.items.get_for_update(world.lamp.id))


async def transfer_item(uow: UnitOfWork, world: World) -> None:
    item = await uow.items.get_for_update(world.lamp.id)
    await uow.users.hold(world.grace.id)
    await uow.items.save(replace(item, owner_id=world.grace.id, version=3, transfers=2))
    await uow.transfers.add(world.new_transfer)


async def add_transfer(uow: UnitOfWork, world: World) -> None:
    await uow.transfers.add(world.new_transfer)


async def claim_key(uow: UnitOfWork, world: World) -> None:
    await uow.keys.claim(world.new_key, b"request", at=NOON, lifetime=timedelta(hours=1), max_wait=1)


async def replace_expired_key(uow: UnitOfWork, world: World) -> None:
    later = NOON + timedelta(hours=2)
    await uow.keys.claim(world.used_key, b"other request", at=later, lifetime=timedelta(hours=1), max_wait=1)
    await uow.keys.save_answer(world.used_key, b"other answer")


async def keep_answer(uow: UnitOfWork, world: World) -> None:
    await claim_key(uow, world)
    await uow.keys.save_answer(world.new_key, b"answer")


async def add_task(uow: UnitOfWork, world: World) -> None:
    await uow.tasks.add(world.new_task)


async def lock_task(uow: UnitOfWork, world: World) -> None:
    await uow.tasks.get_for_update(world.task.id)


async def save_task(uow: UnitOfWork, world: World) -> None:
    task = await uow.tasks.get_for_update(world.task.id)
    await uow.tasks.save(replace(task, title="Polish the lamp", version=2))


async def remove_task(uow: UnitOfWork, world: World) -> None:
    await uow.tasks.remove(await uow.tasks.get_for_update(world.task.id))


async def remove_tasks(uow: UnitOfWork, world: World) -> None:
    await uow.tasks.remove_all((await uow.users.get_for_update(world.grace.id)).id)


async def add_session(uow: UnitOfWork, world: World) -> None:
    await uow.sessions.add(world.new_session)


async def rotate_session(uow: UnitOfWork, world: World) -> None:
    session = await uow.sessions.get_for_update(world.session.id)
    await uow.sessions.save(replace(session, token_hash=b"rotated" * 4, version=2))


async def revoke_sessions(uow: UnitOfWork, world: World) -> None:
    await uow.sessions.revoke_all((await uow.users.get_for_update(world.grace.id)).id)


async def remove_sessions(uow: UnitOfWork, world: World) -> None:
    await uow.sessions.remove_all((await uow.users.get_for_update(world.grace.id)).id)


async def count_attempt(uow: UnitOfWork, world: World) -> None:
    attempts = await uow.attempts.get_for_update(SUBJECT)
    attempts[0].admit(NOON, limit=3)
    await uow.attempts.save(*attempts)


Change = Callable[[UnitOfWork, World], Awaitable[None]]
CHANGES: list[Change] = [
    add_user,
    hold_users,
    lock_user,
    save_user,
    remove_user,
    add_item,
    lock_item,
    lock_item_and_users,
    save_item,
    remove_item,
    transfer_item,
    add_transfer,
    add_task,
    lock_task,
    save_task,
    remove_task,
    remove_tasks,
    add_session,
    rotate_session,
    revoke_sessions,
    remove_sessions,
    count_attempt,
    claim_key,
    replace_expired_key,
    keep_answer,
]
every_change = pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)


@every_change
async def test_nothing_is_kept_without_commit(change: Change, world: World, begin: Begin, store: Store) -> None:
    before, memories = await read(store, world), await remembered(begin, world)
    async with begin() as uow:
        await change(uow, world)
        assert await read(store, world) == before
    assert await read(store, world) == before
    assert await remembered(begin, world) == memories
    assert await answer_to(begin, world.used_key) == b"answer"
    assert await answer_to(begin, world.new_key) is None


@every_change
async def test_an_error_undoes_everything(change: Change, world: World, begin: Begin, store: Store) -> None:
    async def fail(uow: UnitOfWork) -> None:
        await change(uow, world)
        raise ZeroDivisionError

    before, memories = await read(store, world), await remembered(begin, world)
    with pytest.raises(ZeroDivisionError):
        await attempt(begin, fail)
    assert await read(store, world) == before
    assert await remembered(begin, world) == memories
    assert await answer_to(begin, world.used_key) == b"answer"
    assert await answer_to(begin, world.new_key) is None


@every_change
async def test_what_was_undone_can_be_done(change: Change, world: World, begin: Begin) -> None:
    """So nothing of it was left, not even a lock."""
    async with begin() as uow:
        await change(uow, world)
    async with asyncio.timeout(LIMIT), begin() as uow:
        await change(uow, world)


async def test_what_is_committed_is_there_at_once(world: World, begin: Begin, store: Store) -> None:
    async with begin() as uow:
        await add_user(uow, world)
        await add_item(uow, world)
        await transfer_item(uow, world)
        await keep_answer(uow, world)
        await uow.commit()
        assert await store.users.get(world.new_user.id) == world.new_user
        assert (await store.items.get(world.new_item.id)).item == world.new_item
        assert (await store.items.get(world.lamp.id)).owner_username == world.grace.username
        history = await store.transfers.page(world.lamp.id, Window())
        assert history.items == [world.transfer, world.new_transfer]
    assert await answer_to(begin, world.new_key) == b"answer"


async def test_a_unit_sees_its_own_changes(world: World, begin: Begin) -> None:
    async with begin() as uow:
        await add_user(uow, world)
        assert await uow.users.get_for_update(world.new_user.id) == world.new_user
        await add_item(uow, world)
        assert await uow.items.get_for_update(world.new_item.id) == world.new_item
        await save_user(uow, world)
        assert not (await uow.users.hold(world.grace.id))[world.grace.id].is_active
        await save_item(uow, world)
        assert (await uow.items.get_for_update(world.lamp.id)).name == "Lantern"
        await uow.commit()


async def test_a_unit_sees_its_own_removals(world: World, begin: Begin) -> None:
    async with begin() as uow:
        await remove_user(uow, world)
        assert await uow.users.hold(world.grace.id) == {}
        await remove_item(uow, world)
        with pytest.raises(NotFound):
            await uow.items.get_for_update(world.lamp.id)


async def test_a_refused_unit_keeps_nothing(world: World, begin: Begin, store: Store) -> None:
    async def take_a_name(uow: UnitOfWork) -> None:
        await save_item(uow, world)
        await add_user(uow, world)
        await uow.users.add(a_user(email=world.ada.email))

    before = await read(store, world)
    assert await attempt(begin, take_a_name) == "email-taken"
    assert await read(store, world) == before


async def test_a_unit_that_must_be_tried_again_keeps_nothing(world: World, begin: Begin, store: Store) -> None:
    async def save_outdated(uow: UnitOfWork) -> None:
        await add_user(uow, world)
        await uow.items.save(replace(world.lamp, version=2))

    before = await read(store, world)
    assert await attempt(begin, save_outdated) == TRY_AGAIN
    assert await read(store, world) == before


async def test_units_do_not_share_their_changes(world: World, begin: Begin) -> None:
    async with begin() as uow:
        await add_user(uow, world)
    async with begin() as uow:
        assert await uow.users.hold(world.new_user.id) == {}
        await uow.commit()
    async with begin() as uow:
        assert await uow.users.hold(world.new_user.id) == {}


# Entities belong to whoever has them


def spoil(entity: Any) -> None:
    if isinstance(entity, User):
        entity.email = "spoilt@example.org"
        entity.is_active = False
    else:
        entity.name = "Spoilt"
    entity.version += 1


async def test_changing_what_a_unit_hands_out_changes_nothing(world: World, begin: Begin, store: Store) -> None:
    before = await read(store, world)
    async with begin() as uow:
        spoil(await uow.users.get_for_update(world.ada.id))
        for user in (await uow.users.hold(world.ada.id, world.grace.id)).values():
            spoil(user)
        spoil(await uow.items.get_for_update(world.lamp.id))
        assert await uow.users.hold(world.ada.id) == {world.ada.id: world.ada}
        assert await uow.items.get_for_update(world.lamp.id) == world.lamp
        await uow.commit()
    assert await read(store, world) == before


async def test_changing_what_a_unit_was_given_changes_nothing(world: World, begin: Begin, store: Store) -> None:
    user, item = replace(world.new_user), replace(world.new_item)
    async with begin() as uow:
        await uow.users.add(user)
        await uow.items.add(item)
        changed = await uow.items.get_for_update(world.lamp.id)
        changed.name, changed.version = "Lantern", 3
        await uow.items.save(changed)
        for entity in (user, item, changed):
            spoil(entity)
        await uow.commit()
    assert await store.users.get(user.id) == world.new_user
    assert (await store.items.get(item.id)).item == world.new_item
    assert (await store.items.get(world.lamp.id)).item == replace(world.lamp, name="Lantern", version=3)


async def test_changing_what_a_reader_hands_out_changes_nothing(world: World, store: Store) -> None:
    before = await read(store, world)
    spoil(await store.users.get(world.ada.id))
    spoil(await store.users.find_by_login(world.grace.email))
    spoil((await store.items.get(world.lamp.id)).item)
    (await store.transfers.page(world.lamp.id, Window())).items.clear()
    assert await read(store, world) == before


# Cancellation


async def cancelled(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@every_change
async def test_a_cancelled_unit_keeps_nothing(change: Change, world: World, begin: Begin, store: Store) -> None:
    before = await read(store, world)
    done = asyncio.Event()

    async def stay() -> None:
        async with begin() as uow:
            await change(uow, world)
            done.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(stay())
    await done.wait()
    await cancelled(task)

    assert await read(store, world) == before
    async with asyncio.timeout(LIMIT), begin() as uow:
        await change(uow, world)


@pytest.mark.filterwarnings("ignore:Exception ignored in. <socket.socket")  # PyMongo's, if cancelled while connecting
async def test_units_cancelled_at_any_moment_leave_the_store_usable(world: World, begin: Begin, store: Store) -> None:
    """More of them than a pool has connections, in the middle of whatever statement."""
    version = world.lamp.version
    for step in range(40):
        task = asyncio.create_task(attempt(begin, lambda uow: transfer_and_back(uow, world)))
        await asyncio.sleep(step * 0.0004)
        task.cancel()
        await asyncio.wait({task})

    gc.collect()

    async with asyncio.timeout(LIMIT):
        item = (await store.items.get(world.lamp.id)).item
        history = (await store.transfers.page(world.lamp.id, Window(limit=100))).items
    assert item.version - version == item.transfers - world.lamp.transfers
    assert [t.number for t in history] == list(range(1, item.transfers + 1))
    assert await attempt(begin, lambda uow: transfer_and_back(uow, world)) == COMMITTED


async def transfer_and_back(uow: UnitOfWork, world: World) -> None:
    people = await uow.users.hold(world.ada.id, world.grace.id)
    item = await uow.items.get_for_update(world.lamp.id)
    [recipient] = [user for user in people.values() if user.id != item.owner_id]
    transfer = item.transfer(id=a_transfer(item, recipient).id, by=item.owner_id, to=recipient, at=NOON)
    await uow.items.save(item)
    await uow.transfers.add(transfer)


CANCELLED_TWICE = (
    "keep the lock until what was begun has ended, whatever is cancelled meanwhile; see Threads in"
    " docs/adding-an-adapter.md"
)


@pytest.mark.filterwarnings("ignore:Exception ignored in. <socket.socket")  # PyMongo's, if cancelled while connecting
async def test_a_commit_that_is_cancelled_twice_takes_effect_as_a_whole_or_not_at_all(
    world: World, database: Database
) -> None:
    """The second cancellation comes while the adapter still handles the first, for instance waits for a thread."""

    async def commit_a_transfer(user: User, committing: asyncio.Event) -> None:
        try:
            async with database.store.begin() as uow:
                await uow.users.add(user)
                await transfer_and_back(uow, world)
                committing.set()
                await uow.commit()
        finally:
            committing.set()

    async def consequences() -> tuple[set[UserId], Item, list[Transfer]]:
        """The added users, the item and its history."""
        found = [await or_none(database.store.users.get(user_id)) for user_id in added]
        history = await database.store.transfers.page(world.lamp.id, Window(limit=1000))
        item = (await database.store.items.get(world.lamp.id)).item
        return {user.id for user in found if isinstance(user, User)}, item, history.items

    added: list[UserId] = []
    for first, second in product([0, 1, 3, 0.0005, 0.002], [0, 2, 0.001]):
        user, committing = a_user(), asyncio.Event()
        added.append(user.id)
        task = asyncio.create_task(commit_a_transfer(user, committing))
        await committing.wait()
        for moment in (first, second):
            await pass_time(moment)
            task.cancel()
        await asyncio.wait({task})
        ended = await attempt_again_and_again(database.store.begin, lambda uow: transfer_and_back(uow, world))
        assert ended == COMMITTED

        users, item, history = await consequences()
        others = 1 + len(added)
        expected = others + len(users)
        numbers = [transfer.number for transfer in history]
        if (numbers, item.transfers, item.version) != ([*range(1, expected + 1)], expected, expected + 1):
            pytest.fail(
                f"commit() was cancelled twice, and then {len(users)} users, {item.transfers} transfers of the item and"
                f" {len(history)} rows of its history were there, where as many of one as of the other were to be"
                f" committed, after {others} transfers of other units of work: {CANCELLED_TWICE}",
                pytrace=False,
            )
    before = await consequences()
    if database.store.capabilities.durable:
        await database.reopen()
        if await consequences() != before:
            pytest.fail(
                "commit() was cancelled twice, and what was there afterwards is not the same as when the store was"
                f" opened again: {CANCELLED_TWICE}",
                pytrace=False,
            )


async def attempt_again_and_again(begin: Begin, work: Work) -> str:
    """The result of the first attempt that does not get TryAgain."""
    async with asyncio.timeout(LIMIT):
        while True:
            ended = await attempt(begin, work)
            if ended != TRY_AGAIN:
                return ended
            await asyncio.sleep(0.01)


async def pass_time(moment: float) -> None:
    """Let other tasks run that many times if it is a whole number, else wait for that many seconds."""
    if isinstance(moment, float):
        await asyncio.sleep(moment)
    else:
        for _ in range(moment):
            await asyncio.sleep(0)


async def test_many_units_that_are_left_early_do_not_exhaust_the_store(world: World, begin: Begin) -> None:
    async with asyncio.timeout(LIMIT):
        for _ in range(15):
            async with begin() as uow:
                await save_item(uow, world)


async def test_many_units_that_fail_do_not_exhaust_the_store(world: World, begin: Begin) -> None:
    for _ in range(15):
        assert await attempt(begin, lambda uow: uow.users.get_for_update(world.new_user.id)) == "user-not-found"


async def test_more_units_than_connections_have_their_turn(world: World, begin: Begin, items: ItemReader) -> None:
    async def add(item: Item) -> None:
        async with begin() as uow:
            await uow.users.hold(world.ada.id)
            await uow.items.add(item)
            await uow.commit()

    async def add_until_done(item: Item) -> None:
        while True:
            try:
                return await add(item)
            except TryAgain:
                await asyncio.sleep(0.01)

    added = [an_item(world.ada) for _ in range(30)]
    async with asyncio.timeout(LIMIT):
        await asyncio.gather(*(add_until_done(item) for item in added))
    for item in added:
        assert (await items.get(item.id)).item == item
