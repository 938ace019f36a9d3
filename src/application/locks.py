"""Locks within this process, which spare the store requests that would only wait there."""

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from weakref import WeakValueDictionary


@dataclass(frozen=True, slots=True)
class KeyedLock:
    """A lock per key, for the tasks of one event loop. Waiting tasks hold no connection to the store.

    The tasks that wait for a key get its lock in the order in which they came.
    """

    locks: WeakValueDictionary[Hashable, asyncio.Lock] = field(default_factory=WeakValueDictionary)
    """The locks of the keys that are held or waited for."""

    @asynccontextmanager
    async def __call__(self, key: Hashable, until: float | None = None) -> AsyncIterator[None]:
        """Wait for the key's lock, and hold it inside the `async with` block.

        Raise TimeoutError if it was not obtained by the time `until` on the event loop's clock; None waits for ever.
        """
        lock = self.lock(key)
        async with asyncio.timeout_at(until):
            await lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def lock(self, key: Hashable) -> asyncio.Lock:
        """Return the key's lock. It is forgotten when nobody refers to it any more."""
        return self.locks.setdefault(key, asyncio.Lock())
