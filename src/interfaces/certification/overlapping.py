"""Units of work as the contracts need them: kept, tried, and overlapping."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from application.errors import TryAgain, Unavailable
from application.ports import Begin, UnitOfWork
from domain.errors import DomainError
from domain.item import Item, Transfer
from domain.session import Session
from domain.task import Task
from domain.user import User

LIMIT = 30.0
"""Seconds after which something hangs that should not."""
PAUSE = 0.15
"""Seconds that a unit gives another one to get in its way."""

COMMITTED, TRY_AGAIN, UNAVAILABLE, WAITING = "committed", "try-again", "unavailable", "waiting"

Work = Callable[[UnitOfWork], Awaitable[object]]
Meanwhile = Callable[[], Awaitable[None]]


async def insert(begin: Begin, *entities: User | Item | Transfer | Task | Session) -> None:
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
    """How a unit of this work ends: committed, to be tried again, not at all, or with a refusal's code."""
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
    first: str
    second: str
    meanwhile: str
    """How the second had ended when the first went on, if it had."""

    @property
    def committed(self) -> int:
        return [self.first, self.second].count(COMMITTED)


async def overlap(begin: Begin, first: Callable[[UnitOfWork, Meanwhile], Awaitable[object]], second: Work) -> Overlap:
    """Run the second unit of work while the first one is in `meanwhile()`.

    That returns when the second one has ended, or after PAUSE, when it seems to be waiting for the first.
    """
    ended = WAITING

    async def meanwhile() -> None:
        nonlocal ended
        other = others.create_task(attempt(begin, second))
        running.append(other)
        await asyncio.wait({other}, timeout=PAUSE)
        ended = other.result() if other.done() else WAITING

    running: list[asyncio.Task[str]] = []
    async with asyncio.timeout(2 * LIMIT), asyncio.TaskGroup() as others:
        outcome = await attempt(begin, lambda uow: first(uow, meanwhile))
    [other] = running
    return Overlap(outcome, other.result(), ended)
