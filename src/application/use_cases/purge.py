"""Removing what has expired, at an operator's command or in the background of the servers."""

import asyncio
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from application.idempotency import Replay
from application.ports import Clock, KeyId, UnitOfWork
from application.store import Store
from application.transact import Transact
from domain.user import UserId

BATCH = 500
"""Records of each kind that are removed at once."""

PAUSE = 0.05
"""Seconds between two batches, in which units of work that have waited for a batch can run."""

LEASE = KeyId(UserId(UUID(int=1)), "handover purge", "")
"""The idempotency key that the worker has claimed whose turn it is to purge. No user has the id 1."""


@dataclass(frozen=True, slots=True)
class PurgeExpired:
    """Remove the records that have expired, and return how many of each kind were removed (see Store.purge).

    - Idempotency keys, sessions with their tokens, and log-in attempts expire.
    - They are removed in small batches, each in a transaction of its own, with a pause after each.
    - What expires meanwhile is left for the next time.
    """

    store: Store
    now: Clock

    async def __call__(self, *, until: datetime | None = None) -> Counter[str]:
        """Return how many records of each kind were removed.

        After the first batch, none begins at or after the time `until`; None means that all are done.
        """
        at, total = self.now(), Counter[str]()
        while (removed := await self.store.purge(at, BATCH)).total():
            total += removed
            await asyncio.sleep(PAUSE)
            if until and self.now() >= until:
                break
        return total


@dataclass(frozen=True, slots=True)
class PurgeInTurn:
    """Remove the records that have expired, unless a worker has begun that within the last interval.

    - A worker that wants to purge claims LEASE for one interval. Of all workers that use the store, one gets it; the
      others remove nothing.
    - The lease is not given back. It expires even if its worker has died, and then any worker can get it.
    - The worker begins no batch in the second half of the interval, so that it is done before its lease expires. The
      next purge removes what is left.
    - If the clocks of two machines differ by more than half of the interval, two workers may purge at the same time.
      They still remove only what has expired.
    - A lease that was taken by a clock which has been set back since does not stop the purges until it expires.
    """

    transact: Transact
    purge: PurgeExpired
    now: Clock
    interval: timedelta

    async def __call__(self) -> Counter[str] | None:
        """Take the lease, purge, and return how many records of each kind were removed.

        Return None if another worker has the lease.
        """
        until = self.now() + self.interval / 2
        try:
            await self.transact(self._take_lease)
        except Replay as lease:
            if float(lease.answer or 0) <= until.timestamp():
                return None
        return await self.purge(until=until)

    async def _take_lease(self, uow: UnitOfWork) -> None:
        """Claim the lease for one interval.

        Raise Replay if a worker has claimed it and it has not expired, and KeyInFlight, to be retried, if one is just
        claiming it. Its answer is the time of the claim, in seconds since 1970; former versions stored an empty one.
        """
        at = self.now()
        answer = await uow.keys.claim(LEASE, b"", at=at, lifetime=self.interval, max_wait=0)
        if answer is not None:
            raise Replay(answer)
        await uow.keys.save_answer(LEASE, str(at.timestamp()).encode())
