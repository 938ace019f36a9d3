"""A whole store can be read as it is, and written to another store as it was."""

from collections import Counter
from dataclasses import fields, replace
from datetime import timedelta
from typing import Any

import pytest

from application.errors import KeyReused
from application.idempotency import IdempotentRequest, Replay, idempotent
from application.ports import Begin, Ids
from application.store import Store
from application.streaming import KINDS, Record, SessionToken, StoredKey, identity
from application.transact import Transact
from application.use_cases.items import ChangeItem, DeleteItem, TransferItem
from domain.item import Item, ItemId, Transfer
from domain.session import LoginAttempts, Session
from domain.user import User
from infrastructure.persistence.memory import MemoryStore
from interfaces.certification.database import Database
from interfaces.certification.overlapping import insert
from interfaces.testing.builders import NOON, a_key, a_session, a_task, a_transfer, a_user, an_item, new_id
from interfaces.testing.clock_and_ids import SetClock

HOUR = timedelta(hours=1)
KEY = a_key()
Everything = dict[type[Record], list[Any]]


async def read_everything(store: Store, limit: int = 2) -> Everything:
    everything: Everything = {}
    for kind in KINDS:
        records = everything[kind] = []
        while page := await store.stream.read(kind, identity(records[-1]) if records else None, limit):
            assert len(page) <= limit
            again = {identity(one) for one in page} & {identity(one) for one in records}
            assert not again, f"read() gives {kind.__name__} {again} again behind {identity(records[-1])!r}"
            records += page
        assert await store.stream.count(kind) == len(records)
    return everything


async def write_everything(store: Store, everything: Everything) -> None:
    for kind in KINDS:
        await store.stream.write(everything[kind])


@pytest.fixture
async def world(begin: Begin, ids: Ids, clock: SetClock, ada: User, grace: User) -> tuple[Item, Session]:
    """One of everything: a chain of transfers, a deleted item with its history, a used token, attempts, a key."""
    transact = Transact(begin, clock)
    kept, deleted = an_item(ada), an_item(ada)
    session = a_session(ada, expires_at=NOON + HOUR)
    await insert(begin, a_user(), kept, deleted, a_task(ada), session, a_session(grace, revoked=True))
    transfer = TransferItem(transact, ids, clock)
    with idempotent(IdempotentRequest(KEY, b"request", lambda _: b"answer")):
        await transfer(kept.id, by=ada.id, to=grace.id)
    await transfer(kept.id, by=grace.id, to=ada.id)
    await transfer(deleted.id, by=ada.id, to=grace.id)
    await DeleteItem(transact)(deleted.id, by=grace.id)
    await ChangeItem(transact)(kept.id, {"description": None}, by=ada.id)
    async with begin() as uow:
        rotated = await uow.sessions.get_for_update(session.id)
        rotated.rotate(session.token_hash, b"s" * 32, NOON)
        await uow.sessions.save(rotated)
        attempts = await uow.attempts.get_for_update(b"subject", b"other subject")
        for one in attempts:
            one.admit(NOON, limit=3)
        attempts[0].settle(NOON, failed=True)
        await uow.attempts.save(*attempts)
        await uow.commit()
    return kept, session


async def test_everything_is_read_as_it_is(store: Store, world: tuple[Item, Session], ada: User, grace: User) -> None:
    kept, session = world
    everything = await read_everything(store)
    assert {kind: len(records) for kind, records in everything.items() if records} == {
        User: 3,
        Item: 1,
        Transfer: 3,
        **{kind: 1 for kind in KINDS if kind.__name__ == "Task"},
        Session: 2,
        SessionToken: 3,
        LoginAttempts: 2,
        StoredKey: 1,
    }
    for kind in KINDS:
        keys = [identity(record) for record in everything[kind]]
        assert len(set(keys)) == len(keys)
    [item] = everything[Item]
    assert (item.id, item.owner_id, item.version, item.transfers) == (kept.id, ada.id, 4, 2)
    tokens = {token.token_hash: token for token in everything[SessionToken]}
    assert tokens[session.token_hash].session_id == session.id
    assert tokens[session.token_hash].expires_at == session.expires_at
    [key] = everything[StoredKey]
    assert (key.id, key.fingerprint, key.answer) == (KEY, b"request", b"answer")
    assert {attempts.subject for attempts in everything[LoginAttempts]} == {b"subject", b"other subject"}
    assert everything[User] == sorted(everything[User], key=lambda user: user.id)


async def test_what_was_read_is_written_elsewhere(
    database: Database, world: tuple[Item, Session], clock: SetClock, ada: User
) -> None:
    kept, session = world
    owned = await database.store.items.get(kept.id)
    everything = await read_everything(database.store)
    memory = MemoryStore()
    await write_everything(memory, everything)
    assert as_sets(await read_everything(memory)) == as_sets(everything)

    await database.empty()
    store = database.store
    await write_everything(store, everything)
    await write_everything(store, everything)
    assert as_sets(await read_everything(store, 100)) == as_sets(everything)

    assert await store.items.get(kept.id) == owned
    assert await store.users.find_by_login(ada.email) == ada
    async with store.begin() as uow:
        assert await uow.sessions.find(session.token_hash) == (session.id, ada.id)
    for fingerprint, expected in ((b"request", Replay), (b"another", KeyReused)):
        request = IdempotentRequest(KEY, fingerprint, lambda _: b"")
        with idempotent(request), pytest.raises(expected):
            await Transact(store.begin, clock)(lambda uow: uow.users.add(a_user()))


