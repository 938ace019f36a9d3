"""Purging in the background: in batches, in turn, and no longer than the lease allows."""

from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import pytest

from application.errors import Unavailable
from application.streaming import StoredKey
from application.transact import Transact
from application.use_cases import purge
from application.use_cases.purge import LEASE, PurgeExpired, PurgeInTurn
from infrastructure.persistence.memory import MemoryStore
from interfaces.testing.builders import a_key
from interfaces.testing.clock_and_ids import SetClock

INTERVAL = timedelta(minutes=5)


class WatchedStore(MemoryStore):
    """Records its purges; `before_purge` is called before each."""

    def __init__(self) -> None:
        super().__init__()
        self.purges: list[tuple[datetime, int]] = []
        self.before_purge: Callable[[], Awaitable[None]] | None = None

    async def purge(self, at: datetime, limit: int) -> Counter[str]:
        self.purges.append((at, limit))
        if self.before_purge:
            await self.before_purge()
        return await super().purge(at, limit)

    async def add_expired_keys(self, number: int, at: datetime) -> None:
        keys = [StoredKey(id=a_key(), fingerprint=b"", expires_at=at, answer=b"") for _ in range(number)]
        await self.stream.write(keys)


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(purge, "BATCH", 2)
    monkeypatch.setattr(purge, "PAUSE", 0)


@pytest.fixture
def store() -> WatchedStore:
    return WatchedStore()


def worker(store: WatchedStore, clock: SetClock) -> PurgeInTurn:
    return PurgeInTurn(Transact(store.begin, clock), PurgeExpired(store, clock), clock, INTERVAL)


async def test_batches_follow_one_another_until_nothing_is_left(store: WatchedStore, clock: SetClock) -> None:
    await store.add_expired_keys(5, clock())
    assert await PurgeExpired(store, clock)() == Counter(keys=5)
    assert store.purges == [(clock(), 2)] * 4


async def test_what_expires_meanwhile_is_left_for_the_next_time(store: WatchedStore, clock: SetClock) -> None:
    async def move() -> None:
        clock.move(seconds=1)

    await store.add_expired_keys(3, clock())
    await store.add_expired_keys(1, clock() + timedelta(seconds=1))
    store.before_purge = move
    assert await PurgeExpired(store, clock)() == Counter(keys=3)


async def test_the_worker_stops_at_half_of_its_lease(store: WatchedStore, clock: SetClock) -> None:
    async def move() -> None:
        clock.time += INTERVAL / 4

    await store.add_expired_keys(7, clock())
    store.before_purge = move
    assert await worker(store, clock)() == Counter(keys=4)
    clock.time += INTERVAL / 2
    assert await worker(store, clock)() == Counter(keys=3)


async def test_a_worker_that_has_died_delays_the_others_until_its_lease_expires(
    store: WatchedStore, clock: SetClock
) -> None:
    async def die() -> None:
        raise Unavailable("the store is down")

    await store.add_expired_keys(1, clock())
    store.before_purge = die
    with pytest.raises(Unavailable):
        await worker(store, clock)()
    store.before_purge = None
    assert await worker(store, clock)() is None
    clock.time += INTERVAL
    assert await worker(store, clock)() == Counter(keys=1)


async def test_an_operators_purge_needs_no_lease(store: WatchedStore, clock: SetClock) -> None:
    await worker(store, clock)()
    await store.add_expired_keys(1, clock())
    assert await worker(store, clock)() is None
    assert await PurgeExpired(store, clock)() == Counter(keys=1)
    assert [key.id for key in await store.stream.read(StoredKey, None, 2)] == [LEASE]
