"""A store in the memory of one process, for tests and for trying things out.

Units of work stage their changes and remember which rows they have read. A commit checks that none of these rows has
been replaced meanwhile, and then applies all changes at once, or else raises TryAgain. No unit of work ever waits for
another one.
"""

from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime

from application.ports import PoolUsage
from application.store import Capabilities, Schema
from infrastructure.persistence.memory.readers import (
    MemoryItemReader,
    MemoryTaskReader,
    MemoryTransferReader,
    MemoryUserReader,
)
from infrastructure.persistence.memory.stream import MemoryStream
from infrastructure.persistence.memory.tables import Tables, delete_rows
from infrastructure.persistence.memory.unit_of_work import MemoryUnitOfWork

__all__ = ["MemoryStore", "open_store"]


class MemoryStore:
    """The Store in memory. Its content is lost when the process ends."""

    capabilities = Capabilities(
        durable=False, processes="one", writers="many", conflicts="fail", seconds_to_release_locks=None
    )

    def __init__(self) -> None:
        self.tables = Tables()
        self.users = MemoryUserReader(self.tables)
        self.items = MemoryItemReader(self.tables)
        self.transfers = MemoryTransferReader(self.tables)
        self.tasks = MemoryTaskReader(self.tables)
        self.stream = MemoryStream(self.tables)

    @asynccontextmanager
    async def begin(self, *, optimistic: bool = False) -> AsyncIterator[MemoryUnitOfWork]:
        """Begin a unit of work, without waiting; its changes are lost at the end of the block unless it was committed.

        At the end of the block, the idempotency keys that it has claimed are free for other units of work to use.
        """
        uow = MemoryUnitOfWork(self.tables)
        try:
            yield uow
        finally:
            uow.keys.release()

    def pools(self) -> Mapping[str, PoolUsage]:
        """Return an empty dictionary, because the store has no connections."""
        return {}

    async def purge(self, at: datetime, limit: int) -> Counter[str]:
        """Remove up to `limit` records of each kind that have expired at `at`; return how many of each were removed.

        The kinds are session tokens, sessions, idempotency keys and log-in attempts. Sessions are removed only if fewer
        than `limit` tokens of expired sessions were left.
        """
        tables = self.tables
        expired = {id for id, session in tables.sessions.items() if session.expires_at <= at}
        tokens = [token for token, (session_id, _) in tables.tokens.items() if session_id in expired][:limit]
        sessions = list(expired)[:limit] if len(tokens) < limit else []  # tokens go before their sessions
        keys = [key for key, stored in tables.keys.items() if stored.expires_at <= at][:limit]
        idle = [subject for subject, attempts in tables.attempts.items() if attempts.expires_at <= at][:limit]
        delete_rows(tables.tokens, tokens)
        delete_rows(tables.sessions, sessions)
        delete_rows(tables.keys, keys)
        delete_rows(tables.attempts, idle)
        return Counter(tokens=len(tokens), sessions=len(sessions), keys=len(keys), attempts=len(idle))

    async def unsafe_settings(self) -> dict[str, str]:
        """Return an empty dictionary, because the store has no settings."""
        return {}

    async def open(self) -> None:
        """Do nothing, because there is nothing to connect to."""

    async def close(self) -> None:
        """Do nothing. The data stay as long as this object."""

    async def schema(self) -> Schema:
        """Return a Schema whose `found` and `needed` are None, because there is no schema."""
        return Schema(found=None, needed=None)

    async def upgrade(self) -> None:
        """Do nothing, because there is no schema."""

    async def downgrade(self) -> None:
        """Do nothing, because there is no schema."""


def open_store(_: object) -> MemoryStore:
    """Return a new, empty store; there are no settings for it. This is the adapter's entry point."""
    return MemoryStore()
