"""The store on MongoDB."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime

from beanie import Document
from pymongo.read_concern import ReadConcern
from pymongo.read_preferences import ReadPreference
from pymongo.write_concern import WriteConcern

from application.locks import KeyedLock
from application.ports import PoolUsage
from application.store import Capabilities, Schema
from infrastructure.capacity_limiter import CapacityLimiter
from infrastructure.lock_queue import LockQueue
from infrastructure.persistence.beanie import schema
from infrastructure.persistence.beanie.connection import Connection
from infrastructure.persistence.beanie.documents import AttemptsDocument, KeyDocument, SessionDocument, TokenDocument
from infrastructure.persistence.beanie.driver_calls import DriverTransaction, result_of, start_call
from infrastructure.persistence.beanie.errors import translate_errors
from infrastructure.persistence.beanie.reading.readers import (
    BeanieItemReader,
    BeanieTaskReader,
    BeanieTransferReader,
    BeanieUserReader,
)
from infrastructure.persistence.beanie.server_settings import unsafe_settings
from infrastructure.persistence.beanie.stream import BeanieStream
from infrastructure.persistence.beanie.writing.unit_of_work import BeanieUnitOfWork
from infrastructure.settings import Settings

SNAPSHOT, MAJORITY = ReadConcern("snapshot"), WriteConcern("majority")

SECONDS_TO_ABORT = 0.3
"""How long a failed unit of work waits for its transaction to be aborted, which goes on afterwards."""


class BeanieStore:
    """The Store on MongoDB."""

    # The server aborts the transaction of a dead client after transactionLifetimeLimitSeconds, which is 60 by default.
    capabilities = Capabilities(
        durable=True, processes="any", writers="many", conflicts="fail", seconds_to_release_locks=60
    )

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._connection = Connection(settings)
        self._limiter = CapacityLimiter(settings.pool_size, settings.pool_timeout)
        self._locks = KeyedLock()
        self._aborting: set[asyncio.Task[None]] = set()
        self.users = BeanieUserReader(self._connection)
        self.items = BeanieItemReader(self._connection)
        self.transfers = BeanieTransferReader(self._connection)
        self.tasks = BeanieTaskReader(self._connection)
        self.stream = BeanieStream(self._connection, self._transaction)

    @asynccontextmanager
    async def begin(self, *, optimistic: bool = False) -> AsyncIterator[BeanieUnitOfWork]:
        """Wait for a place, then begin a unit of work; abort it at the end of the block unless it was committed.

        Raise Busy if no place becomes free within `pool_timeout` seconds, and Unavailable if the store is not open or
        no primary answers. At the end of the block, the unit's locks in this process are released, too. Its place is
        free when its transaction has ended, which may be later. `optimistic` is ignored.

        As many units of work may run at once as there are connections. A transaction holds no connection between its
        statements, so more could begin; but they would take connections from those that are ahead of them, and then
        meet their locks.
        """
        await self._limiter.acquire()
        queue = LockQueue(self._locks)
        transaction = None
        try:
            async with self._transaction() as transaction:
                yield BeanieUnitOfWork(self._connection, transaction, queue)
        finally:
            queue.release()
            if transaction and transaction.ending:
                transaction.ending.add_done_callback(lambda _: self._limiter.release())
            else:
                self._limiter.release()

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[DriverTransaction]:
        """Yield a started transaction; abort it at the end of the block unless it was committed.

        Starting it sends nothing to the server. If no primary is known, wait for one first, and raise Unavailable if
        none answers in time, or if the store is not open.
        """
        client = self._connection.client
        if not client.topology_description.has_writable_server():
            with translate_errors():  # waits for a primary or fails; starting a transaction sends nothing
                await result_of(start_call(client.admin.command("ping")))
        session = client.start_session(causal_consistency=False)
        transaction = DriverTransaction(session)
        try:
            await session.start_transaction(SNAPSHOT, MAJORITY, ReadPreference.PRIMARY)
            yield transaction
        finally:
            if transaction.is_open:
                await self._abort(transaction)
            else:
                await transaction.end()

    async def _abort(self, transaction: DriverTransaction) -> None:
        """Abort the transaction and end its session, in the background; wait for that only for SECONDS_TO_ABORT.

        Driver errors are ignored. A server that does not answer does not answer an abort either, and a cancelled
        request has no time left.
        """
        transaction.ending = aborting = start_call(transaction.end())
        self._aborting.add(aborting)
        aborting.add_done_callback(self._aborting.discard)
        await asyncio.wait({aborting}, timeout=SECONDS_TO_ABORT)

    def pools(self) -> Mapping[str, PoolUsage]:
        """Return how many reads and how many units of work (`transactions`) run and wait. Each has a limit of its own.

        The driver has one pool for both, which is as large as each limit.
        """
        return {"reads": self._connection.limiter.usage(), "transactions": self._limiter.usage()}

    async def purge(self, at: datetime, limit: int) -> Counter[str]:
        """Remove up to `limit` documents of each kind that have expired at `at`; return how many of each were removed.

        The kinds are tokens, sessions, idempotency keys and log-in attempts. Sessions are removed only if fewer than
        `limit` expired tokens were left, so that a token that is found has a session. This is not one transaction.
        """

        async def remove_expired(kind: type[Document]) -> int:
            """Remove up to `limit` expired documents of this kind; return how many. If cancelled, finish that kind."""
            return await self._connection.read(lambda: self._remove_expired(kind, at, limit))

        tokens = await remove_expired(TokenDocument)
        sessions = await remove_expired(SessionDocument) if tokens < limit else 0
        keys, attempts = await remove_expired(KeyDocument), await remove_expired(AttemptsDocument)
        return Counter(tokens=tokens, sessions=sessions, keys=keys, attempts=attempts)

    async def _remove_expired(self, kind: type[Document], at: datetime, limit: int) -> int:
        """Remove up to `limit` documents of this kind that have expired at `at`; return how many were removed.

        A document whose expiry another request postpones meanwhile is not removed.
        """
        expired = {"expires_at": {"$lte": at}}
        collection = self._connection.collection(kind)
        found = await collection.find(expired, {"_id": 1}).limit(limit).to_list()
        if not found:
            return 0
        removed = await collection.delete_many({"_id": {"$in": [document["_id"] for document in found]}} | expired)
        return removed.deleted_count

    async def unsafe_settings(self) -> dict[str, str]:
        """Return the server's settings with which our promises do not hold, each with what is wrong with it."""
        return await unsafe_settings(self._connection, self._settings.request_deadline)

    async def open(self) -> None:
        """Connect and check the server, but not the schema.

        Raise Unavailable if it does not answer, is older than MongoDB 6.0, has no transactions, or takes no writes.
        """
        await self._connection.open()

    async def close(self) -> None:
        """Close all connections, after waiting up to SECONDS_TO_ABORT for transactions that are being aborted."""
        if self._aborting:
            await asyncio.wait(self._aborting, timeout=SECONDS_TO_ABORT)
        await self._connection.close()

    async def schema(self) -> Schema:
        """Ask the store for the revision of its schema, and return it with the needed one."""
        return await self._connection.read(lambda: schema.read_schema(self._connection.database))

    async def upgrade(self) -> None:
        """Migrate the schema to the needed revision; do nothing if it is there.

        Raise Unavailable if the store has a revision that this version of Handover does not know.
        """
        await schema.upgrade(self._connection.database)

    async def downgrade(self) -> None:
        """Undo the newest migration, with the data that only its schema can hold. Undoing the first removes all."""
        await schema.downgrade(self._connection.database)
