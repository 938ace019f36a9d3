"""Whether the store takes writes, for those who direct requests to servers that can serve them."""

from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from application.errors import NoSpace
from application.ports import Clock, Ids, KeyId, UnitOfWork
from application.transact import Transact
from domain.user import UserId

SIZE = 64 * 1024
"""Bytes that the probe writes: as many as the largest request has, so that what it finds room for is no exception."""


@dataclass(frozen=True, slots=True)
class CheckWritable:
    """Tell whether the store takes writes, as far as this process has seen: False while it has no disk space.

    - Nothing is asked of the store unless the last write of this process failed for want of space.
    - Then a write is tried, since a server that is not ready gets no requests that could show the end of the shortage.
      What it writes is an idempotency key that has expired already, which the next purge removes.
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
        probe = KeyId(UserId(self.ids()), operation="health", key="probe")
        await uow.keys.claim(probe, b"", at=self.now(), lifetime=timedelta(0), patience=0)
        await uow.keys.keep(probe, bytes(SIZE))
