"""Sessions of SQLAlchemy's ORM: one for each query, and one for each unit of work.

The engines and their connection pools are those of the Core adapter. Its engines are in autocommit mode, which suits
queries. Events do the rest: they begin SQLite's transactions, translate errors and replace connections that have ended.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from sqlalchemy import Connection, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlmodel.ext.asyncio.session import AsyncSession
from sqlmodel.sql.expression import SelectOfScalar

from application.errors import Busy, OutcomeUnknown, TryAgain, Unavailable
from domain.errors import DomainError
from infrastructure.capacity_limiter import CapacityLimiter
from infrastructure.persistence.sqlalchemy.engines.database import Database
from infrastructure.persistence.sqlalchemy.engines.errors import (
    ConnectionLost,
    UnexpectedDriverError,
    translate_errors,
)
from infrastructure.persistence.sqlmodel.tracing import trace_statements
from infrastructure.tracing import current_tracer

T = TypeVar("T")

FAILED = "handover_failed"
"""The entry in a connection's `info` that says whether a statement of its transaction has failed."""
UNCLEAR = "handover_unclear"
"""The entry that says whether it did so with an error after which the state of the transaction is not known."""


class Transaction:
    """The transaction of a unit of work, and the session that sends its statements."""

    def __init__(self, session: AsyncSession, connection: AsyncConnection, database: Database) -> None:
        self.session = session
        self.connection = connection
        self.database = database
        self.committed = False
        self._committing = asyncio.Lock()

    async def commit(self) -> None:
        """Commit the transaction of the ORM session; do nothing if that is done.

        Raise TryAgain if the connection was found lost before anything was sent, OutcomeUnknown if it is lost during
        the commit, and RuntimeError if a statement of the transaction has failed.
        """
        async with self._committing:
            if self.committed:
                return
            if self.connection.info[FAILED]:
                raise RuntimeError("after an error a unit of work can only be left")
            pooled = await self.connection.get_raw_connection()
            if self.database.driver.is_closed(pooled.driver_connection):
                raise TryAgain("the connection was lost before the commit")
            try:
                await self.session.commit()
            except ConnectionLost:
                raise OutcomeUnknown("the connection to the store was lost during the commit") from None
            self.committed = True

    @property
    def is_unclear(self) -> bool:
        """Whether an error has left open what the state of the transaction is."""
        return not (self.connection.closed or self.connection.invalidated) and bool(self.connection.info[UNCLEAR])

    async def abandon(self) -> None:
        """End the transaction, if it is not committed, by closing its connection, when there is no time to roll back.

        A running commit is cut off first, because a session cannot be closed before it ends.
        """
        if self._committing.locked():
            pooled = await self.connection.get_raw_connection()
            if pooled.dbapi_connection:
                self.database.dialect.do_terminate(pooled.dbapi_connection)
        async with self._committing:
            await self.session.invalidate()

    async def end(self) -> None:
        """Roll back if the transaction is not committed, and give the connection back; close it if that fails.

        It is also closed if the state of the transaction is not known. After an error of BEGIN or COMMIT, SQLAlchemy
        rolls back nothing, and the transaction may still be open.
        """
        try:
            if self.is_unclear:
                await self.connection.invalidate()
            await self.session.close()
        except (TryAgain, Unavailable, UnexpectedDriverError):
            await self.connection.invalidate()


