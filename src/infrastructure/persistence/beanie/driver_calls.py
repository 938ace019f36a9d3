"""Calls of MongoDB's driver, which are never cancelled.

If calls are cancelled while the server hangs, the driver may ignore that and repeat the call, and the lock of its
connection pool may stay locked for ever (see docs/decisions/0026-uncancelled-driver-calls.md). So each call runs in a
task of its own. If the task that waits for it is cancelled, it stops waiting, but the call goes on until the server
answers or the driver's own time limits end it.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from pymongo.asynchronous.client_session import AsyncClientSession

T = TypeVar("T")

_running: set[asyncio.Task[Any]] = set()
"""The calls that have not ended. The event loop itself keeps only weak references to its tasks."""


def start_call(call: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Start a call of the driver in a task of its own. Nothing is logged if it fails and nobody asks for its result."""
    task = asyncio.ensure_future(call)
    _running.add(task)
    task.add_done_callback(_forget)
    return task


def _forget(task: asyncio.Task[Any]) -> None:
    """Drop the reference to a task that has ended, and mark its error as known, which asyncio would log otherwise."""
    _running.discard(task)
    if not task.cancelled():
        task.exception()


async def result_of(task: asyncio.Task[T]) -> T:
    """Wait for a task and return its result or raise its error. If this is cancelled, the task goes on."""
    await asyncio.wait({task})
    return task.result()


class DriverTransaction:
    """A session of the driver with a started transaction, and the call that runs in it."""

    def __init__(self, session: AsyncClientSession) -> None:
        self.session = session
        self.ending: asyncio.Task[None] | None = None
        """The task that aborts the transaction, if there is one."""
        self._call: asyncio.Task[Any] | None = None

    async def run(self, call: Coroutine[Any, Any, T]) -> T:
        """Await a call of the driver that uses the session, and return its result; if this is cancelled, it goes on.

        A session can be used by one call at a time, so after a cancellation only end() may follow.
        """
        self._call = task = start_call(call)
        return await result_of(task)

    @property
    def is_open(self) -> bool:
        """Whether the transaction has neither been committed nor aborted, as far as is known, or a call still runs."""
        return bool(self.session.in_transaction or (self._call and not self._call.done()))

    async def end(self) -> None:
        """Wait until no call runs, then end the session; abort the transaction unless it was committed or aborted.

        Raise the driver's error if that cannot be done.
        """
        if self._call:
            await asyncio.wait({self._call})
        await self.session.end_session()
