"""What the stores of both SQL adapters have in common: their database, its schema, and the removal of expired rows."""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import literal, select

from application.ports import PoolUsage
from application.store import Capabilities, Schema
from infrastructure.persistence.sqlalchemy import schema
from infrastructure.persistence.sqlalchemy.engines import postgresql, sqlite
from infrastructure.persistence.sqlalchemy.purge import purge
from infrastructure.persistence.sqlalchemy.traced_driver import TracedDriver
from infrastructure.settings import Settings
from infrastructure.tracing import current_tracer

SQLITE = Capabilities(
    durable=True, processes="one-machine", writers="one", conflicts="wait", seconds_to_release_locks=0
)
POSTGRESQL = Capabilities(durable=True, processes="any", writers="many", conflicts="wait", seconds_to_release_locks=0)


class DatabaseOperations:
    """The part of a Store that is neither a unit of work nor a query.

    It makes the Database that the settings name, with open_sqlite() or open_postgresql(), depending on the scheme of
    the URL. Nothing is connected before open(). Those functions raise Misconfigured if the URL is not valid.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.capabilities = SQLITE if settings.scheme == "sqlite" else POSTGRESQL
        self.database = (sqlite.open_sqlite if settings.scheme == "sqlite" else postgresql.open_postgresql)(settings)
        if tracer := current_tracer():
            self.database.driver = TracedDriver(self.database.driver, tracer, settings.scheme)

    def pools(self) -> Mapping[str, PoolUsage]:
        """Return how busy the pools are: `reads` and `transactions` on SQLite, and `connections` on PostgreSQL."""
        readers, writers = self.database.readers.limiter, self.database.writers.limiter
        if readers is writers:
            return {"connections": readers.usage()}
        return {"reads": readers.usage(), "transactions": writers.usage()}

    async def purge(self, at: datetime, limit: int) -> Counter[str]:
        """Remove up to `limit` rows of each table that have expired at the time `at`; return how many of each kind.

        Each table is committed by itself. Sessions are removed only if fewer than `limit` of their tokens were left.
        """
        return await purge(self.database, at, limit)

    async def unsafe_settings(self) -> dict[str, str]:
        """Return the engine's settings with which our promises do not hold, each with what is wrong with it."""
        ask = sqlite.unsafe_settings if self.settings.scheme == "sqlite" else postgresql.unsafe_settings
        return await ask(self.database)

    async def open(self) -> None:
        """Connect and execute a statement that reads no table; raise Unavailable if that fails."""
        await self.database.fetch(select(literal(1)), {})

    async def close(self) -> None:
        """Close all connections that are not in use."""
        await self.database.close()
        if self.settings.scheme == "sqlite":
            await sqlite.wait_for_terminated(self.database)

    async def schema(self) -> Schema:
        """Return the schema's revision, which is read from the database, and the one that this version needs."""
        return Schema(found=await schema.revision(self.database), needed=schema.REVISION)

    async def upgrade(self) -> None:
        """Migrate the schema to the needed revision; do nothing if it is there.

        Raise Busy if other processes prevent that for too long, and Unavailable if this version of Handover does not
        know the database's revision.
        """
        await schema.upgrade(self.settings)

    async def downgrade(self) -> None:
        """Undo the newest migration, with the data that only its schema can hold; do nothing if there is no schema.

        Raise Busy and Unavailable as upgrade() does.
        """
        if await schema.revision(self.database) is not None:
            await schema.downgrade(self.settings)
