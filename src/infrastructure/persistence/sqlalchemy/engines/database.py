"""A database: its connection pools, and statements that run outside a transaction.

The engines (`postgresql`, `sqlite`) build a Database with a Driver of their own. Connections come from SQLAlchemy's
pool, but statements are executed by the driver (see `compiled`).
"""

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
from infrastructure.capacity_limiter import CapacityLimiter
from infrastructure.persistence.sqlalchemy.engines.combined import combine
from infrastructure.persistence.sqlalchemy.engines.compiled import CompiledStatement, Parameters, compile_statement
from infrastructure.persistence.sqlalchemy.engines.errors import ConnectionLost, translate_errors
from infrastructure.persistence.sqlalchemy.rows import Row

# This makes `postgresql+handover://` use PostgresDialect of asyncpg_connections.py, and `sqlite+handover://` use
# SqliteDialect of aiosqlite_connections.py. The modules `postgresql` and `sqlite` import these classes.
ENGINES = "infrastructure.persistence.sqlalchemy.engines"
registry.register("postgresql.handover", f"{ENGINES}.postgresql", "PostgresDialect")
registry.register("sqlite.handover", f"{ENGINES}.sqlite", "SqliteDialect")

T = TypeVar("T")
SchemaChange = Callable[[Connection], object]
"""Changes the schema through a synchronous SQLAlchemy connection, as Alembic does."""


class Driver(Protocol):
    """An engine's driver: how it executes statements, and what its errors mean.

    AsyncpgDriver fulfils it for PostgreSQL, AiosqliteDriver for SQLite. Connections are those of the driver, in
    autocommit mode. query() and execute() raise the driver's own errors, which classify() translates.
    """

    @property
    def location(self) -> str:
        """The database as error messages name it, such as `PostgreSQL at localhost:5432`."""
        ...

    @property
    def has_named_rows(self) -> bool:
        """Whether this driver's rows can be read by column name.

        If so, fetch() returns them as they are unless a value must be converted; otherwise it copies each into a dict.
        """
        ...

    @property
    def begin_statement(self) -> str:
        """The SQL that begins a transaction."""
        ...

    async def query(self, connection: Any, sql: str, arguments: list[Any], *, is_short: bool) -> Sequence[Any]:
        """Execute a statement and return its rows.

        `is_short` says that it is a SELECT or concerns one row by its key, and so takes little time. SQLite tries such
        a statement on the event loop first; for PostgreSQL it makes no difference.
        """
        ...

    async def execute(self, connection: Any, sql: str) -> None:
        """Execute a statement that has neither arguments nor rows."""
        ...

    def is_closed(self, connection: Any) -> bool:
        """Return whether the connection has ended."""
        ...

    def classify(self, error: Exception) -> Exception:
        """Return the application's error for a driver's error; other errors are returned unchanged."""
        ...


