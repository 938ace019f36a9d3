"""A store in the memory of one process, for tests and for trying things out.

Units of work stage their changes and remember what they have seen. Whether all of that still holds is asked once, at
commit, which then applies everything in one go or raises TryAgain; nobody ever waits for anybody.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

from application.ports import Schema
from domain.session import ATTEMPT_WINDOW
from infrastructure.persistence.memory.readers import (
    MemoryItemReader,
    MemoryTaskReader,
    MemoryTransferReader,
    MemoryUserReader,
)
from infrastructure.persistence.memory.tables import Tables, drop
from infrastructure.persistence.memory.unit_of_work import MemoryUnitOfWork

__all__ = ["MemoryStore", "open_store"]


class MemoryStore:
    def __init__(self) -> None:
        self.tables = Tables()
        self.users = MemoryUserReader(self.tables)
        self.items = MemoryItemReader(self.tables)
        self.transfers = MemoryTransferReader(self.tables)
        self.tasks = MemoryTaskReader(self.tables)

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[MemoryUnitOfWork]:
        uow = MemoryUnitOfWork(self.tables)
        try:
            yield uow
        finally:
            uow.keys.release()

    async def purge(self, at: datetime) -> int:
        tables = self.tables
        keys = [key for key, kept in tables.keys.items() if kept.expires_at <= at]
        sessions = {id for id, session in tables.sessions.items() if session.expires_at <= at}
        tokens = [token for token, (session_id, _) in tables.tokens.items() if session_id in sessions]
        idle = [
            subject
            for subject, attempts in tables.attempts.items()
            if all(time <= at - ATTEMPT_WINDOW for time in (*attempts.failed, *attempts.pending))
        ]
        drop(tables.keys, keys)
        drop(tables.sessions, sessions)
        drop(tables.tokens, tokens)
        drop(tables.attempts, idle)
        return len(keys) + len(sessions) + len(idle)

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def schema(self) -> Schema:
        return Schema(found=None, needed=None)

    async def upgrade(self) -> None: ...

    async def downgrade(self) -> None: ...


def open_store(_: object) -> MemoryStore:
    """There is nothing to set."""
    return MemoryStore()
