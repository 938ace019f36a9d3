"""The store on SQLite and PostgreSQL, with SQLAlchemy Core."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

from sqlalchemy import literal, select

from application.store import Capabilities, Schema, Store
from infrastructure.persistence.sqlalchemy import schema
from infrastructure.persistence.sqlalchemy.engines.postgresql import open_postgresql
from infrastructure.persistence.sqlalchemy.engines.sqlite import open_sqlite
from infrastructure.persistence.sqlalchemy.engines.transaction import Transaction
from infrastructure.persistence.sqlalchemy.purge import purge
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


SQLITE = Capabilities(
    durable=True, processes="one-machine", writers="one", conflicts="wait", seconds_to_release_locks=0
)
POSTGRESQL = Capabilities(durable=True, processes="any", writers="many", conflicts="wait", seconds_to_release_locks=0)


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


class SqlStore:
    """The Store. Whether it uses SQLite or PostgreSQL is decided by the URL in the settings."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.capabilities = SQLITE if settings.scheme == "sqlite" else POSTGRESQL
        self.database = (open_sqlite if settings.scheme == "sqlite" else open_postgresql)(settings)
        self.users = SqlUserReader(self.database)
        self.items = SqlItemReader(self.database)
        self.transfers = SqlTransferReader(self.database)
        self.tasks = SqlTaskReader(self.database)
        self.stream = SqlStream(self.database)

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[SqlUnitOfWork]:
        """Begin a transaction; roll it back at the end of the block unless it was committed."""
        transaction = Transaction(await self.database.begin())
        try:
            yield SqlUnitOfWork(transaction)
        except asyncio.CancelledError:
            await transaction.abandon()
            raise
        finally:
            await transaction.end()

    async def purge(self, at: datetime, limit: int) -> int:
        """Remove up to `limit` expired rows of each table; return how many were removed."""
        return await purge(self.database, at, limit)

    async def open(self) -> None:
        """Connect; raise Unavailable if that fails."""
        await self.database.fetch(select(literal(1)), {})

    async def close(self) -> None:
        """Close all connections."""
        await self.database.close()

    async def schema(self) -> Schema:
        """Return the revision of the schema and the needed one; asks the store."""
        return Schema(found=await schema.revision(self.database), needed=schema.REVISION)

    async def upgrade(self) -> None:
        """Migrate the schema to the needed revision."""
        await schema.upgrade(self.settings)

    async def downgrade(self) -> None:
        """Undo the newest migration."""
        if await schema.revision(self.database) is not None:
            await schema.downgrade(self.settings)


def open_store(settings: Settings) -> Store:
    """Return the store that the settings name, not opened yet; raise Misconfigured if the URL is not valid.

    This is the adapter's entry point.
    """
    return SqlStore(settings)
