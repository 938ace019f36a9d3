"""Waiting within the process for records that another unit of work of it is about to change."""

import asyncio
from collections.abc import Iterable
from typing import Any

from application.locks import KeyedLock


class LockQueue:
    """Lets the units of work of one process wait in turn for the records that they are going to lock.

    Without it, where nothing is locked before it is changed, the later of two units of work is in vain, and runs again.
    Only the first wait of a unit of work has an effect, and only before its first statement: what a unit of work has
    read before it waits may have changed when the wait is over. So no two units of work can wait for each other.
    """

    def __init__(self, locks: KeyedLock) -> None:
        self._locks = locks
        self._held: list[asyncio.Lock] = []
        self.is_closed = False
        """Whether the first statement has been sent, so that waiting no longer helps."""

    async def wait_for(self, ids: Iterable[Any]) -> None:
        """Wait for other units of work of this process that have these records; keep them until release().

        Do nothing after the first call or the first statement. The ids are locked in sorted order, so that two units of
        work cannot wait for each other.
        """
        if not self.is_closed:
            self.is_closed = True
            for id in sorted(set(ids)):
                lock = self._locks.lock(id)
                await lock.acquire()
                self._held.append(lock)

    def release(self) -> None:
        """Release all records, so that the next units of work get them. Call it at the end of this unit of work."""
        while self._held:
            self._held.pop().release()
