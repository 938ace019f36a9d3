"""A limit on how many tasks may use a store's connections at once.

Handover waits here instead of in the connection pools of the drivers, where waiting costs more and cannot be bounded in
the same way for every engine. Decision 0012 has the measurements.
"""

import asyncio
import time

from application.errors import Busy
from application.ports import PoolUsage


class CapacityLimiter:
    """Lets `total` tasks in at once; the others wait in the order in which they came, at most `seconds` each."""

    def __init__(self, total: int, seconds: float) -> None:
        self._total = total
        self._semaphore = asyncio.Semaphore(total)
        self._seconds = seconds
        self._in_use = self._waiting = self._waits = 0
        self._seconds_waited = 0.0

    async def acquire(self) -> None:
        """Take one of the places, waiting until one is free; raise Busy if that takes longer than `seconds`.

        Every acquire() that succeeds needs a release().
        """
        if not self._semaphore.locked():
            await self._semaphore.acquire()  # does not wait, so it needs no timeout, which costs time
        else:
            await self._wait()
        self._in_use += 1

    async def _wait(self) -> None:
        """Take a place as acquire() does when none is free, and count the wait."""
        began = time.monotonic()
        self._waiting += 1
        try:
            async with asyncio.timeout(self._seconds):
                await self._semaphore.acquire()
        except TimeoutError:
            raise Busy("all connections to the store are in use") from None
        finally:
            self._waiting -= 1
            self._waits += 1
            self._seconds_waited += time.monotonic() - began

    def release(self) -> None:
        """Give the place back."""
        self._in_use -= 1
        self._semaphore.release()

    def usage(self) -> PoolUsage:
        """Return how many places are taken, and how many tasks wait and have waited for one."""
        return PoolUsage(self._total, self._in_use, self._waiting, self._waits, self._seconds_waited)
