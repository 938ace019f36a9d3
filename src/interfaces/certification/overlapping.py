"""Running single units of work, and two at the same time, in contract tests."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from application.errors import TryAgain, Unavailable
from application.ports import Begin, UnitOfWork
from domain.errors import DomainError
from domain.item import Item, Transfer
from domain.session import Session
from domain.task import Task
from domain.user import User

LIMIT = 30.0
"""Seconds after which a unit of work that has not ended counts as hanging."""
PAUSE = 0.15
"""Seconds that the first unit of work waits for the second one, which may in turn be waiting for the first."""

COMMITTED, TRY_AGAIN, UNAVAILABLE, WAITING = "committed", "try-again", "unavailable", "waiting"

Work = Callable[[UnitOfWork], Awaitable[object]]
Meanwhile = Callable[[], Awaitable[None]]
First = Callable[[UnitOfWork, Meanwhile], Awaitable[object]]
"""The first of two units of work that overlap (see overlap_with())."""


async def insert(begin: Begin, *entities: User | Item | Transfer | Task | Session) -> None:
    """Add the entities in one unit of work, and commit it."""
    async with begin() as uow:
        for entity in entities:
            match entity:
                case User():
                    await uow.users.add(entity)
                case Item():
                    await uow.items.add(entity)
                case Transfer():
                    await uow.transfers.add(entity)
                case Task():
                    await uow.tasks.add(entity)
                case Session():
                    await uow.sessions.add(entity)
        await uow.commit()


async def attempt(begin: Begin, work: Work) -> str:
    """Run the work in a unit of work and commit; return COMMITTED, TRY_AGAIN, UNAVAILABLE or a DomainError's code.

    Raise TimeoutError after LIMIT seconds; any other error is raised as it is.
    """
    try:
        async with asyncio.timeout(LIMIT), begin() as uow:
            await work(uow)
            await uow.commit()
    except TryAgain:
        return TRY_AGAIN
    except Unavailable:
        return UNAVAILABLE
    except DomainError as refusal:
        return refusal.code
    return COMMITTED


@dataclass(frozen=True)
class Overlap:
    """How two units of work ended that ran at the same time.

    `first` and `second` are texts that attempt() returns: COMMITTED, TRY_AGAIN, UNAVAILABLE or a DomainError's code.
    `meanwhile` says whether the second one had already ended while the first one was still open.
    """

    first: str
    second: str
    meanwhile: str
    """The result of the second one when the first one went on, or WAITING if it had not ended by then."""

    @property
    def committed(self) -> int:
        """The number of units of work that were committed."""
        return [self.first, self.second].count(COMMITTED)


async def overlap(begin: Begin, first: First, second: Work) -> Overlap:
    """Run the second unit of work while the first one awaits `meanwhile()`, as overlap_with() does."""
    return await overlap_with(begin, first, lambda: attempt(begin, second), PAUSE)


async def overlap_with(
    begin: Begin, first: First, second: Callable[[], Coroutine[Any, Any, str]], pause: float
) -> Overlap:
    """Run the first unit of work, and call `second` when it awaits `meanwhile()`; return how both ended.

    `first` gets its unit of work and the function `meanwhile`, which it has to await exactly once. `second` runs a unit
    of work, perhaps in another process, and returns how that ended (see attempt()). `meanwhile()` returns when it has
    ended, or after `pause` seconds, when it seems to be waiting for the first.
    """
    ended = WAITING

    async def meanwhile() -> None:
        """Start the second unit of work, wait until it has ended or the pause is over, and set `ended` to its result.

        If it has not ended, `ended` is WAITING, and the unit of work goes on.
        """
        nonlocal ended
        other = others.create_task(second())
        running.append(other)
        await asyncio.wait({other}, timeout=pause)
        ended = other.result() if other.done() else WAITING

    running: list[asyncio.Task[str]] = []
    async with asyncio.timeout(2 * LIMIT), asyncio.TaskGroup() as others:
        outcome = await attempt(begin, lambda uow: first(uow, meanwhile))
    [other] = running
    return Overlap(outcome, other.result(), ended)
