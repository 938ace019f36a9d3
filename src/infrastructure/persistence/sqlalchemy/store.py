"""The store on SQLite and PostgreSQL, with SQLAlchemy Core."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from application.errors import TryAgain
from application.locks import KeyedLock
from application.store import Store, lock_one_by_one
from domain.errors import DomainError
from domain.item import Item, ItemId
from domain.user import User, UserId
from infrastructure.lock_queue import LockQueue
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
        self.transaction = transaction
        self.commit = transaction.commit
        self.users = SqlUsers(transaction)
        self.items = SqlItems(transaction)
        self.transfers = SqlTransfers(transaction)
        self.tasks = SqlTasks(transaction)
        self.sessions = SqlSessions(transaction)
        self.attempts = SqlAttempts(transaction)
        self.keys = SqlKeys(transaction)

    async def lock_item(self, item_id: ItemId, *user_ids: UserId) -> tuple[Item | None, dict[UserId, User]]:
        """Return the item, or None if there is none, and those of the users that exist, all of them locked.

        In an optimistic transaction without changes, one statement reads them and none is locked; commit() raises
        TryAgain if one has changed by then.
        """
        if user_ids and self.transaction.is_optimistic and not self.transaction.deferred:
            return await self.items.get_with_users(item_id, user_ids)
        return await lock_one_by_one(self, item_id, user_ids)


class SqlStore(DatabaseOperations):
    """The Store. Whether it uses SQLite or PostgreSQL is decided by the URL in the settings."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.locks = KeyedLock()
        self.users = SqlUserReader(self.database)
        self.items = SqlItemReader(self.database)
        self.transfers = SqlTransferReader(self.database)
        self.tasks = SqlTaskReader(self.database)
        self.stream = SqlStream(self.database)

    @asynccontextmanager
    async def begin(self, *, optimistic: bool = False) -> AsyncIterator[SqlUnitOfWork]:
        """Begin a transaction; roll it back at the end of the block unless it was committed.

        If the block is cancelled, the connection is closed instead, because there is no time to roll back. Only
        PostgreSQL has optimistic transactions, and not with the isolation `SERIALIZABLE`. If one has not claimed
        its idempotency key yet, a DomainError in the block becomes TryAgain: the key may have an answer that is to be
        returned instead. Raise Busy or Unavailable as Database.begin() does; an optimistic transaction does so at its
        first statement.
        """
        is_optimistic = optimistic and self.settings.scheme != "sqlite" and self.settings.isolation != "SERIALIZABLE"
        queue = LockQueue(self.locks)
        transaction = Transaction(self.database, queue if is_optimistic else None)
        try:
            if not is_optimistic:
                await transaction.begin()
            yield SqlUnitOfWork(transaction)
        except asyncio.CancelledError:
            await transaction.abandon()
            raise
        except DomainError:
            if transaction.claim:
                raise TryAgain("the idempotency key has not been claimed yet") from None
            raise
        finally:
            try:
                await transaction.end()
            finally:
                queue.release()


def open_store(settings: Settings) -> Store:
    """Return the store that the settings name, not opened yet; raise Misconfigured if the URL is not valid.

    This is the adapter's entry point.
    """
    return SqlStore(settings)
