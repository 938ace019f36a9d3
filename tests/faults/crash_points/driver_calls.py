"""The statements that drivers really send, each of which a test can let fail or kill the process.

Only what passes here between observing() and its end is counted. Statements that open a connection are not, and neither
are SQLite's PRAGMAs.
"""

import asyncio
import os
import signal
import sqlite3
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial, wraps
from typing import Any, Literal, Self, TypeVar
from unittest.mock import patch

import asyncpg
import bson
from pymongo.asynchronous.pool import AsyncConnection

from infrastructure.persistence.memory import MemoryStore
from infrastructure.persistence.memory import tables as memory_tables
from infrastructure.persistence.memory import unit_of_work as memory

T = TypeVar("T")

Moment = Literal["before", "sent", "after"]
"""Before a statement is sent, when it was sent and its answer was not seen, or after its answer has arrived."""


class Crash(Exception):
    """No adapter knows this error."""


@dataclass(frozen=True, slots=True)
class Point:
    """A moment of a statement: its number among all of them, and its first words."""

    number: int
    moment: Moment
    statement: str

    def __str__(self) -> str:
        return f"{self.moment} statement {self.number}, {self.statement}"


def fail() -> None:
    raise Crash


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@dataclass(slots=True)
class Observer:
    """Collects the points that are passed, in order; at `crash_at` it calls `crash`, which does not return."""

    crash_at: Point | None = None
    crash: Callable[[], None] = fail
    passed: list[Point] = field(default_factory=list)
    statements: int = 0

    def begin(self, statement: str) -> Callable[[Moment], None]:
        """Return what is to be called at each moment of this statement; the first one is now."""

        def reach(moment: Moment) -> None:
            if self.has_crashed:  # what is sent now undoes the transaction
                return
            point = Point(number, moment, first_words)
            self.passed.append(point)
            if self.has_crashed:
                self.crash()

        first_words = " ".join(statement.split()[:3])
        number = self.statements = self.statements + 1
        reach("before")
        return reach

    @property
    def has_crashed(self) -> bool:
        return self.passed[-1:] == [self.crash_at]


_observer: Observer | None = None


@contextmanager
def observing(observer: Observer) -> Iterator[None]:
    global _observer  # noqa: PLW0603 - drivers give no other way to their connections
    _observer = observer
    try:
        yield
    finally:
        _observer = None


async def _observed(statement: str, call: Callable[[], Awaitable[T]]) -> T:
    """Await the call, which sends the statement and waits for its answer."""
    if (observer := _observer) is None:
        return await call()
    reach = observer.begin(statement)
    sending = asyncio.ensure_future(call())
    await asyncio.sleep(0)  # it runs until it waits for the answer
    reach("sent")
    answer = await sending
    reach("after")
    return answer


class _AsyncpgProtocol:
    """asyncpg's protocol, through which each of its statements goes, prepared or not."""

    def __init__(self, protocol: Any) -> None:
        self.protocol = protocol

    def __getattr__(self, name: str) -> Any:
        return getattr(self.protocol, name)

    async def query(self, query: str, *given: Any, **options: Any) -> Any:
        return await _observed(query, lambda: self.protocol.query(query, *given, **options))

    async def bind_execute(self, state: Any, *given: Any, **options: Any) -> Any:
        return await _observed(state.query, lambda: self.protocol.bind_execute(state, *given, **options))


class _SqliteCursor(sqlite3.Cursor):
    reach: Callable[[Moment], None] | None = None

    def execute(self, sql: str, *arguments: Any) -> Self:
        if _observer is None or sql.startswith("PRAGMA"):
            return super().execute(sql, *arguments)
        self.reach = _observer.begin(sql)
        super().execute(sql, *arguments)
        if self.description is None:
            self.reach("after")
        return self

    def fetchall(self) -> list[Any]:
        """Return the rows. A statement that returns any ends here, and not with execute()."""
        rows = super().fetchall()
        if self.reach and _observer and self.description is not None:
            self.reach("after")
        return rows


class _SqliteConnection(sqlite3.Connection):
    def cursor(self, *_: Any, **__: Any) -> Any:
        return super().cursor(_SqliteCursor)

    def execute(self, *given: Any) -> Any:
        return self.cursor().execute(*given)

    def commit(self) -> None:
        if self.in_transaction:
            self.cursor().execute("COMMIT")

    def rollback(self) -> None:
        if self.in_transaction:
            self.cursor().execute("ROLLBACK")


MONITORING = {"hello", "isMaster", "ismaster", "ping", "endSessions"}


send_to_mongodb, receive_from_mongodb = AsyncConnection.send_message, AsyncConnection.receive_message


async def _send_observed(connection: AsyncConnection, message: bytes, *arguments: Any) -> None:
    """Send a command of pymongo. The end of its answer is observed by _receive_observed()."""
    connection.__dict__.pop("reach", None)
    command = next(iter(bson.decode(message[21 : 21 + int.from_bytes(message[21:25], "little")])))
    if _observer is None or command in MONITORING:
        await send_to_mongodb(connection, message, *arguments)
        return
    reach = _observer.begin(command)
    await send_to_mongodb(connection, message, *arguments)
    reach("sent")
    connection.__dict__["reach"] = reach


async def _receive_observed(connection: AsyncConnection, *arguments: Any) -> Any:
    answer = await receive_from_mongodb(connection, *arguments)
    if (reach := connection.__dict__.pop("reach", None)) is not None:
        reach("after")
    return answer


@contextmanager
def observable_drivers() -> Iterator[None]:
    """Let connections that are opened in this block be observed, and the in-memory store."""
    connect, initialize = sqlite3.connect, asyncpg.Connection.__init__
    checkpoint, commit, purge = memory_tables.checkpoint, memory.MemoryUnitOfWork.commit, MemoryStore.purge

    @wraps(initialize)
    def initialize_observed(connection: Any, protocol: Any, *arguments: Any, **options: Any) -> None:
        initialize(connection, _AsyncpgProtocol(protocol), *arguments, **options)

    async def checkpoint_observed() -> None:
        """A repository's call does all of its work after this."""
        if _observer:
            _observer.begin("call")
        await checkpoint()

    async def commit_observed(unit: Any) -> None:
        reach = _observer.begin("commit") if _observer else None
        await commit(unit)
        if reach:
            reach("after")

    async def purge_observed(store: Any, *arguments: Any) -> Counter[str]:
        reach = _observer.begin("purge") if _observer else None
        removed = await purge(store, *arguments)
        if reach:
            reach("after")
        return removed

    with (
        patch.object(sqlite3, "connect", partial(connect, factory=_SqliteConnection)),
        patch.object(asyncpg.Connection, "__init__", initialize_observed),
        patch.object(AsyncConnection, "send_message", _send_observed),
        patch.object(AsyncConnection, "receive_message", _receive_observed),
        patch.object(memory, "checkpoint", checkpoint_observed),
        patch.object(memory.MemoryUnitOfWork, "commit", commit_observed),
        patch.object(MemoryStore, "purge", purge_observed),
    ):
        yield
