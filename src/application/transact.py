"""The transaction boundary: begin, claim the idempotency key, do the work, store the answer, commit; retry if needed.

Every change of the store goes through here, so no use case can forget the retry, the key or the commit.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TypeVar

from application.errors import Busy, KeyInFlight, NoSpace, OutcomeUnknown, RequestInProgress, TryAgain
from application.idempotency import KEY_LIFETIME, IdempotentRequest, Replay, current_request
from application.locks import KeyedLock
from application.ports import Begin, Clock, UnitOfWork

T = TypeVar("T")
Work = Callable[[UnitOfWork], Awaitable[T]]
"""What a use case does inside one unit of work, without the commit."""

KEY_WAIT_SECONDS = 2.0
"""How long a request waits for an earlier request with the same idempotency key to end."""
COMMIT_GRACE_SECONDS = 0.4
"""How long a cancelled request waits for its running commit to end, however often it is cancelled."""

RERUN_REASONS: dict[type[Exception], str] = {
    KeyInFlight: "key-in-flight",
    OutcomeUnknown: "outcome-unknown",
    TryAgain: "conflict",
}
"""The reason by the error that ended the unit of work before. The first class that fits counts."""

_reruns: ContextVar[list[str] | None] = ContextVar("reruns", default=None)


def collect_reruns() -> list[str]:
    """Return a new list, to which the reason is added each time that a unit of work is about to run again.

    This concerns units of work that run in the current context, such as that of a request, until the next call in it.
    """
    reasons: list[str] = []
    _reruns.set(reasons)
    return reasons


@dataclass(slots=True)
class WriteStatus:
    """Whether the last write of this process failed because the disk was full.

    `out_of_space` is set by a write that raised NoSpace, and cleared by the next one that succeeds.
    """

    out_of_space: bool = False


@dataclass(frozen=True, slots=True)
class Transact:
    """Run a piece of work in a unit of work of its own and commit it; retry on TryAgain until the deadline.

    The work may run several times, so it must change nothing except through its unit of work. If the current request
    has an idempotency key, the work runs only if the key is new; otherwise Replay is raised with the answer of the
    first use.
    """

    begin: Begin
    """`Store.begin` of the configured adapter: returns a new unit of work, to be entered with `async with`."""
    now: Clock
    deadline: float = 4.5
    """Seconds for everything together: connections, locks, keys, statements and retries."""
    key_locks: KeyedLock = field(default_factory=KeyedLock)
    writes: WriteStatus = field(default_factory=WriteStatus)

    async def __call__(self, work: Work[T]) -> T:
        """Run the work, commit, and return what the work returned.

        Raise Busy if the deadline has passed, Unavailable (NoSpace, Busy) if the store cannot be used, OutcomeUnknown
        if a commit without a key may or may not have taken effect, and what the work raises; with a key also Replay if
        it was used before, KeyReused if it was used for another request, and RequestInProgress if another request with
        the same key does not end within KEY_WAIT_SECONDS.
        """
        request = current_request()
        try:
            async with asyncio.timeout(self.deadline) as limit:
                if request is None:
                    return await self._retry(work, TryAgain)
                wait_until = asyncio.get_running_loop().time() + KEY_WAIT_SECONDS
                return await self._run_with_key(work, request, wait_until)
        except TimeoutError:
            if limit.expired():
                raise Busy("the store was too busy to finish this in time") from None
            raise

    async def _run_with_key(self, work: Work[T], request: IdempotentRequest, wait_until: float) -> T:
        """Run the work under the request's key and return its result. One request per key at a time goes to the store.

        The others wait here; raise RequestInProgress if that takes until `wait_until`, a time on the event loop's
        clock. An unknown outcome is retried, because the key tells whether the commit took effect: if it did, Replay is
        raised.
        """
        async with AsyncExitStack() as locks:
            try:
                await locks.enter_async_context(self.key_locks(request.key, wait_until))
            except TimeoutError:
                raise RequestInProgress from None
            return await self._retry(self._claiming_key(work, request, wait_until), TryAgain, OutcomeUnknown)

    async def _retry(self, work: Work[T], *retried: type[Exception]) -> T:
        """Run the work in a new unit of work, commit it and return its result; repeat while that raises `retried`.

        There is a pause before each repetition, and no limit but the caller's timeout. Other errors are passed on.
        `writes.out_of_space` is set if the error is NoSpace, and cleared after a commit.

        The first unit of work is optimistic. Later ones lock what they read, so that each waits for its turn.
        """
        for pause in _pauses():
            if pause:
                await asyncio.sleep(pause)
            try:
                async with self.begin(optimistic=not pause) as uow:
                    result = await work(uow)
                    await _commit(uow)
                    self.writes.out_of_space = False
                    return result
            except retried as error:
                _note_rerun(error)
            except NoSpace:
                self.writes.out_of_space = True
                raise
        raise AssertionError("the pauses are endless")

    def _claiming_key(self, work: Work[T], request: IdempotentRequest, wait_until: float) -> Work[T]:
        """Return work that claims the request's key, does the given work, and stores its answer, also in `request`.

        It does none of that and raises Replay if the key has an answer, KeyReused if the key was used for another
        request, RequestInProgress if it is still in use at `wait_until`, a time on the event loop's clock, and
        KeyInFlight, to be retried, if it is in use before that.
        """

        async def work_with_key(uow: UnitOfWork) -> T:
            """Claim the key, do the work, store its answer with the key and in `request`, and return the work's result.

            Raise Replay instead if the key has an answer, and otherwise as _claiming_key() says.
            """
            max_wait = max(0.0, wait_until - asyncio.get_running_loop().time())
            try:
                answer = await uow.keys.claim(
                    request.key, request.fingerprint, at=self.now(), lifetime=KEY_LIFETIME, max_wait=max_wait
                )
            except KeyInFlight:
                if asyncio.get_running_loop().time() >= wait_until:
                    raise RequestInProgress from None
                raise
            if answer is not None:
                raise Replay(answer)
            result = await work(uow)
            request.answer = request.render(result)
            await uow.keys.save_answer(request.key, request.answer)
            return result

        return work_with_key


def _pauses() -> Iterator[float]:
    """Yield, without end, the seconds to wait before each attempt.

    They are 0 before the first attempt, and then random, with a limit that grows from 0.005 to 0.2.
    """
    yield 0.0
    longest = 0.005
    while True:
        yield random.uniform(0, longest)  # noqa: S311 - jitter, not a secret
        longest = min(longest * 2, 0.2)


async def _commit(uow: UnitOfWork) -> None:
    """Commit. If this task is cancelled meanwhile, give the commit COMMIT_GRACE_SECONDS to finish, then cancel it.

    The CancelledError is raised in any case. Further cancellations make no difference: the time limit of the request
    and that of Transact usually end within milliseconds of one another, and each cancels the task.
    """
    committing = asyncio.ensure_future(uow.commit())
    # After a cancellation nobody else asks for its error, and asyncio would log it.
    committing.add_done_callback(lambda commit: commit.cancelled() or commit.exception())
    try:
        await asyncio.shield(committing)
    except asyncio.CancelledError:
        now = asyncio.get_running_loop().time
        ends_at = now() + COMMIT_GRACE_SECONDS
        while not committing.done() and now() < ends_at:
            with suppress(asyncio.CancelledError):
                await asyncio.wait({committing}, timeout=ends_at - now())
        committing.cancel()
        raise


def _note_rerun(error: Exception) -> None:
    """Add the reason of a rerun to the list of collect_reruns(), if that was called: `error` ended the former run."""
    reasons = _reruns.get()
    if reasons is not None:
        reasons.append(next(reason for kind, reason in RERUN_REASONS.items() if isinstance(error, kind)))
