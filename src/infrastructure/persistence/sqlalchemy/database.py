"""One database as the adapter uses it, whichever engine it is: its pools, and connections on loan from them."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeVar

from sqlalchemy import ClauseElement, Connection, PoolProxiedConnection
from sqlalchemy.dialects import registry
from sqlalchemy.exc import MissingGreenlet
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.util import greenlet_spawn

from application.errors import Busy, TryAgain
from infrastructure.persistence.sqlalchemy.errors import ConnectionLost, translated
from infrastructure.persistence.sqlalchemy.rows import Row
from infrastructure.persistence.sqlalchemy.statements import Parameters, Prepared, prepare

registry.register("postgresql.handover", "infrastructure.persistence.sqlalchemy.postgresql", "PostgresDialect")
registry.register("sqlite.handover", "infrastructure.persistence.sqlalchemy.sqlite", "SqliteDialect")

T = TypeVar("T")
Work = Callable[[Connection], object]


class Driver(Protocol):
    """What an engine's driver does, and what its errors mean. Its connections are in autocommit mode."""

    @property
    def place(self) -> str:
        """Where the database is, as messages name it."""
        ...

    @property
    def begin(self) -> str:
        """The statement that begins a transaction."""
        ...

    async def query(self, connection: Any, sql: str, arguments: list[Any]) -> Sequence[Sequence[Any]]: ...
    async def command(self, connection: Any, sql: str) -> None: ...
    def is_closed(self, connection: Any) -> bool: ...
    def meaning(self, error: Exception) -> Exception: ...


class Loan:
    """A connection, until it is given back or dropped."""

    def __init__(self, pooled: PoolProxiedConnection, database: "Database") -> None:
        self.pooled: PoolProxiedConnection | None = pooled
        self.connection = pooled.driver_connection
        self.database = database
        self.driver = database.driver

    async def rows(self, statement: ClauseElement, parameters: Parameters) -> list[Row]:
        prepared = self.database.prepared(statement)
        rows = await self._ask(self.driver.query(self.connection, prepared.sql, prepared.arguments(parameters)))
        return [prepared.row(row) for row in rows]

    async def command(self, sql: str) -> None:
        await self._ask(self.driver.command(self.connection, sql))

    async def _ask(self, answer: Awaitable[T]) -> T:
        try:
            with translated(self.driver.meaning):
                return await answer
        except asyncio.CancelledError:
            await self.drop()
            raise
        except Exception:
            if self.is_closed:
                await self.drop()
                raise ConnectionLost(f"{self.driver.place} ended the connection") from None
            raise

    @property
    def is_closed(self) -> bool:
        return self.pooled is None or self.driver.is_closed(self.connection)

    def give_back(self) -> None:
        if self.pooled is not None:
            self.pooled.close()
            self.pooled = None

    async def drop(self, *, politely: bool = True) -> None:
        """End it, whatever it is at; the pool will make a new one."""
        if self.pooled is not None:
            pooled, self.pooled = self.pooled, None
            if not politely and pooled.dbapi_connection:
                self.database.writers.dialect.do_terminate(pooled.dbapi_connection)
            # A second cancellation ends the waiting, not the work.
            await asyncio.shield(asyncio.ensure_future(greenlet_spawn(pooled.invalidate)))


class Database:
    def __init__(self, driver: Driver, *, readers: AsyncEngine, writers: AsyncEngine, pre_ping: bool) -> None:
        self.driver = driver
        self.readers = readers
        self.writers = writers
        self.pre_ping = pre_ping
        self._prepared: dict[ClauseElement, Prepared] = {}

    def prepared(self, statement: ClauseElement) -> Prepared:
        if statement not in self._prepared:
            self._prepared[statement] = prepare(statement, self.writers.dialect)
        return self._prepared[statement]

    async def fetch(self, statement: ClauseElement, parameters: Parameters) -> list[Row]:
        """The rows of one statement outside any transaction; it is sent again once if its connection was dead."""
        try:
            try:
                return await self._fetch(statement, parameters)
            except ConnectionLost:
                return await self._fetch(statement, parameters)
        except TryAgain:
            raise Busy("the store is too busy to answer") from None

    async def _fetch(self, statement: ClauseElement, parameters: Parameters) -> list[Row]:
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
        except BaseException:
            loan.give_back()
            raise
        return loan

    async def _lend(self, engine: AsyncEngine) -> Loan:
        with translated(self.driver.meaning):
            while True:
                loan = Loan(await self._check_out(engine), self)
                if not loan.is_closed:
                    return loan
                await loan.drop()

    async def _check_out(self, engine: AsyncEngine) -> PoolProxiedConnection:
        if not self.pre_ping:
            try:
                return engine.pool.connect()
            except MissingGreenlet:
                pass  # none is there to be had without waiting; that takes a greenlet, which is dear
        return await greenlet_spawn(engine.pool.connect)

    async def close(self) -> None:
        await self.readers.dispose()
        await self.writers.dispose()
