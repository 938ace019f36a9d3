"""Log-in attempts are counted in the store, and no concurrent attempt escapes the count."""

import asyncio
from datetime import timedelta

from application.ports import Begin, UnitOfWork
from application.transact import Transact
from domain.session import LoginAttempts
from interfaces.certification.overlapping import LIMIT
from interfaces.testing.builders import NOON

ACCOUNT, ADDRESS = b"\xffaccount" * 4, b"\x00address" * 4


async def stored(begin: Begin, *subjects: bytes) -> list[LoginAttempts]:
    async with begin() as uow:
        return await uow.attempts.get_for_update(*subjects)


async def test_nothing_is_known_of_a_new_subject(begin: Begin) -> None:
    assert await stored(begin, ACCOUNT, ADDRESS) == [LoginAttempts(subject=ACCOUNT), LoginAttempts(subject=ADDRESS)]


async def test_attempts_come_back_as_they_were_and_in_the_order_asked_for(begin: Begin) -> None:
    for minute in range(3):
        async with begin() as uow:
            account, address = await uow.attempts.get_for_update(ACCOUNT, ADDRESS)
            at = NOON + timedelta(minutes=minute)
            for attempts in (account, address):
                assert attempts.admit(at, limit=10)
            account.settle(at, failed=True)
            if minute == 0:
                address.settle(at, failed=True)
            await uow.attempts.save(address, account)
            await uow.commit()
    address, account = await stored(begin, ADDRESS, ACCOUNT)
    assert (address.subject, account.subject) == (ADDRESS, ACCOUNT)
    assert account.failed == tuple(NOON + timedelta(minutes=minute) for minute in range(3))
    assert account.pending == ()
    assert address.failed == (NOON, NOON + timedelta(minutes=1))
    assert address.pending == (NOON + timedelta(minutes=2),)


async def test_asking_counts_nothing(begin: Begin) -> None:
    async with begin() as uow:
        await uow.attempts.get_for_update(ACCOUNT)
        await uow.commit()
    [attempts] = await stored(begin, ACCOUNT)
    assert (attempts.failed, attempts.pending) == ((), ())


async def test_many_at_once_are_all_counted(begin: Begin, transact: Transact) -> None:
    async def count(subjects: tuple[bytes, ...]) -> None:
        async def work(uow: UnitOfWork) -> None:
            counted = await uow.attempts.get_for_update(*subjects)
            for attempts in counted:
                attempts.admit(NOON, limit=100)
            await uow.attempts.save(*counted)

        await transact(work)

    orders = [(ACCOUNT, ADDRESS), (ADDRESS, ACCOUNT)] * 6
    async with asyncio.timeout(2 * LIMIT):
        await asyncio.gather(*map(count, orders))
    for attempts in await stored(begin, ACCOUNT, ADDRESS):
        assert len(attempts.pending) == len(orders)