class Sessions:
    """Opens sessions on a database.

    Makes the database's engines translate errors and replace connections that have ended. `isolation` is the isolation
    level of transactions on PostgreSQL, such as `READ COMMITTED`; SQLite has only one.
    """

    def __init__(self, database: Database, isolation: str) -> None:
        self.database = database
        for engine in {database.readers.engine, database.writers.engine}:
            if tracer := current_tracer():
                trace_statements(engine.sync_engine, tracer, self.database.dialect.name)
            event.listen(engine.sync_engine, "handle_error", self._mark_and_translate)
            event.listen(engine.sync_engine, "checkout", self._refuse_closed)
        self.transactional = self._transactional(database.writers.engine, isolation)

    async def fetch(self, statement: SelectOfScalar[T], parameters: Mapping[str, Any] | None = None) -> Sequence[T]:
        """Execute a query in a session of its own, outside any transaction, and return all results.

        It is sent a second time on another connection if the first had ended. Raise Busy on a conflict with a
        transaction or if no connection becomes free in time, and Unavailable if the database cannot be reached or the
        second connection has ended as well.
        """
        try:
            try:
                return await self._fetch(statement, parameters)
            except ConnectionLost:
                return await self._fetch(statement, parameters)
        except TryAgain as error:
            raise Busy(f"the store is too busy to answer: {error}") from None

    async def _fetch(self, statement: SelectOfScalar[T], parameters: Mapping[str, Any] | None) -> Sequence[T]:
        """Execute a query once, as fetch() does.

        Raise ConnectionLost if the connection has ended, and TryAgain on a conflict with a transaction.
        """
        async with _limited(self.database.readers.limiter), AsyncSession(self.database.readers.engine) as session:
            with translate_errors(self.database.driver.classify):
                await session.connection()
            return (await session.exec(statement, params=parameters)).all()

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Transaction]:
        """Begin a transaction and yield it; roll it back at the end of the block unless it was committed.

        If the block is cancelled, the connection is closed instead, because there is no time to roll back. A session
        whose transaction has ended does not begin another one by itself.

        Before the block, raise Busy if no connection becomes free in time, Unavailable if the database cannot be
        reached, and TryAgain if another process has the lock on the SQLite file.
        """
        async with _limited(self.database.writers.limiter):
            session = AsyncSession(self.transactional, autobegin=False, autoflush=False, expire_on_commit=False)
            try:
                with translate_errors(self.database.driver.classify):
                    await session.begin()
                    connection = await session.connection()
                connection.info[FAILED] = connection.info[UNCLEAR] = False
            except BaseException:
                await asyncio.shield(session.invalidate())  # the transaction may or may not have begun
                raise
            transaction = Transaction(session, connection, self.database)
            try:
                yield transaction
            except asyncio.CancelledError:
                await asyncio.shield(transaction.abandon())
                raise
            finally:
                await asyncio.shield(transaction.end())

    def _transactional(self, engine: AsyncEngine, isolation: str) -> AsyncEngine:
        """Return the engine for transactions, which uses the pool of the given one.

        For PostgreSQL it has this isolation level, and its driver begins a transaction with the first statement. For
        SQLite it is the given engine itself, to which a listener is added that executes BEGIN IMMEDIATE whenever a
        transaction begins. The driver itself stays in autocommit mode: it would begin a transaction only with the first
        change, which is too late to lock what is read before.
        """
        if self.database.dialect.name == "postgresql":
            return engine.execution_options(isolation_level=isolation)
        event.listen(engine.sync_engine, "begin", self._begin)
        return engine

    def _begin(self, connection: Connection) -> None:
        """Begin a transaction of SQLite, which locks the file against changes by others.

        After any error but TryAgain, which means that it has not begun, the connection is closed.
        """
        try:
            connection.exec_driver_sql(self.database.driver.begin_statement)
        except TryAgain:
            raise
        except BaseException:
            connection.invalidate()
            raise

    def _refuse_closed(self, connection: DBAPIConnection, *_: object) -> None:
        """Raise InvalidatePoolError if the connection that the pool is about to hand out has ended.

        The pool then replaces it, and also each other connection that was made before now, when that is next needed.
        """
        if self.database.driver.is_closed(connection.driver_connection):
            raise InvalidatePoolError

    def _mark_and_translate(self, context: ExceptionContext) -> Exception | None:
        """Mark the connection's transaction as failed, and return the error to raise in place of the original one.

        SQLAlchemy calls this for every error. With the mark, commit() refuses to commit; a connection that has been
        invalidated is not marked, because its transaction has ended. Return ConnectionLost if the connection has ended,
        and what the driver's classify() returns for any other error.

        For a cancellation, and for an error of a pre-ping, mark nothing and return None: the original error is raised.
        """
        error = context.original_exception
        if not isinstance(error, Exception) or context.is_pre_ping:
            return None
        meaning = self.database.driver.classify(error)
        if context.connection and not context.connection.invalidated:
            context.connection.info[FAILED] = True
            context.connection.info[UNCLEAR] = not isinstance(meaning, DomainError | TryAgain)
        if context.is_disconnect:
            return ConnectionLost(f"{self.database.driver.location} ended the connection")
        return meaning


@asynccontextmanager
async def _limited(limiter: CapacityLimiter) -> AsyncIterator[None]:
    """Take a place of the limiter, so that the pool has a connection; raise Busy if none becomes free in time."""
    await limiter.acquire()
    try:
        yield
    finally:
        limiter.release()
