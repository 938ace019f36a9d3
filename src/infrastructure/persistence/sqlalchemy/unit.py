"""The transaction under a unit of work: one connection, and the ways in which it ends."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import CursorResult, Executable, RowMapping
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from application.errors import OutcomeUnknown, TryAgain
from infrastructure.persistence.sqlalchemy.database import Parameters
from infrastructure.persistence.sqlalchemy.errors import ConnectionLost, Meaning, translated


class Transaction:
    """After an error it can only be undone: what PostgreSQL demands holds for SQLite too."""

    def __init__(self, connection: AsyncConnection, meaning: Meaning) -> None:
        self.connection = connection
        self.meaning = meaning
        self.dialect = connection.dialect.name
        self.open = True
        self.failed = False
        self.committing = False

    async def rows(self, statement: Executable, parameters: Parameters | Sequence[Parameters]) -> Sequence[RowMapping]:
        return (await self.execute(statement, parameters)).mappings().all()

    async def row(self, statement: Executable, parameters: Parameters) -> RowMapping | None:
        return (await self.execute(statement, parameters)).mappings().first()

    async def change(self, statement: Executable, parameters: Parameters) -> None:
        """One row; if it is not there any more as it was, another unit of work has been at it."""
        if (await self.execute(statement, parameters)).rowcount != 1:
            self.failed = True
            raise TryAgain("another unit of work was first")

    async def execute(self, statement: Executable, parameters: Parameters | Sequence[Parameters]) -> CursorResult[Any]:
        try:
            with translated(self.meaning):
                return await self.connection.execute(statement, parameters)
        except BaseException:
            self.failed = True
            raise

    async def commit(self) -> None:
        if self.failed:
            raise RuntimeError("after an error a unit of work can only be left")
        self.committing = True
        try:
            with translated(self.meaning):
                await self.connection.exec_driver_sql("COMMIT")
        except ConnectionLost:
            raise OutcomeUnknown("the connection to the store was lost during the commit") from None
        self.committing = False
        self.open = False

    async def abandon(self) -> None:
        """When the time is up there is none for a ROLLBACK either: the end of the connection undoes as much."""
        if self.open and not self.connection.invalidated:
            self.open = False
            if self.committing:  # it hangs, so there is no sense in being polite
                pooled = await self.connection.get_raw_connection()
                if pooled.dbapi_connection:
                    self.connection.dialect.do_terminate(pooled.dbapi_connection)
            await self.connection.invalidate()

    async def end(self) -> None:
        try:
            if self.open and not self.connection.invalidated:
                await self.connection.exec_driver_sql("ROLLBACK")
        except (SQLAlchemyError, OSError):
            await self.connection.invalidate()
        finally:
            await self.connection.close()
