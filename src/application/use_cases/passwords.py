"""Verifying passwords, with a limit on failed attempts per account and per client address."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import TypeVar

from application.errors import Busy
from application.locks import KeyedLock
from application.ports import Clock, PasswordHasher, UnitOfWork
from application.transact import Transact, Work
from domain.user import User

T = TypeVar("T")

ADMISSION_PAUSE = 0.02
"""Seconds between two tries to be admitted; about as long as it takes to verify one password."""


@dataclass(frozen=True, slots=True)
class CheckedAttempt:
    """A log-in attempt whose password has been compared with the stored hash. It is stored as pending until settle().

    Call settle() in the same unit of work as what the password allows, so that both take effect or neither does. Call
    withdraw() instead if the request has failed for another reason than the password.
    """

    is_correct: bool
    subjects: tuple[bytes, bytes]
    """The hashed account and the hashed client address."""
    at: datetime
    locks: KeyedLock

    async def settle(self, uow: UnitOfWork, *, failed: bool) -> None:
        """End the pending attempt in this unit of work, for the account and for the address.

        If it failed, it counts against both limits from now on; if not, it does not count.
        """
        counters = await uow.attempts.get_for_update(*self.subjects)
        for attempts in counters:
            attempts.settle(self.at, failed=failed)
        await uow.attempts.save(*counters)

    async def transact(self, transact: Transact, work: Work[T]) -> T:
        """Run work that settles this attempt, and return its result; in this process, one at a time per client address.

        Raise Busy if its turn does not come within the deadline of `transact`, and all that `transact` raises.
        """
        async with AsyncExitStack() as lock:
            with _busy_after_timeout():
                async with asyncio.timeout(transact.deadline):
                    await lock.enter_async_context(self.locks(self.subjects[1]))
            return await transact(work)

    async def withdraw(self, transact: Transact) -> None:
        """Settle the attempt as not failed, in a unit of work of its own.

        For requests that have failed for another reason than the password.
        """
        await self.transact(transact, lambda uow: self.settle(uow, failed=False))


@dataclass(frozen=True, slots=True)
class VerifyPassword:
    """Verify a password and return the attempt, whose `is_correct` says whether it is the right one.

    A wrong password is not an error. The attempt is pending until the caller settles or withdraws it.

    - After `max_failures_per_account` or `max_failures_per_address` failed attempts within a quarter of an hour, no
      further password is verified: TooManyAttempts.
    - Whether the account exists makes no difference, neither to the count nor to the time that it takes.
    - Attempts are counted before they are verified. One that would exceed a limit if all pending ones failed waits for
      them, and raises Busy if that takes too long. Thus a client that sends many attempts at once gets no more guesses
      than one that sends them one after another.
    - An IPv6 network (/64) counts as one address, since its users can choose any address in it.
    """

    transact: Transact
    passwords: PasswordHasher
    now: Clock
    max_failures_per_account: int
    max_failures_per_address: int
    locks: KeyedLock = field(default_factory=KeyedLock)

    async def __call__(self, user: User | None, login: str, password: str, address: str) -> CheckedAttempt:
        """Return the attempt, which says whether the password is correct, and which is stored as pending.

        `user` is None if no account has this login name, which is then counted like an account. `address` is the
        client's. Raise TooManyAttempts if too many have failed, and Busy if the attempt is not admitted in time or the
        hasher is overloaded; in the latter case the attempt is withdrawn.
        """
        account = f"account {user.id}" if user else f"name {login}"
        subjects = (hash_subject(account), hash_subject(f"address {throttled_network(address)}"))
        at = await self._wait_for_admission(*subjects)
        try:
            is_correct = await self.passwords.verify(password, user.password_hash if user else None)
        except Busy:
            await CheckedAttempt(False, subjects, at, self.locks).withdraw(self.transact)
            raise
        return CheckedAttempt(is_correct, subjects, at, self.locks)

    async def _wait_for_admission(self, account: bytes, address: bytes) -> datetime:
        """Store a pending attempt for both subjects and return its time; wait while too many others are pending.

        The attempt has to be settled or withdrawn later. Raise Busy if the wait is longer than the deadline of
        `transact`, and TooManyAttempts if too many attempts have failed. In this process, one attempt per account and
        address at a time asks the store.
        """

        async def admit(uow: UnitOfWork) -> bool:
            """Store a pending attempt at the time `at` if both subjects admit it; return whether they do.

            Return False, to be called again, also if times in the future had to be corrected. That is committed by
            itself, because a refusal undoes what its unit of work has stored.
            """
            counters = await uow.attempts.get_for_update(account, address)
            if corrected := [attempts for attempts in counters if attempts.correct(at)]:
                await uow.attempts.save(*corrected)
                return False
            of_account, of_address = counters
            admitted = [  # the address comes first, so that one with too many failures learns nothing about accounts
                of_address.admit(at, self.max_failures_per_address, "failed log-ins from this address"),
                of_account.admit(at, self.max_failures_per_account, "failed log-ins to this account"),
            ]
            if all(admitted):
                await uow.attempts.save(*counters)
            return all(admitted)

        with _busy_after_timeout():
            async with asyncio.timeout(self.transact.deadline), self.locks(account):
                while True:
                    at = self.now()
                    # Admissions have a queue of their own: attempts that settle, which makes room, pass it.
                    async with self.locks(("admission", address)), self.locks(address):
                        if await self.transact(admit):
                            return at
                    await asyncio.sleep(ADMISSION_PAUSE)


@contextmanager
def _busy_after_timeout() -> Iterator[None]:
    """Raise Busy in place of a TimeoutError from the `with` block."""
    try:
        yield
    except TimeoutError:
        raise Busy("too many other passwords are being verified") from None


def throttled_network(address: str) -> str:
    """Return what counts as one client address: an IPv4 address, or an IPv6 /64 network such as `2001:db8::/64`.

    An IPv4 address in IPv6 notation counts as the IPv4 address. A text that is not an IP address is returned as it is.
    """
    try:
        ip = ip_address(address)
    except ValueError:  # a trusted proxy may send any text
        return address
    if not isinstance(ip, IPv6Address):
        return str(ip)
    return str(ip.ipv4_mapped or IPv6Network((ip.packed, 64), strict=False))


def hash_subject(text: str) -> bytes:
    """Return the SHA-256 under which attempts are stored. Hashed, because users type passwords into name fields."""
    return sha256(text.encode(errors="surrogatepass")).digest()
