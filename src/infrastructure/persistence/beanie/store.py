"""One MongoDB as the application sees it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import datetime

import pymongo
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.read_preferences import ReadPreference
from pymongo.write_concern import WriteConcern

from application.locks import KeyedLock
from application.ports import Schema
from infrastructure.capacity import enter
from infrastructure.persistence.beanie import schema
from infrastructure.persistence.beanie.connection import Connection
from infrastructure.persistence.beanie.documents import AttemptsDocument, KeyDocument, SessionDocument, TokenDocument
from infrastructure.persistence.beanie.errors import translated
from infrastructure.persistence.beanie.reading.readers import (
    BeanieItemReader,
    BeanieTaskReader,
    BeanieTransferReader,
    BeanieUserReader,
)
from infrastructure.persistence.beanie.writing.transaction import Turn
from infrastructure.persistence.beanie.writing.unit_of_work import BeanieUnitOfWork
from infrastructure.settings import Settings

SNAPSHOT, MAJORITY = ReadConcern("snapshot"), WriteConcern("majority")

TIME_TO_PURGE = 600
"""Seconds, in place of the limit for ordinary answers."""

ABORTING = 0.3
"""Seconds that a unit of work which has failed waits for its abort, which else goes on behind its back."""


class BeanieStore:
    def __init__(self, settings: Settings) -> None:
        self._connection = Connection(settings)
        self._patience = settings.pool_timeout
        self._room = asyncio.Semaphore(settings.pool_size)
        self._gate = KeyedLock()
        self._aborting: set[asyncio.Task[None]] = set()
        self.users = BeanieUserReader(self._connection)
        self.items = BeanieItemReader(self._connection)
        self.transfers = BeanieTransferReader(self._connection)
        self.tasks = BeanieTaskReader(self._connection)

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[BeanieUnitOfWork]:
        """As many at once as there are connections. A transaction holds none between its statements, so that more could
        begin; but they would take the connections from those that are ahead, only to meet their locks."""
        await enter(self._room, self._patience)
        try:
            async with AsyncExitStack() as turns, self._transaction() as session:
                yield BeanieUnitOfWork(self._connection, session, Turn(self._gate, turns))
        finally:
            self._room.release()

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[AsyncClientSession]:
        client = self._connection.client
        if not client.topology_description.has_writable_server():
            with translated():  # waits for one, or says that there is none; else nothing is sent before a statement is
                await client.admin.command("ping")
        session = client.start_session(causal_consistency=False)
        try:
            await session.start_transaction(SNAPSHOT, MAJORITY, ReadPreference.PRIMARY)
            yield session
        finally:
            if session.in_transaction:
                await self._abort(session)
            else:
                await session.end_session()

    async def _abort(self, session: AsyncClientSession) -> None:
        """A hanging server answers no abort either, and who was cancelled has no time left to wait for it."""

        async def end() -> None:
            with suppress(PyMongoError):
                await session.end_session()

        aborting = asyncio.ensure_future(end())
        self._aborting.add(aborting)
        aborting.add_done_callback(self._aborting.discard)
        await asyncio.wait({aborting}, timeout=ABORTING)

    async def purge(self, at: datetime) -> int:
        """Tokens first: whose token is found has a session."""
        expired = {"expires_at": {"$lte": at}}
        with translated(), pymongo.timeout(TIME_TO_PURGE):
            await self._connection.collection(TokenDocument).delete_many(expired)
            removed = 0
            for kind in (KeyDocument, SessionDocument, AttemptsDocument):
                removed += (await self._connection.collection(kind).delete_many(expired)).deleted_count
        return removed

    async def open(self) -> None:
        await self._connection.open()

    async def close(self) -> None:
        if self._aborting:
            await asyncio.wait(self._aborting, timeout=ABORTING)
        await self._connection.close()

    async def schema(self) -> Schema:
        async with self._connection.reading():
            return await schema.state_of(self._connection.database)

    async def upgrade(self) -> None:
        await schema.upgrade(self._connection.database)

    async def downgrade(self) -> None:
        await schema.downgrade(self._connection.database)
