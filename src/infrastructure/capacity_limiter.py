"""A limit on how many tasks may use a store's connections at once.

Handover waits here instead of in the connection pools of the drivers, where waiting costs more and cannot be bounded in
the same way for every engine. Decision 0012 has the measurements.
"""

import asyncio

from application.errors import Busy


class CapacityLimiter:
    """Lets `total` tasks in at once; the others wait in the order in which they came, at most `seconds` each."""

    def __init__(self, total: int, seconds: float) -> None:
        self._semaphore = asyncio.Semaphore(total)
        self._seconds = seconds

    async def acquire(self) -> None:
        """Take one of the places, waiting until one is free; raise Busy if that takes longer than `seconds`.

        Every acquire() that succeeds needs a release().
        """
        if not self._semaphore.locked():
            await self._semaphore.acquire()  # does not wait, so it needs no timeout, which costs time
            return
        try:
            async with asyncio.timeout(self._seconds):
                await self._semaphore.acquire()
        except TimeoutError:
            raise Busy("all connections to the store are in use") from None

    def release(self) -> None:
        """Give the place back."""
        self._semaphore.release()
