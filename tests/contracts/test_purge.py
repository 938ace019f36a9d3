"""Purging removes what has expired, and nothing else; in small batches, and by one worker at a time."""

import asyncio
from collections import Counter
from datetime import datetime, timedelta

from application.ports import Begin
from application.store import Store
from application.streaming import SessionToken, StoredKey
from application.transact import Transact
from application.use_cases.check_store import CheckStore
from application.use_cases.purge import BATCH, LEASE, PurgeExpired, PurgeInTurn
from domain.session import LoginAttempts, Session
from domain.user import User
from interfaces.certification.overlapping import LIMIT, insert
from interfaces.testing.builders import NOON, a_key, a_session, a_user
from interfaces.testing.clock_and_ids import SetClock

HOUR = timedelta(hours=1)
WORKERS = 5


def expired_key() -> StoredKey:
    return StoredKey(id=a_key(), fingerprint=b"request", expires_at=NOON, answer=b"answer")


async def test_what_has_had_its_time_goes_and_nothing_else(ada: User, begin: Begin, store: Store) -> None:
    old, young = a_session(ada, expires_at=NOON + HOUR), a_session(ada, expires_at=NOON + 2 * HOUR)
    await insert(begin, old, young)
    old_key, young_key = a_key(), a_key()
    for key, lifetime, subject, at in (
        (old_key, HOUR, b"old", NOON),
        (young_key, 2 * HOUR, b"young", NOON + HOUR - timedelta(minutes=1)),
    ):
        async with begin() as uow:
            await uow.keys.claim(key, b"request", at=NOON, lifetime=lifetime, max_wait=1)
            await uow.keys.save_answer(key, b"answer")
            attempts = await uow.attempts.get_for_update(subject)
            attempts[0].admit(at, limit=3)
            await uow.attempts.save(*attempts)
            await uow.commit()

    removed = await store.purge(NOON + HOUR, limit=10)
    assert removed == Counter(sessions=1, tokens=1, keys=1, attempts=1)
    assert (await store.purge(NOON + HOUR, limit=10)).total() == 0

    async with begin() as uow:
        assert await uow.sessions.find(old.token_hash) is None
        assert await uow.sessions.find(young.token_hash) == (young.id, ada.id)
        remembered = await uow.attempts.get_for_update(b"old", b"young")
        assert [len(attempts.pending) for attempts in remembered] == [0, 1]
    for key, answer in ((young_key, b"answer"), (old_key, None)):
        async with begin() as uow:
            assert await uow.keys.claim(key, b"request", at=NOON, lifetime=HOUR, max_wait=1) == answer


async def test_a_log_in_that_succeeded_leaves_nothing_to_keep(begin: Begin, store: Store) -> None:
    for settle in (False, True):
        async with begin() as uow:
            [attempts] = await uow.attempts.get_for_update(b"ada")
            if settle:
                attempts.settle(NOON, failed=False)
            else:
                attempts.admit(NOON, limit=3)
            await uow.attempts.save(attempts)
            await uow.commit()
    assert await store.purge(NOON + HOUR, limit=10) == Counter(attempts=1)
    async with begin() as uow:
        [attempts] = await uow.attempts.get_for_update(b"ada")
        assert (attempts.failed, attempts.pending) == ((), ())


async def test_no_more_is_removed_at_once_than_was_asked_for(ada: User, begin: Begin, store: Store) -> None:
    kinds = {"sessions": Session, "tokens": SessionToken, "attempts": LoginAttempts, "keys": StoredKey}
    await insert(begin, *(a_session(ada, expires_at=NOON) for _ in range(5)))
    await store.stream.write([LoginAttempts(subject=bytes([number]), version=1) for number in range(5)])
    await store.stream.write([expired_key() for _ in range(5)])
    left = Counter(dict.fromkeys(kinds, 5))
    while (batch := await store.purge(NOON, limit=2)).total():
        now = Counter({name: await store.stream.count(kind) for name, kind in kinds.items()})
        assert batch == left - now
        assert max(batch.values()) <= 2
        left = now
    assert left.total() == 0


async def test_a_session_goes_after_its_tokens(ada: User, begin: Begin, store: Store) -> None:
    """A session may have any number of tokens, which must not all be removed at once because of that."""
    session = a_session(ada, expires_at=NOON)
    await insert(begin, session)
    for number in range(4):
        async with begin() as uow:
            session = await uow.sessions.get_for_update(session.id)
            session.rotate(session.token_hash, bytes([number]), NOON - HOUR)
            await uow.sessions.save(session)
            await uow.commit()
    for tokens in (3, 1, 0):
        await store.purge(NOON, limit=2)
        assert await store.stream.count(SessionToken) == tokens
        assert await store.stream.count(Session) == (tokens > 0)


async def test_units_of_work_run_between_the_batches(begin: Begin, store: Store, clock: SetClock) -> None:
    await store.stream.write([expired_key() for _ in range(4 * BATCH)])
    committed = 0
    async with asyncio.timeout(LIMIT), asyncio.TaskGroup() as group:
        purge = group.create_task(PurgeExpired(store, clock)())
        while not purge.done():
            await insert(begin, a_user())
            committed += not purge.done()
    assert committed >= 3
    assert purge.result() == Counter(keys=4 * BATCH)


def worker(store: Store, clock: SetClock, purge: type[PurgeExpired] = PurgeExpired) -> PurgeInTurn:
    """As each process has its own."""
    return PurgeInTurn(Transact(store.begin, clock, deadline=LIMIT), purge(store, clock), clock, HOUR)


async def test_of_workers_that_want_to_purge_at_once_one_does(store: Store, clock: SetClock) -> None:
    began: list[datetime | None] = []

    class Watched(PurgeExpired):
        async def __call__(self, *, until: datetime | None = None) -> Counter[str]:
            began.append(until)
            return await super().__call__(until=until)

    await store.stream.write([expired_key() for _ in range(3)])
    workers = [worker(store, clock, Watched) for _ in range(WORKERS)]
    purges = await asyncio.gather(*(purge() for purge in workers))
    assert sorted(purges, key=bool) == [None] * (WORKERS - 1) + [Counter(keys=3)]
    assert began == [clock() + HOUR / 2]


async def test_a_lease_holds_until_it_expires(store: Store, clock: SetClock) -> None:
    await worker(store, clock)()
    await store.stream.write([expired_key()])
    clock.time += HOUR - timedelta(milliseconds=1)
    assert await worker(store, clock)() is None
    clock.move(milliseconds=1)
    assert await worker(store, clock)() == Counter(keys=1)
    await store.stream.write([expired_key()])
    assert await worker(store, clock)() is None


async def test_a_lease_is_purged_like_any_key_when_it_has_expired(store: Store, clock: SetClock) -> None:
    await worker(store, clock)()
    assert await PurgeExpired(store, clock)() == Counter()
    [key] = await store.stream.read(StoredKey, None, 2)
    assert (key.id, key.expires_at) == (LEASE, clock() + HOUR)
    clock.time += HOUR
    assert await PurgeExpired(store, clock)() == Counter(keys=1)


async def test_a_check_of_the_store_finds_nothing_wrong_with_a_lease(store: Store, clock: SetClock) -> None:
    await worker(store, clock)()
    assert await store.stream.count(StoredKey) == 1
    findings = (await CheckStore(store, clock)()).findings
    assert [finding for finding in findings if finding.kind != "setting"] == []
