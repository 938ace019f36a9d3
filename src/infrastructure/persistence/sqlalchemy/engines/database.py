"""One database as the adapter uses it, whichever engine it is: its pools, and connections on loan from them."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from sqlalchemy import ClauseElement, Connection, PoolProxiedConnection
from sqlalchemy.dialects import registry
from sqlalchemy.exc import MissingGreenlet
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.util import greenlet_spawn

from application.errors import Busy, TryAgain
from infrastructure.capacity import enter
from infrastructure.persistence.sqlalchemy.engines.compiled import Parameters, Prepared, prepare, together
from infrastructure.persistence.sqlalchemy.engines.errors import ConnectionLost, translated
from infrastructure.persistence.sqlalchemy.rows import Row

registry.register("postgresql.handover", "infrastructure.persistence.sqlalchemy.engines.postgresql", "PostgresDialect")
registry.register("sqlite.handover", "infrastructure.persistence.sqlalchemy.engines.sqlite", "SqliteDialect")

T = TypeVar("T")
Work = Callable[[Connection], object]


class Driver(Protocol):
    """What an engine's driver does, and what its errors mean. Its connections are in autocommit mode."""

    @property
    def place(self) -> str:
        """Where the database is, as messages name it."""
        ...

    @property
    def names_columns(self) -> bool:
        """Whether its rows can be asked by name, and so be left as they are where no value has to be converted."""
        ...

    @property
    def begin(self) -> str:
        """The statement that begins a transaction."""
        ...

    async def query(self, connection: Any, sql: str, arguments: list[Any], *, brief: bool) -> Sequence[Any]:
        """The rows. Brief is what reads, or is about one row by its key."""
        ...

    async def command(self, connection: Any, sql: str) -> None: ...
    def is_closed(self, connection: Any) -> bool: ...
    def meaning(self, error: Exception) -> Exception: ...


class Loan:
    """A connection, until it is given back or dropped."""

    def __init__(self, pooled: PoolProxiedConnection, database: "Database", room: asyncio.Semaphore) -> None:
        self.pooled: PoolProxiedConnection | None = pooled
        self.connection = pooled.driver_connection
        self.database = database
        self.driver = database.driver
        self.room = room

    async def rows(self, statement: ClauseElement, parameters: Parameters, *, one: bool = False) -> Sequence[Row]:
        prepared = self.database.prepared(statement)
        arguments, brief = prepared.arguments(parameters), one or prepared.reads
        found = await self._ask(self.driver.query(self.connection, prepared.sql, arguments, brief=brief))
        return found if self.driver.names_columns and not prepared.conversions else [prepared.row(row) for row in found]

    async def count(self, changes: Mapping[ClauseElement, Parameters]) -> int:
        """Make them all in one statement, which not every engine can do; how many rows they return."""
        arguments = [it for change, given in changes.items() for it in self.database.prepared(change).arguments(given)]
        sql = self.database.together(tuple(changes))
        [[number]] = await self._ask(self.driver.query(self.connection, sql, arguments, brief=True))
        return int(number)

    async def command(self, sql: str) -> None:
        await self._ask(self.driver.command(self.connection, sql))

    async def _ask(self, answer: Awaitable[T]) -> T:
        try:
            return await answer
        except asyncio.CancelledError:
            await self.drop()
            raise
        except Exception as error:
            if self.is_closed:
                await self.drop()
                raise ConnectionLost(f"{self.driver.place} ended the connection") from None
            raise self.driver.meaning(error) from None

    @property
    def is_closed(self) -> bool:
        return self.pooled is None or self.driver.is_closed(self.connection)

    def give_back(self) -> None:
        if self.pooled is not None:
            self.pooled.close()
            self.pooled = None
            self.room.release()

    async def drop(self, *, politely: bool = True) -> None:
        """End it, whatever it is at; the pool will make a new one."""
        if self.pooled is not None:
            pooled, self.pooled = self.pooled, None
            if not politely and pooled.dbapi_connection:
                self.database.dialect.do_terminate(pooled.dbapi_connection)
            ending = asyncio.ensure_future(greenlet_spawn(pooled.invalidate))
            ending.add_done_callback(lambda _: self.room.release())
            await asyncio.shield(ending)  # a second cancellation ends the waiting, not the work


@dataclass(frozen=True, slots=True)
class Pool:
    """An engine's pool, and room for as many at once as it has connections."""

    engine: AsyncEngine
    room: asyncio.Semaphore
    patience: float
    """Seconds."""


class Database:
    def __init__(self, driver: Driver, *, readers: Pool, writers: Pool, pre_ping: bool) -> None:
        self.driver = driver
        self.readers = readers
        self.writers = writers
        self.dialect = writers.engine.dialect
        self.pre_ping = pre_ping
        self._prepared: dict[ClauseElement, Prepared] = {}
        self._together: dict[tuple[ClauseElement, ...], str] = {}

    def prepared(self, statement: ClauseElement) -> Prepared:
        if statement not in self._prepared:
            self._prepared[statement] = prepare(statement, self.dialect)
        return self._prepared[statement]

    def together(self, changes: tuple[ClauseElement, ...]) -> str:
        if changes not in self._together:
            self._together[changes] = together([self.prepared(change) for change in changes])
        return self._together[changes]

    async def fetch(self, statement: ClauseElement, parameters: Parameters) -> Sequence[Row]:
        """The rows of one statement outside any transaction; it is sent again once if its connection was dead."""
        try:
            try:
                return await self._fetch(statement, parameters)
            except ConnectionLost:
                return await self._fetch(statement, parameters)
        except TryAgain:
            raise Busy("the store is too busy to answer") from None

    async def _fetch(self, statement: ClauseElement, parameters: Parameters) -> Sequence[Row]:
        loan = await self._lend(self.readers)
        try:
            return await loan.rows(statement, parameters)
        finally:
            loan.give_back()

    async def begun(self) -> Loan:
        """A connection in a transaction; another one if the first was dead."""
        try:
            return await self._begun()
        except ConnectionLost:
            return await self._begun()

    async def _begun(self) -> Loan:
        loan = await self._lend(self.writers)
        try:
            await loan.command(self.driver.begin)
        except TryAgain:
            loan.give_back()
            raise
        except BaseException:
            await loan.drop()  # nobody knows whether it has begun
            raise
        return loan

    async def _lend(self, pool: Pool) -> Loan:
        while True:
            await enter(pool.room, pool.patience)
            try:
                with translated(self.driver.meaning):
                    loan = Loan(await self._check_out(pool.engine), self, pool.room)
            except BaseException:
                pool.room.release()
                raise
            if not loan.is_closed:
                return loan
            await loan.drop()

    async def _check_out(self, engine: AsyncEngine) -> PoolProxiedConnection:
        if not self.pre_ping:
            try:
                return engine.pool.connect()
            except MissingGreenlet:
                pass  # a new one has to be made, which takes a greenlet, and that is dear
        return await greenlet_spawn(engine.pool.connect)

    async def close(self) -> None:
        await self.readers.engine.dispose()
        await self.writers.engine.dispose()
