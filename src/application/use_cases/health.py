"""A readiness check: whether the store accepts writes."""

import secrets
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from application.errors import NoSpace
from application.ports import Clock, Ids, KeyId, UnitOfWork
from application.transact import Transact
from domain.user import UserId

PROBE_BYTES = 64 * 1024
"""As large as the largest request body, so that the disk space that suffices for the probe suffices for requests.

They are random, because PostgreSQL and MongoDB compress what they store.
"""


@dataclass(frozen=True, slots=True)
class CheckWritable:
    """Return whether the store accepts writes, as far as this process knows. False only while the disk is full.

    - The store is not asked unless the last write of this process failed because the disk was full.
    - In that case a write is tried, because a server that is not ready gets no requests that could show that there is
      space again. The probe is an idempotency key that has already expired, which the next purge removes.
    - Other errors of the probe are raised, such as Unavailable or Busy.
    """

    transact: Transact
    ids: Ids
    now: Clock

    async def __call__(self) -> bool:
        if self.transact.writes.out_of_space:
            with suppress(NoSpace):
                await self.transact(self._write)
        return not self.transact.writes.out_of_space

    async def _write(self, uow: UnitOfWork) -> None:
        """Store the probe: a new idempotency key with an answer of PROBE_BYTES, which expires at once."""
        probe = KeyId(UserId(self.ids()), operation="health", key="probe")
        await uow.keys.claim(probe, b"", at=self.now(), lifetime=timedelta(0), max_wait=0)
        await uow.keys.save_answer(probe, secrets.token_bytes(PROBE_BYTES))