class PooledConnection:
    """A connection that was checked out of a pool, until it is released or invalidated."""

    def __init__(self, pooled: PoolProxiedConnection, database: "Database", limiter: CapacityLimiter) -> None:
        self.pooled: PoolProxiedConnection | None = pooled
        self.connection = pooled.driver_connection
        self.database = database
        self.driver = database.driver
        self.limiter = limiter

    async def fetch(self, statement: ClauseElement, parameters: Parameters, *, one_row: bool = False) -> Sequence[Row]:
        """Execute a statement and return its rows; raise ConnectionLost if the connection has ended.

        `one_row` says that it concerns one row by its key, so that SQLite may run it on the event loop. Other errors
        are raised as Driver.classify() translates them. Cancelling closes the connection.
        """
        compiled = self.database.compiled(statement)
        arguments, is_short = compiled.arguments(parameters), one_row or compiled.is_select
        rows = await self._run(self.driver.query(self.connection, compiled.sql, arguments, is_short=is_short))
        return rows if self.driver.has_named_rows and not compiled.conversions else [compiled.row(row) for row in rows]

    async def execute_combined(self, changes: Mapping[ClauseElement, Parameters], *, exactly: int | None = None) -> int:
        """Make all changes in one statement and return how many rows they return in total. PostgreSQL only.

        With a number `exactly`, raise TryAgain and change nothing unless they return exactly that many rows. Other
        errors are as in fetch().
        """
        arguments = [
            value for change, given in changes.items() for value in self.database.compiled(change).arguments(given)
        ]
        sql = self.database.combined(tuple(changes), exactly)
        [[number]] = await self._run(self.driver.query(self.connection, sql, arguments, is_short=True))
        return int(number)

    async def execute(self, sql: str) -> None:
        """Execute a statement that has neither arguments nor rows; errors and cancelling are as in fetch()."""
        await self._run(self.driver.execute(self.connection, sql))

    async def _run(self, execution: Awaitable[T]) -> T:
        """Await a driver's call and return its result; raise its errors as Driver.classify() translates them.

        If the connection has ended, invalidate it and raise ConnectionLost. Invalidate it also after a cancellation,
        because nobody knows what the statement has done.
        """
        try:
            return await execution
        except asyncio.CancelledError:
            await self.invalidate()
            raise
        except Exception as error:
            if self.is_closed:
                await self.invalidate()
                raise ConnectionLost(f"{self.driver.location} ended the connection") from None
            raise self.driver.classify(error) from None

    @property
    def is_closed(self) -> bool:
        """Whether the connection has ended or was given back."""
        return self.pooled is None or self.driver.is_closed(self.connection)

    def release(self) -> None:
        """Give the connection back to its pool; do nothing if that was done, or if it was invalidated."""
        if self.pooled is not None:
            self.pooled.close()
            self.pooled = None
            self.limiter.release()

    async def invalidate(self, *, politely: bool = True) -> None:
        """Close the connection even if a statement is running on it; do nothing if it was released or invalidated.

        Wait until it is closed; then its place in the limiter is free, and the pool makes another connection when it
        next needs one. If this call is cancelled, closing goes on. With `politely=False` the connection is closed
        without a message to the server, for use when that does not answer.
        """
        if self.pooled is not None:
            pooled, self.pooled = self.pooled, None
            if not politely and pooled.dbapi_connection:
                self.database.dialect.do_terminate(pooled.dbapi_connection)
            closing = asyncio.ensure_future(greenlet_spawn(pooled.invalidate))
            closing.add_done_callback(lambda _: self.limiter.release())
            await asyncio.shield(closing)  # if this task is cancelled again, closing goes on


@dataclass(frozen=True, slots=True)
class ConnectionPool:
    """An engine with its connection pool, and a limiter that lets in as many tasks as the pool has connections."""

    engine: AsyncEngine
    limiter: CapacityLimiter


