"""Password hashes: Argon2id, computed by threads of their own, so that the event loop goes on."""

import asyncio
import secrets
from base64 import b64encode
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import BoundedSemaphore
from typing import ParamSpec, TypeVar

from pwdlib.hashers.argon2 import Argon2Hasher

from application.errors import Busy
from infrastructure.cpu import CORES

P = ParamSpec("P")
T = TypeVar("T")

MEMORY_KIB, PASSES, LANES = 19456, 2, 1
SALT_LENGTH, DIGEST_LENGTH = 16, 32
WAITING_PER_CORE = 32
"""At about 20 ms each the last in the queue waits well under a second, far within the deadline of its request."""


def _nobodys_hash() -> str:
    """Costs as much to verify as a real one, and no password is known to fit."""
    salt, digest = (
        b64encode(secrets.token_bytes(length)).rstrip(b"=").decode() for length in (SALT_LENGTH, DIGEST_LENGTH)
    )
    return f"$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}${salt}${digest}"


class Argon2Passwords:
    """Several workers share the cores, so that together they hash no more at once than there are."""

    def __init__(self, *, cores: int = CORES, workers: int = 1, waiting_per_core: int = WAITING_PER_CORE) -> None:
        cores = max(1, cores // workers)
        self._hasher = Argon2Hasher(PASSES, MEMORY_KIB, LANES, DIGEST_LENGTH, SALT_LENGTH)
        self._threads = ThreadPoolExecutor(cores, thread_name_prefix="passwords")
        self._places = BoundedSemaphore(cores * (1 + waiting_per_core))
        self._nobodys_hash = _nobodys_hash()

    async def hash(self, password: str) -> str:
        return await self._off_the_loop(self._hasher.hash, password)

    async def verify(self, password: str, password_hash: str | None) -> bool:
        fits = await self._off_the_loop(self._hasher.verify, password, password_hash or self._nobodys_hash)
        return fits and password_hash is not None

    def needs_rehash(self, password_hash: str) -> bool:
        return self._hasher.check_needs_rehash(password_hash)

    async def _off_the_loop(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if not self._places.acquire(blocking=False):
            raise Busy("too many passwords are being checked at once")
        future = self._threads.submit(work, *args, **kwargs)
        future.add_done_callback(self._leave)  # also when its request was cancelled, but not before the thread is free
        return await asyncio.wrap_future(future)

    def _leave(self, _: Future[T]) -> None:
        self._places.release()
