"""Locks within this process, which spare the store requests that would only wait there."""

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class KeyedLock:
    """A lock per key, for the tasks of one event loop. Waiting tasks hold no connection to the store."""

    released: dict[Hashable, asyncio.Event] = field(default_factory=dict)
    """For each key that is locked, the event that is set when the lock is released."""

    @asynccontextmanager
    async def __call__(self, key: Hashable, until: float | None = None) -> AsyncIterator[None]:
        """Wait for the key's lock, and hold it inside the `async with` block.

        Raise TimeoutError if it was not obtained by the time `until` on the event loop's clock; None waits for ever.
        """
        async with asyncio.timeout_at(until):
            while key in self.released:
                await self.released[key].wait()
        self.released[key] = asyncio.Event()
        try:
            yield
        finally:
            self.released.pop(key).set()
