"""An adapter for Handover that keeps all data in LMDB. The ports describe what each method does."""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from application.store import Capabilities, Schema, Store
from application.streaming import Identity, R, Record, SessionToken, StoredKey, identity
from domain.item import Transfer
from domain.session import LoginAttempts, Session
from handover_lmdb.records import Database, UsesDatabase, history_key, record_key
from handover_lmdb.repositories import ItemReader, LmdbUnitOfWork, TaskReader, TransferReader, UserReader
from infrastructure.settings import Settings

SCHEMA_KEY, REVISION = b"schema", "1"
EXPIRE: dict[str, Any] = {"tokens": SessionToken, "sessions": Session, "keys": StoredKey, "attempts": LoginAttempts}


class LmdbStream(UsesDatabase):
    """Counts, reads and writes all records of the store as they are (port StoreStream)."""

    async def count(self, kind: type[Record]) -> int:
        with self.database.read() as records:
            return sum(1 for _ in records.entries(record_key(kind, b"")))

    async def read(self, kind: type[R], after: Identity | None, limit: int) -> list[R]:
        with self.database.read() as records:
            return [*islice(records.scan(kind, b"" if after is None else record_key(kind, after)), limit)]

    async def history(self, after: tuple[UUID, int] | None, limit: int) -> list[Transfer]:
        with self.database.read() as records:
            return [*islice(records.history(b"history:", b"" if after is None else history_key(*after)), limit)]

    async def write(self, written: Sequence[Record]) -> None:
        async with self.database.write() as records:
            for record in written:
                records.put(record)
            records.transaction.commit()


class LmdbStore:
    """The Store."""

    capabilities = Capabilities(
        durable=True, processes="one-machine", writers="one", conflicts="wait", seconds_to_release_locks=0
    )

    def __init__(self, folder: Path) -> None:
        self.database = Database(folder)
        self.users, self.items = UserReader(self.database), ItemReader(self.database)
        self.transfers, self.tasks = TransferReader(self.database), TaskReader(self.database)
        self.stream, self.open, self.close = LmdbStream(self.database), self.database.open, self.database.close

    @asynccontextmanager
    async def begin(self, *, optimistic: bool = False) -> AsyncIterator[LmdbUnitOfWork]:
        async with self.database.write() as records:
            yield LmdbUnitOfWork(records)

    def pools(self) -> dict[str, Any]:
        return {}

    async def purge(self, at: datetime, limit: int) -> Counter[str]:
        removed = Counter[str]()
        async with self.database.write() as records:
            for name, kind in EXPIRE.items():  # a session goes after all of its tokens
                expired = [identity(one) for one in records.scan(kind) if one.expires_at <= at]
                for id in expired[: limit - removed.total()]:
                    records.delete(kind, id)
                    removed[name] += 1
            records.transaction.commit()
        return removed

    async def schema(self) -> Schema:
        with self.database.read() as records:
            return Schema(found=records.transaction.get(SCHEMA_KEY, b"").decode() or None, needed=REVISION)

    async def upgrade(self) -> None:
        async with self.database.write() as records:
            records.transaction.put(SCHEMA_KEY, REVISION.encode())
            records.transaction.commit()

    async def downgrade(self) -> None:
        async with self.database.write() as records:
            for key, _ in [*records.entries(b"")]:
                records.transaction.delete(key)
            records.transaction.commit()

    async def unsafe_settings(self) -> dict[str, str]:
        return {}


def open_store(settings: Settings) -> Store:
    """Return the store in the folder that the URL names. This is the adapter's entry point."""
    return LmdbStore(Path(urlsplit(settings.database_url).path[1:]).absolute())
