"""The store on SQLite and PostgreSQL, with SQLAlchemy Core."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from application.store import Store
from infrastructure.persistence.sqlalchemy.engines.transaction import Transaction
from infrastructure.persistence.sqlalchemy.operations import DatabaseOperations
from infrastructure.persistence.sqlalchemy.reading.readers import (
    SqlItemReader,
    SqlTaskReader,
    SqlTransferReader,
    SqlUserReader,
)
from infrastructure.persistence.sqlalchemy.stream import SqlStream
from infrastructure.persistence.sqlalchemy.writing.idempotency_keys import SqlKeys
from infrastructure.persistence.sqlalchemy.writing.repositories import SqlItems, SqlTasks, SqlTransfers, SqlUsers
from infrastructure.persistence.sqlalchemy.writing.sessions import SqlAttempts, SqlSessions
from infrastructure.settings import Settings

__all__ = ["SqlStore", "open_store"]


class SqlUnitOfWork:
    """The UnitOfWork: one database transaction, with a repository per aggregate."""

    def __init__(self, transaction: Transaction) -> None:
        self.commit = transaction.commit
        self.users = SqlUsers(transaction)
        self.items = SqlItems(transaction)
        self.transfers = SqlTransfers(transaction)
        self.tasks = SqlTasks(transaction)
        self.sessions = SqlSessions(transaction)
        self.attempts = SqlAttempts(transaction)
        self.keys = SqlKeys(transaction)


class SqlStore(DatabaseOperations):
    """The Store. Whether it uses SQLite or PostgreSQL is decided by the URL in the settings."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.users = SqlUserReader(self.database)
        self.items = SqlItemReader(self.database)
        self.transfers = SqlTransferReader(self.database)
        self.tasks = SqlTaskReader(self.database)
        self.stream = SqlStream(self.database)

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[SqlUnitOfWork]:
        """Begin a transaction; roll it back at the end of the block unless it was committed.

        If the block is cancelled, the connection is closed instead, because there is no time to roll back.
        """
        transaction = Transaction(await self.database.begin())
        try:
            yield SqlUnitOfWork(transaction)
        except asyncio.CancelledError:
            await transaction.abandon()
            raise
        finally:
            await transaction.end()


def open_store(settings: Settings) -> Store:
    """Return the store that the settings name, not opened yet; raise Misconfigured if the URL is not valid.

    This is the adapter's entry point.
    """
    return SqlStore(settings)
