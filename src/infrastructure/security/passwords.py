"""Password hashing with Argon2id, in threads, so that the event loop is not blocked."""

import asyncio
import secrets
import time
from base64 import b64encode
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar
from unicodedata import normalize

from pwdlib.hashers.argon2 import Argon2Hasher

from application.errors import Busy
from application.ports import PoolUsage
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

    Passwords are brought into the Unicode form NFC first, since keyboards differ in how they encode accents.

    `cores` are shared by the `workers` processes of the server: each has one thread for each core of its share, and at
    least one. hash() and verify() have a queue each, from which the threads take calls by turns: so a flood of sign-ups
    does not keep others from signing in. A call raises Busy at once if its queue has `waiting_per_core` calls for each
    thread.
    """

    def __init__(self, *, cores: int = CORES, workers: int = 1, waiting_per_core: int = MAX_WAITING_PER_CORE) -> None:
        self._size = self._idle = max(1, cores // workers)
        """The number of threads that do nothing. If there are any, nobody waits."""
        self._max_waiting = self._idle * waiting_per_core
        self._hashing: deque[asyncio.Future[None]] = deque()
        self._verifying: deque[asyncio.Future[None]] = deque()
        self._next_queues = [self._hashing, self._verifying]
        """The queue of the next call comes first."""
        self._hasher = Argon2Hasher(PASSES, MEMORY_KIB, LANES, DIGEST_LENGTH, SALT_LENGTH)
        self._threads = ThreadPoolExecutor(self._idle, thread_name_prefix="passwords")
        self._dummy_hash = _dummy_hash()
        self._waits, self._seconds_waited = 0, 0.0

    async def hash(self, password: str) -> str:
        """Return a newly salted Argon2id hash of the password; raise Busy if too many calls are waiting."""
        return await self._run_in_thread(self._hashing, self._hasher.hash, normalize("NFC", password))

    async def verify(self, password: str, password_hash: str | None) -> bool:
        """Return whether the password fits the hash; raise Busy if too many calls are waiting.

        If the hash is None, return False after the time that verifying a real one takes. A malformed hash fits no
        password.
        """
        stored = password_hash or self._dummy_hash
        fits = await self._run_in_thread(self._verifying, self._hasher.verify, normalize("NFC", password), stored)
        return fits and password_hash is not None

    def needs_rehash(self, password_hash: str) -> bool:
        """Return whether the hash was made with other parameters than new hashes are."""
        return self._hasher.check_needs_rehash(password_hash)

    def usage(self) -> PoolUsage:
        """Return how many threads are busy, and how many calls of both queues wait and have waited for one."""
        waiting = len(self._hashing) + len(self._verifying)
        return PoolUsage(self._size, self._size - self._idle, waiting, self._waits, self._seconds_waited)

    async def _run_in_thread(
        self, queue: deque[asyncio.Future[None]], work: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Wait for a thread in this queue, run the work in it and return its result, or raise what it raises.

        Raise Busy at once if too many calls are waiting. If the caller is cancelled, work that has begun runs to its
        end and takes up its thread until then.
        """
        loop = asyncio.get_running_loop()
        await self._wait_in(queue)
        future = self._threads.submit(work, *args, **kwargs)
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._pass_on_thread))
        return await asyncio.wrap_future(future)

    async def _wait_in(self, queue: deque[asyncio.Future[None]]) -> None:
        """Take an idle thread, waiting in this queue until there is one; raise Busy if too many wait there."""
        if self._idle:
            self._idle -= 1
            return
        if len(queue) >= self._max_waiting:
            raise Busy("too many passwords are being checked at once")
        turn, began = asyncio.get_running_loop().create_future(), time.monotonic()
        queue.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn in queue:
                queue.remove(turn)
            elif not turn.cancelled():
                self._pass_on_thread()  # which it has got in the same moment
            raise
        finally:
            self._waits += 1
            self._seconds_waited += time.monotonic() - began

    def _pass_on_thread(self) -> None:
        """Give the thread that has become idle to the next call that waits, from the two queues by turns."""
        self._next_queues.reverse()
        for queue in self._next_queues:
            while queue:
                turn = queue.popleft()
                if not turn.done():
                    turn.set_result(None)
                    return
        self._idle += 1
