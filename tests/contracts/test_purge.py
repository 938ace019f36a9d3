"""Purging removes what has expired, and nothing else."""

from datetime import timedelta

from application.ports import Begin
from application.store import Store
from domain.user import User
from interfaces.certification.overlapping import insert
from interfaces.testing.builders import NOON, a_key, a_session

HOUR = timedelta(hours=1)


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

    assert await store.purge(NOON + HOUR) == 3
    assert await store.purge(NOON + HOUR) == 0

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
    assert await store.purge(NOON + HOUR) == 1
    async with begin() as uow:
        [attempts] = await uow.attempts.get_for_update(b"ada")
        assert (attempts.failed, attempts.pending) == ((), ())
