"""The store on SQLite and PostgreSQL, with SQLModel and SQLAlchemy's ORM."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from application.store import Store
from infrastructure.persistence.sqlalchemy.operations import DatabaseOperations
from infrastructure.persistence.sqlmodel.orm_sessions import Sessions
from infrastructure.persistence.sqlmodel.reading.readers import (
    SqlModelItemReader,
    SqlModelTaskReader,
    SqlModelTransferReader,
    SqlModelUserReader,
)
from infrastructure.persistence.sqlmodel.stream import SqlModelStream
from infrastructure.persistence.sqlmodel.writing.unit_of_work import SqlModelUnitOfWork
from infrastructure.settings import Settings


class SqlModelStore(DatabaseOperations):
    """The Store on SQLite or PostgreSQL, as the URL in the settings says."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.sessions = Sessions(self.database, settings.isolation or "READ COMMITTED")
        self.users = SqlModelUserReader(self.sessions)
        self.items = SqlModelItemReader(self.sessions)
        self.transfers = SqlModelTransferReader(self.sessions)
        self.tasks = SqlModelTaskReader(self.sessions)
        self.stream = SqlModelStream(self.sessions)

    @asynccontextmanager
    async def begin(self, *, optimistic: bool = False) -> AsyncIterator[SqlModelUnitOfWork]:
        """Begin a transaction; roll it back at the end of the block unless it was committed.

        If the block is cancelled, the connection is closed instead. Errors are those of Sessions.writing().
        `optimistic` makes no difference.
        """
        async with self.sessions.writing() as transaction:
            yield SqlModelUnitOfWork(transaction)


def open_store(settings: Settings) -> Store:
    """Return the store that the settings name, not opened yet.

    Raise Misconfigured if the URL is not valid, or SQLite is too old. This is the adapter's entry point.
    """
    return SqlModelStore(settings)
