"""Waiting within the process for records that another unit of work of it is about to change."""

import asyncio
from collections.abc import Iterable
from typing import Any

from application.locks import KeyedLock


class LockQueue:
    """Makes the units of work of one process wait for each other before they change the same records.

    It is for transactions that cannot wait for a lock: those of MongoDB, and optimistic ones on PostgreSQL. Without it,
    the later of two units of work that change the same record fails with TryAgain, and its work is done again.

    Each unit of work has a LockQueue of its own; all share the KeyedLock. Only the first wait has an effect, and only
    before the first statement, at which the caller sets `is_closed`: what was read before a wait may have changed after
    it. Since each waits only once, no two units of work can wait for each other. The caller has to release() at the
    end.
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
