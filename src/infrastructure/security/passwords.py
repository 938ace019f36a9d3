"""Password hashing with Argon2id, in threads, so that the event loop is not blocked."""

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
MAX_WAITING_PER_CORE = 32
"""At about 20 ms each, the last one in the queue waits less than a second."""


def _dummy_hash() -> str:
    """Return random bytes in the form of an Argon2id hash, which no password fits.

    Verifying a password against it takes as long as against a real hash.
    """
    salt, digest = (
        b64encode(secrets.token_bytes(length)).rstrip(b"=").decode() for length in (SALT_LENGTH, DIGEST_LENGTH)
    )
    return f"$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}${salt}${digest}"


class Argon2Passwords:
    """Hashes passwords with Argon2id in threads (port PasswordHasher).

    `cores` are shared by the `workers` processes of the server: each has one thread for each core of its share, and at
    least one. A call raises Busy at once if `waiting_per_core` calls for each thread are waiting already.
    """

    def __init__(self, *, cores: int = CORES, workers: int = 1, waiting_per_core: int = MAX_WAITING_PER_CORE) -> None:
        cores = max(1, cores // workers)
        self._hasher = Argon2Hasher(PASSES, MEMORY_KIB, LANES, DIGEST_LENGTH, SALT_LENGTH)
        self._threads = ThreadPoolExecutor(cores, thread_name_prefix="passwords")
        self._capacity = BoundedSemaphore(cores * (1 + waiting_per_core))
        self._dummy_hash = _dummy_hash()

    async def hash(self, password: str) -> str:
        """Return a newly salted Argon2id hash of the password; raise Busy if too many calls are waiting."""
        return await self._run_in_thread(self._hasher.hash, password)

    async def verify(self, password: str, password_hash: str | None) -> bool:
        """Return whether the password fits the hash; raise Busy if too many calls are waiting.

        If the hash is None, return False after the time that verifying a real one takes. A malformed hash fits no
        password.
        """
        fits = await self._run_in_thread(self._hasher.verify, password, password_hash or self._dummy_hash)
        return fits and password_hash is not None

    def needs_rehash(self, password_hash: str) -> bool:
        """Return whether the hash was made with other parameters than new hashes are."""
        return self._hasher.check_needs_rehash(password_hash)

    async def _run_in_thread(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run the work in a thread and return its result, or raise what it raises.

        Raise Busy at once if too many calls are waiting. If the caller is cancelled, work that has begun runs to its
        end and takes up capacity until then.
        """
        if not self._capacity.acquire(blocking=False):
            raise Busy("too many passwords are being checked at once")
        future = self._threads.submit(work, *args, **kwargs)
        future.add_done_callback(self._leave)  # when the thread is free, even if the request was cancelled before
        return await asyncio.wrap_future(future)

    def _leave(self, _: Future[T]) -> None:
        """Release the capacity of a call that has ended."""
        self._capacity.release()
