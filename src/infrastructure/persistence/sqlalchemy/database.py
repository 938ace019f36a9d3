"""One database as the adapter uses it, whichever engine it is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Executable, RowMapping
from sqlalchemy.dialects import registry
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.util import greenlet_spawn

from application.errors import Busy, TryAgain
from infrastructure.persistence.sqlalchemy.errors import ConnectionLost, Meaning, translated

registry.register("postgresql.handover", "infrastructure.persistence.sqlalchemy.postgresql", "PostgresDialect")
registry.register("sqlite.handover", "infrastructure.persistence.sqlalchemy.sqlite", "SqliteDialect")

Parameters = dict[str, Any]
Work = Callable[[Connection], None]


@dataclass(frozen=True, slots=True)
class Database:
    """Its connections are in autocommit mode: reads are no transactions, and units say BEGIN and COMMIT themselves."""

    readers: AsyncEngine
    writers: AsyncEngine
    begin: str
    meaning: Meaning

    async def fetch(self, statement: Executable, parameters: Parameters) -> Sequence[RowMapping]:
        """The rows of one statement outside any transaction; it is sent again once if its connection was dead."""
        try:
            try:
                return await self._fetch(statement, parameters)
            except ConnectionLost:
                return await self._fetch(statement, parameters)
        except TryAgain:
            raise Busy("the store is too busy to answer") from None

    async def _fetch(self, statement: Executable, parameters: Parameters) -> Sequence[RowMapping]:
        # All in one greenlet: the AsyncConnection's own methods would take one each.
        def fetch() -> Sequence[RowMapping]:
            with self.readers.sync_engine.connect() as connection:
                return connection.execute(statement, parameters).mappings().all()

        with translated(self.meaning):
            return await greenlet_spawn(fetch)

    async def begun(self) -> AsyncConnection:
        """A connection with an open transaction; a second one if the first was dead."""
        try:
            return await self._begun()
        except ConnectionLost:
            return await self._begun()

    async def _begun(self) -> AsyncConnection:
        with translated(self.meaning):
            connection = await self.writers.connect()
            try:
                await connection.exec_driver_sql(self.begin)
            except BaseException:
                await connection.close()
                raise
            return connection

    async def close(self) -> None:
        await self.readers.dispose()
        await self.writers.dispose()