@pytest.mark.capability("durable")
async def test_a_store_that_is_opened_again_holds_the_same(
    database: Database, world: tuple[Item, Session], ada: User
) -> None:
    """Additions, changes, removals and a purge of all kinds are still there, or all gone, as `durable` says."""
    kept, _ = world
    store, gone, expired = database.store, a_user(), a_session(ada, expires_at=NOON)
    precise = replace(kept, id=ItemId(new_id()), created_at=NOON + timedelta(milliseconds=333))
    await insert(store.begin, gone, expired, a_task(gone), precise)
    await store.stream.write([StoredKey(id=a_key(), fingerprint=b"request", expires_at=NOON, answer=b"answer")])
    await store.stream.write([LoginAttempts(subject=b"expired", failed=(NOON - HOUR,), version=1)])
    async with store.begin() as uow:
        changed = await uow.users.get_for_update(ada.id)
        changed.email, changed.version = "changed@example.org", changed.version + 1
        await uow.users.save(changed)
        removed = await uow.users.get_for_update(gone.id)
        await uow.tasks.remove_all(gone.id)
        await uow.users.remove(removed)
        await uow.commit()
    assert await store.purge(NOON, limit=10) == Counter(sessions=1, tokens=1, keys=1, attempts=1)
    before, history = await read_everything(store), await store.stream.history(None, 100)
    assert all(before.values())
    login = await store.users.find_by_login("changed@example.org")

    await database.reopen()

    store = database.store
    if not store.capabilities.durable:
        assert not any((await read_everything(store)).values())
        return
    for kind, records in (await read_everything(store)).items():
        if changes := differences(before[kind], records):
            pytest.fail(
                f"the store was closed and opened again, and {len(changes)} records of the kind {kind.__name__} are not"
                f" the same: {changes[0]}",
                pytrace=False,
            )
    assert await store.stream.history(None, 100) == history
    assert await store.users.find_by_login("changed@example.org") == login
    assert await store.users.find_by_login(ada.email) is None


def differences(before: list[Any], now: list[Any]) -> list[str]:
    """What has become of the records, in words, for each that is not as it was."""
    old, new = {identity(one): one for one in before}, {identity(one): one for one in now}
    return [
        f"{id!r} was there before, and is not now"
        if id not in new
        else f"{id!r} is there now, and was not before"
        if id not in old
        else f"of {id!r}, {first_difference(old[id], new[id])}"
        for id in old.keys() | new.keys()
        if old.get(id) != new.get(id)
    ]


def first_difference(old: Any, new: Any) -> str:
    """The first field that differs, with both values."""
    values = ((field.name, getattr(old, field.name), getattr(new, field.name)) for field in fields(old))
    name, was, is_now = next(value for value in values if value[1] != value[2])
    return f"{name} was {was!r}, and is now {is_now!r}"


async def test_the_history_is_sorted_by_item_and_number(
    store: Store, begin: Begin, world: tuple[Item, Session], ada: User, grace: User
) -> None:
    kept, _ = world
    other = an_item(ada)
    await insert(begin, other)
    for number in (2, 10, 1, 9):  # as numbers, not as texts, and not in the order of their ids
        await store.stream.write([a_transfer(other, grace, number=number, version=number + 1)])
    everything = sorted(
        await store.stream.read(Transfer, None, 100), key=lambda transfer: (transfer.item_id, transfer.number)
    )
    assert len(everything) == 7
    assert [transfer.number for transfer in everything if transfer.item_id == other.id] == [1, 2, 9, 10]
    for limit in (1, 2, 3, 100):
        found: list[Transfer] = []
        while page := await store.stream.history((found[-1].item_id, found[-1].number) if found else None, limit):
            assert len(page) <= limit
            assert not {one.id for one in page} & {one.id for one in found}, "history() gives transfers again"
            found += page
        assert found == everything
    assert await store.stream.history((kept.id, 1), 1) == [
        transfer for transfer in everything if (transfer.item_id, transfer.number) == (kept.id, 2)
    ]
    last = everything[-1]
    assert await store.stream.history((last.item_id, 2**31 - 1), 1) == []


async def test_a_written_record_replaces_the_one_before(store: Store, begin: Begin, ada: User) -> None:
    item = an_item(ada)
    await insert(begin, item)
    item.name, item.version = "Renamed", 7
    await store.stream.write([item])
    assert (await store.items.get(item.id)).item == item
    await store.stream.write([])


def as_sets(everything: Everything) -> dict[type[Record], set[str]]:
    return {kind: {repr(record) for record in records} for kind, records in everything.items()}