class Database:
    """An SQL database with a pool for reads and one for transactions, which may be the same.

    `pre_ping` says whether the pools test a connection with a round trip before they hand it out.
    """

    def __init__(self, driver: Driver, *, readers: ConnectionPool, writers: ConnectionPool, pre_ping: bool) -> None:
        self.driver: Driver = driver
        self.readers = readers
        self.writers = writers
        self.dialect = writers.engine.dialect
        self.pre_ping = pre_ping
        self._compiled: dict[ClauseElement, CompiledStatement] = {}
        self._combined: dict[tuple[tuple[ClauseElement, ...], int | None], str] = {}

    def compiled(self, statement: ClauseElement) -> CompiledStatement:
        """Return the compiled statement. Each statement object is compiled once, so build it once."""
        if statement not in self._compiled:
            self._compiled[statement] = compile_statement(statement, self.dialect)
        return self._compiled[statement]

    def combined(self, changes: tuple[ClauseElement, ...], exactly: int | None) -> str:
        """Return the SQL that makes all changes in one statement (see `combine`)."""
        if (changes, exactly) not in self._combined:
            self._combined[changes, exactly] = combine([self.compiled(change) for change in changes], exactly)
        return self._combined[changes, exactly]

    async def fetch(self, statement: ClauseElement, parameters: Parameters) -> Sequence[Row]:
        """Execute one query outside a transaction and return its rows.

        It is sent a second time on another connection if the first had ended; so it must be safe to repeat. Raise Busy
        on a conflict with a transaction or if no connection becomes free in time, and Unavailable if the database
        cannot be reached or the second connection has ended as well.
        """
        return await self._fetch_or_repeat(self.readers, statement, parameters)

    async def change(self, statement: ClauseElement, parameters: Parameters) -> Sequence[Row]:
        """Execute one change outside a transaction, which commits it at once, and return the rows of its RETURNING.

        As in fetch(), it must be safe to repeat, and the same errors are raised. It is executed on a connection for
        transactions. On SQLite it waits in the queue of this process's units of work, and not with the connections for
        reads.
        """
        return await self._fetch_or_repeat(self.writers, statement, parameters)

    async def _fetch_or_repeat(
        self, pool: ConnectionPool, statement: ClauseElement, parameters: Parameters
    ) -> Sequence[Row]:
        """Execute a statement on a connection of this pool and return its rows.

        Execute it a second time if the connection had ended. Raise Busy in place of TryAgain, and otherwise as fetch().
        """
        try:
            try:
                return await self._fetch(pool, statement, parameters)
            except ConnectionLost:
                return await self._fetch(pool, statement, parameters)
        except TryAgain as error:
            raise Busy(f"the store is too busy to answer: {error}") from None

    async def _fetch(self, pool: ConnectionPool, statement: ClauseElement, parameters: Parameters) -> Sequence[Row]:
        """Execute a statement once on a connection of this pool, and return its rows.

        Raise ConnectionLost if the connection has ended, TryAgain on a conflict with a transaction, and as _acquire().
        """
        connection = await self._acquire(pool)
        try:
            return await connection.fetch(statement, parameters)
        finally:
            connection.release()

    async def begin(self) -> PooledConnection:
        """Return a connection on which a transaction has begun; try a second one if the first had ended.

        The caller ends the transaction and then calls release(). Raise TryAgain if another transaction is in the way,
        Busy if no connection becomes free in time, and Unavailable if the database cannot be reached or the second
        connection has ended as well.
        """
        try:
            return await self._begin()
        except ConnectionLost:
            return await self._begin()

    async def _begin(self) -> PooledConnection:
        """Begin a transaction as begin() does, but raise ConnectionLost if the connection had ended.

        After that error, as after any but TryAgain, the connection is closed and not given back to the pool.
        """
        connection = await self._acquire(self.writers)
        try:
            await connection.execute(self.driver.begin_statement)
        except TryAgain:
            connection.release()
            raise
        except BaseException:
            await connection.invalidate()  # the transaction may or may not have begun
            raise
        return connection

    async def acquire(self) -> PooledConnection:
        """Return a connection for transactions on which none has begun.

        Raise Busy if none becomes free in time, and Unavailable if a new one is needed and cannot be made.
        """
        return await self._acquire(self.writers)

    async def _acquire(self, pool: ConnectionPool) -> PooledConnection:
        """Check out a connection that has not ended.

        Raise Busy if none becomes free in time, and Unavailable if a new one is needed and cannot be made.
        """
        while True:
            await pool.limiter.acquire()
            try:
                with translate_errors(self.driver.classify):
                    connection = PooledConnection(await self._check_out(pool.engine), self, pool.limiter)
            except BaseException:
                pool.limiter.release()
                raise
            if not connection.is_closed:
                return connection
            await connection.invalidate()

    async def _check_out(self, engine: AsyncEngine) -> PoolProxiedConnection:
        """Check out a connection, or make one if the pool has none.

        Making or pinging a connection needs a greenlet. Where neither is necessary, do without, because it takes time.
        """
        if not self.pre_ping:
            try:
                return engine.pool.connect()
            except MissingGreenlet:
                pass
        return await greenlet_spawn(engine.pool.connect)

    async def close(self) -> None:
        """Close all connections of both pools that are not in use."""
        await self.readers.engine.dispose()
        await self.writers.engine.dispose()
