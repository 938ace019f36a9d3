"""Proving a password, and how often one may try."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import TypeVar

from application.errors import Busy
from application.ports import Clock, PasswordHasher, UnitOfWork
from application.transact import Gate, Transact, Work
from domain.user import User

T = TypeVar("T")

PAUSE = 0.02
"""Seconds; about as long as it takes to judge one."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A password that was judged, and that counts until it is settled: in the same unit as what it allows."""

    right: bool
    subjects: tuple[bytes, bytes]
    """The account and the address."""
    at: datetime
    gate: Gate

    async def settle(self, uow: UnitOfWork, *, failed: bool) -> None:
        counted = await uow.attempts.get_for_update(*self.subjects)
        for attempts in counted:
            attempts.settle(self.at, failed=failed)
        await uow.attempts.save(*counted)

    async def conclude(self, transact: Transact, work: Work[T]) -> T:
        """What settles it, in its turn: of this process one at a time, as when it was admitted."""
        async with AsyncExitStack() as turn:
            with unless_late():
                async with asyncio.timeout(transact.deadline):
                    await turn.enter_async_context(self.gate(self.subjects[1]))
            return await transact(work)

    async def withdraw(self, transact: Transact) -> None:
        """It came to nothing, and not because of the password."""
        await self.conclude(transact, lambda uow: self.settle(uow, failed=False))


@dataclass(frozen=True, slots=True)
class ProvePassword:
    """Judge a password.

    - Only so many may fail in a quarter of an hour for one account, and from one address; then none is judged.
    - Whether the account exists makes no difference, neither to the count nor to the time that it takes.
    - Attempts are counted before they are judged: a thousand at once get no further than one after another.
    - Of IPv6 a network counts as one address, since whoever has one of its addresses has all of them.
    """

    transact: Transact
    passwords: PasswordHasher
    now: Clock
    per_account: int
    per_address: int
    gate: Gate = field(default_factory=Gate)

    async def __call__(self, user: User | None, login: str, password: str, address: str) -> Attempt:
        account = f"account {user.id}" if user else f"name {login}"
        subjects = (subject(account), subject(f"address {network(address)}"))
        at = await self._admitted(*subjects)
        try:
            right = await self.passwords.verify(password, user.password_hash if user else None)
        except Busy:
            await Attempt(False, subjects, at, self.gate).withdraw(self.transact)
            raise
        return Attempt(right, subjects, at, self.gate)

    async def _admitted(self, account: bytes, address: bytes) -> datetime:
        """When; one of this process asks at a time, where each would only be in the others' way."""

        async def admit(uow: UnitOfWork) -> bool:
            counted = await uow.attempts.get_for_update(account, address)
            limits = self.per_account, self.per_address
            admitted = [attempts.admit(at, limit) for attempts, limit in zip(counted, limits, strict=True)]
            if all(admitted):
                await uow.attempts.save(*counted)
            return all(admitted)

        with unless_late():
            async with asyncio.timeout(self.transact.deadline), self.gate(account):
                while True:
                    at = self.now()
                    # Of these one at a time: those that settle, and so make room, do not wait behind them.
                    async with self.gate(("admission", address)), self.gate(address):
                        if await self.transact(admit):
                            return at
                    await asyncio.sleep(PAUSE)


@contextmanager
def unless_late() -> Iterator[None]:
    try:
        yield
    except TimeoutError:
        raise Busy("others are still being judged") from None


def network(address: str) -> str:
    try:
        ip = ip_address(address)
    except ValueError:  # a proxy that we trust may say what it likes
        return address
    if not isinstance(ip, IPv6Address):
        return str(ip)
    return str(ip.ipv4_mapped or IPv6Network((ip.packed, 64), strict=False))


def subject(text: str) -> bytes:
    return sha256(text.encode(errors="surrogatepass")).digest()
