"""Copying a store: complete, resumed wherever it was cut off, verified, and into nothing but an empty store."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Literal

import pytest

from application.errors import TryAgain, Unavailable
from application.idempotency import IdempotentRequest, Replay, idempotent
from application.store import Store
from application.streaming import KINDS, MARKER, Identity, Record, StoredKey
from application.transact import Transact
from application.use_cases import copy_store
from application.use_cases.copy_store import Checkpoint, CopyRefused, CopyStore
from application.use_cases.items import TransferItem
from application.use_cases.purge import LEASE
from domain.item import Item
from domain.user import User
from infrastructure.persistence.memory import MemoryStore
from infrastructure.persistence.memory.stream import MemoryStream
from interfaces.testing.builders import NOON, a_key, a_session, a_task, a_user, an_item, new_id
from interfaces.testing.clock_and_ids import SetClock

KEY = a_key()


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copy_store, "BATCH", 2)


@pytest.fixture
async def source() -> MemoryStore:
    store, clock = MemoryStore(), SetClock()
    owner, other = a_user(), a_user()
    items = [an_item(owner) for _ in range(5)]
    async with store.begin() as uow:
        for user in (owner, other, a_user()):
            await uow.users.add(user)
        for item in items:
            await uow.items.add(item)
            await uow.tasks.add(a_task(owner))
        for _ in range(3):
            await uow.sessions.add(a_session(owner))
        attempts = await uow.attempts.get_for_update(b"one", b"two", b"three")
        for one in attempts:
            one.admit(NOON, limit=5)
        await uow.attempts.save(*attempts)
        await uow.commit()
    transfer = TransferItem(Transact(store.begin, clock), new_id, clock)
    for item in items[:3]:
        with idempotent(IdempotentRequest(replace(KEY, key=str(item.id)), b"request", lambda _: b"answer")):
            await transfer(item.id, by=owner.id, to=other.id)
    return store


async def everything(store: Store) -> dict[str, list[str]]:
    return {kind.__name__: [repr(one) for one in await store.stream.read(kind, None, 1000)] for kind in KINDS}


class CutOff(Exception):
    """The process was killed."""


class FailingStream(MemoryStream):
    """Fails after so many writes."""

    writes_left = 0

    async def write(self, records: Sequence[Record]) -> None:
        if self.writes_left == 0:
            raise CutOff
        self.writes_left -= 1
        await super().write(records)


async def test_everything_is_copied_and_nothing_else(source: MemoryStore) -> None:
    target, reported = MemoryStore(), set()
    counts = await CopyStore(source, target, lambda phase, kind, done, total: reported.add((phase, done <= total)))("a")
    assert await everything(target) == await everything(source)
    assert counts["items"] == 5
    assert counts["transfers"] == counts["idempotency keys"] == counts["log-in attempts"] == 3
    assert reported == {("copy", True), ("verify source", True), ("verify target", True)}
    [key, *_] = await source.stream.read(StoredKey, None, 1)
    with idempotent(IdempotentRequest(key.id, b"request", lambda _: b"")), pytest.raises(Replay) as replay:
        await Transact(target.begin, SetClock())(lambda uow: uow.users.add(a_user()))
    assert replay.value.answer == b"answer"


async def test_a_copy_is_continued_wherever_it_was_cut_off(source: MemoryStore) -> None:
    target = MemoryStore()
    target.stream = stream = FailingStream(target.tables)
    cut_off = 0
    while True:
        stream.writes_left = 3
        try:
            await CopyStore(source, target)("a")
        except CutOff:
            cut_off += 1
        else:
            break
    assert cut_off > 5
    assert await everything(target) == await everything(source)


class LockedStream(MemoryStream):
    """Another transaction has locked what is written, for so many writes."""

    locked_for = 5

    async def write(self, records: Sequence[Record]) -> None:
        self.locked_for -= 1
        if self.locked_for >= 0:
            raise TryAgain("locked")
        await super().write(records)


async def test_locks_that_a_killed_copy_has_left_are_waited_for(
    source: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copy_store, "SECONDS_BETWEEN_WRITES", 0)
    target = MemoryStore()
    target.stream = LockedStream(target.tables)
    await CopyStore(source, target)("a")
    assert await everything(target) == await everything(source)


async def test_they_are_not_waited_for_for_ever(source: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copy_store, "SECONDS_FOR_LOCKS", 0)
    target = MemoryStore()
    target.stream = LockedStream(target.tables)
    with pytest.raises(Unavailable, match="the target is locked"):
        await CopyStore(source, target)("a")


async def test_a_target_that_is_not_empty_is_refused(source: MemoryStore) -> None:
    target = MemoryStore()
    await CopyStore(source, target)("a")
    before = await everything(target)
    with pytest.raises(CopyRefused, match="not empty, it has users"):
        await CopyStore(source, target)("a")
    assert await everything(target) == before


async def test_an_unfinished_copy_of_another_store_is_refused(source: MemoryStore) -> None:
    target = MemoryStore()
    target.stream = stream = FailingStream(target.tables)
    stream.writes_left = 3
    with pytest.raises(CutOff):
        await CopyStore(source, target)("a")
    with pytest.raises(CopyRefused, match="unfinished copy of another store"):
        await CopyStore(source, target)("another")


async def test_a_source_that_changes_meanwhile_is_noticed_and_copied_again(source: MemoryStore) -> None:
    target = MemoryStore()
    [item, *_] = await source.stream.read(Item, None, 1)

    async def change() -> None:
        await source.stream.write([replace(item, name="Renamed", version=item.version + 1)])

    class Changing(MemoryStream):
        async def write(self, records: Sequence[Record]) -> None:
            await super().write(records)
            if any(isinstance(record, StoredKey) and record.id != MARKER for record in records):
                await change()

    stream, target.stream = target.stream, Changing(target.tables)
    with pytest.raises(CopyRefused, match="the items of the source have changed"):
        await CopyStore(source, target)("a")
    target.stream = stream
    await CopyStore(source, target)("a")
    assert await everything(target) == await everything(source)


async def test_a_record_that_is_lost_on_the_way_is_noticed(source: MemoryStore) -> None:
    class Losing(MemoryStream):
        async def write(self, records: Sequence[Record]) -> None:
            await super().write([record for record in records if not isinstance(record, User)])

    target = MemoryStore()
    target.stream = Losing(target.tables)
    with pytest.raises(CopyRefused, match="users of the source"):
        await CopyStore(source, target)("a")


@pytest.mark.parametrize("after", [None, new_id(), b"\x00\xff", (new_id(), "POST /items", 'a, "key"')])
def test_a_checkpoint_is_read_as_it_was_written(after: Identity | None) -> None:
    checkpoint = Checkpoint(3, after)
    assert Checkpoint.decode(checkpoint.encode()) == checkpoint


async def test_the_marker_is_not_a_key_that_anybody_can_use() -> None:
    store = MemoryStore()
    marker = StoredKey(id=MARKER, fingerprint=b"", expires_at=copy_store.EPOCH, answer=b"")
    await store.stream.write([marker])
    assert (await store.purge(copy_store.EPOCH + timedelta(milliseconds=1), limit=10)).total() == 1


async def test_the_leases_of_purges_are_no_part_of_a_store(source: MemoryStore) -> None:
    """A target on which a server has run is still empty, and servers of the source do not prevent a copy."""
    lease = StoredKey(id=LEASE, fingerprint=b"", expires_at=NOON, answer=b"taken")
    before, target = await everything(source), MemoryStore()
    await source.stream.write([lease])
    await target.stream.write([replace(lease, expires_at=NOON + timedelta(minutes=1))])
    incomplete: set[tuple[str, str]] = set()

    def report(phase: str, kind: type[Record], done: int, total: int) -> None:
        (incomplete.discard if done == total else incomplete.add)((phase, kind.__name__))

    counts = await CopyStore(source, target, report)("a")
    assert counts["idempotency keys"] == 3
    assert incomplete == set()
    [kept, *_] = await target.stream.read(StoredKey, None, 1)
    assert kept.expires_at == NOON + timedelta(minutes=1)
    await target.purge(kept.expires_at, limit=1)
    assert await everything(target) == before


@pytest.mark.parametrize(("writers", "most"), [("one", 4), ("many", 2)])
async def test_batches_are_as_large_as_the_target_allows(
    writers: Literal["one", "many"], most: int, source: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one writer there are no transactions that could become too large for the engine."""
    monkeypatch.setattr(copy_store, "LARGE_BATCH", 4)
    written: list[int] = []

    class Measured(MemoryStream):
        async def write(self, records: Sequence[Record]) -> None:
            written.append(len(records))
            await super().write(records)

    target = MemoryStore()
    target.capabilities = replace(target.capabilities, writers=writers)
    target.stream = Measured(target.tables)
    await CopyStore(source, target)("a")
    assert max(written) == most
