"""The transaction boundary: begin, claim the key, work, keep the answer, commit, and again if need be.

Every change of the store goes through here, so no use case can forget the retry, the key or the commit.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

from application.errors import Busy, KeyInFlight, NoSpace, OutcomeUnknown, RequestInProgress, TryAgain
from application.ports import Begin, Clock, KeyId, UnitOfWork

T = TypeVar("T")
Work = Callable[[UnitOfWork], Awaitable[T]]

KEY_LIFETIME = timedelta(hours=24)
KEY_PATIENCE = 2.0
COMMIT_GRACE = 0.4


@dataclass(slots=True)
class Once:
    """The wish that a request takes effect once, however often it is sent."""

    key: KeyId
    fingerprint: bytes
    render: Callable[[Any], bytes]
    """Makes the answer from the work's result, inside the transaction: what is kept and what is sent are the same."""
    answer: bytes | None = None
    """The answer that was kept, as soon as the work is committed."""


class Replay(Exception):
    """Not a failure: the key's work was done before, and this is the answer that it got."""

    def __init__(self, answer: bytes) -> None:
        super().__init__("replay")
        self.answer = answer


_once: ContextVar[Once | None] = ContextVar("once", default=None)


@contextmanager
def keyed(once: Once) -> Iterator[None]:
    """The unit of work that is run within takes effect once. Ambient, so that use cases need not pass it on."""
    token = _once.set(once)
    try:
        yield
    finally:
        _once.reset(token)


@dataclass(frozen=True, slots=True)
class Gate:
    """Lets one at a time through to the store per key: ten waiting there would hold ten connections."""

    held: dict[Hashable, asyncio.Event] = field(default_factory=dict)

    @asynccontextmanager
    async def __call__(self, key: Hashable, until: float | None = None) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout_at(until):
                while key in self.held:
                    await self.held[key].wait()
        except TimeoutError:
            raise RequestInProgress from None
        self.held[key] = asyncio.Event()
        try:
            yield
        finally:
            self.held.pop(key).set()


@dataclass(slots=True)
class WriteStatus:
    """Whether the last unit of work of this process that could tell found disk space for its changes."""

    out_of_space: bool = False


@dataclass(frozen=True, slots=True)
class Transact:
    """Run a piece of work in a unit of work of its own and commit it, as often as it takes within the deadline.

    The work may run several times, so it changes nothing but through its unit of work.
    """

    begin: Begin
    now: Clock
    deadline: float = 4.5
    """Seconds, for connections, locks, keys, statements and repetitions together."""
    gate: Gate = field(default_factory=Gate)
    writes: WriteStatus = field(default_factory=WriteStatus)

    async def __call__(self, work: Work[T]) -> T:
        once = _once.get()
        try:
            async with asyncio.timeout(self.deadline) as limit:
                if once is None:
                    return await self._repeat(work, TryAgain)
                impatient = asyncio.get_running_loop().time() + KEY_PATIENCE
                async with self.gate(once.key, impatient):
                    # An unknown outcome is no obstacle here: the key tells whether it happened.
                    return await self._repeat(self._guarded(work, once, impatient), TryAgain, OutcomeUnknown)
        except TimeoutError:
            if limit.expired():
                raise Busy("the store was too busy to finish this in time") from None
            raise

    async def _repeat(self, work: Work[T], *obstacles: type[Exception]) -> T:
        for pause in _pauses():
            if pause:
                await asyncio.sleep(pause)
            try:
                async with self.begin() as uow:
                    result = await work(uow)
                    await _commit(uow)
                    self.writes.out_of_space = False
                    return result
            except obstacles:
                continue
            except NoSpace:
                self.writes.out_of_space = True
                raise
        raise AssertionError("the pauses are endless")

    def _guarded(self, work: Work[T], once: Once, impatient: float) -> Work[T]:
        async def guarded(uow: UnitOfWork) -> T:
            patience = max(0.0, impatient - asyncio.get_running_loop().time())
            try:
                answer = await uow.keys.claim(
                    once.key, once.fingerprint, at=self.now(), lifetime=KEY_LIFETIME, patience=patience
                )
            except KeyInFlight:
                if asyncio.get_running_loop().time() >= impatient:
                    raise RequestInProgress from None
                raise
            if answer is not None:
                raise Replay(answer)
            result = await work(uow)
            once.answer = once.render(result)
            await uow.keys.keep(once.key, once.answer)
            return result

        return guarded


def _pauses() -> Iterator[float]:
    """None before the first attempt, then longer and longer with jitter, up to a fifth of a second."""
    yield 0.0
    longest = 0.005
    while True:
        yield random.uniform(0, longest)  # noqa: S311 - jitter, not a secret
        longest = min(longest * 2, 0.2)


async def _commit(uow: UnitOfWork) -> None:
    """Commit, and let no cancellation cut it in half: what is left then is to see how it ends, for a while."""
    committing = asyncio.ensure_future(uow.commit())
    try:
        await asyncio.shield(committing)
    except asyncio.CancelledError:
        _, hanging = await asyncio.wait({committing}, timeout=COMMIT_GRACE)
        for task in hanging:
            task.cancel()
        raise
