"""The limit on connections in use: who waits for one is counted, and gets the next that is free."""

import asyncio

import pytest

from application.errors import Busy
from application.ports import PoolUsage
from infrastructure.capacity_limiter import CapacityLimiter


async def test_places_and_waits_are_counted() -> None:
    limiter = CapacityLimiter(2, 60)
    await limiter.acquire()
    await limiter.acquire()
    assert limiter.usage() == PoolUsage(size=2, in_use=2, waiting=0, waits=0, seconds_waited=0.0)
    waiting, gives_up = (asyncio.create_task(limiter.acquire()) for _ in range(2))
    await asyncio.sleep(0)
    assert limiter.usage() == PoolUsage(size=2, in_use=2, waiting=2, waits=0, seconds_waited=0.0)
    gives_up.cancel()
    limiter.release()
    await asyncio.wait({waiting, gives_up})
    usage = limiter.usage()
    assert (usage.in_use, usage.waiting, usage.waits) == (2, 0, 2)
    assert usage.seconds_waited > 0
    limiter.release()
    limiter.release()
    assert limiter.usage().in_use == 0


async def test_a_wait_that_takes_too_long_is_counted_too() -> None:
    limiter = CapacityLimiter(1, 0.01)
    await limiter.acquire()
    with pytest.raises(Busy):
        await limiter.acquire()
    usage = limiter.usage()
    assert (usage.in_use, usage.waiting, usage.waits) == (1, 0, 1)
    assert usage.seconds_waited >= 0.005
