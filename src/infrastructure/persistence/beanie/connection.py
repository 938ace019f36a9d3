"""Connecting to MongoDB, with one-line errors that say what to do."""

import asyncio
import warnings
from collections.abc import Awaitable, Callable
from datetime import UTC
from typing import Any, TypeVar
from urllib.parse import urlsplit

from beanie import Document, init_beanie
from pymongo import AsyncMongoClient
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import PyMongoError, ServerSelectionTimeoutError

from application.errors import Unavailable
from infrastructure.capacity_limiter import CapacityLimiter
from infrastructure.persistence.beanie.documents import DOCUMENTS
from infrastructure.persistence.beanie.driver_calls import result_of, start_call
from infrastructure.persistence.beanie.errors import translate_errors, why_not_selected
from infrastructure.persistence.beanie.tracing import CommandSpans
from infrastructure.settings import Settings
from infrastructure.tracing import current_tracer

Collection = AsyncCollection[dict[str, Any]]
T = TypeVar("T")

DATABASE = "handover"
"""The database to use if the URL names none."""

TIMEOUT_SECONDS = 3.0
"""Limit for finding the primary, for connecting, and for any one answer of the server."""

SECONDS_TO_CLOSE = 1.0

OLDEST_WIRE_VERSION = 17
"""The protocol version of MongoDB 6.0."""


class Connection:
    """A client with its connection pool, and the collections of one database.

    Beanie binds document classes to one database per process, so the queries of its documents cannot be used if two
    stores are open in one process, as `handover copy` and the tests need. Collections come from this object instead.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.limiter = CapacityLimiter(settings.pool_size, settings.pool_timeout)
        self._client: AsyncMongoClient[dict[str, Any]] | None = None
        self._collections: dict[type[Document], Collection] = {}

    @property
    def client(self) -> AsyncMongoClient[dict[str, Any]]:
        """The driver's client; raise Unavailable if the store is not open."""
        if self._client is None:
            raise Unavailable("the store is not open")
        return self._client

    @property
    def database(self) -> AsyncDatabase[dict[str, Any]]:
        """The database that the URL names, or else `handover`; raise Unavailable if the store is not open."""
        return self.client.get_default_database(DATABASE)

    def collection(self, kind: type[Document]) -> Collection:
        """Return the collection of a document class; raise Unavailable if the store is not open."""
        if not self._collections:
            raise Unavailable("the store is not open")
        return self._collections[kind]

    async def read(self, query: Callable[[], Awaitable[T]]) -> T:
        """Return what `query` returns, which reads or removes outside a transaction; translate driver errors.

        At most `pool_size` of them run at once: wait until a place is free, and raise Busy if that takes longer than
        `pool_timeout` seconds. Raise Unavailable if waiting and the query together take longer than `request_deadline`
        seconds, since the driver's own time limits apply to single steps, of which a query may take several. The query
        then goes on, as it does if this is cancelled, and keeps its place until it ends.
        """

        async def run() -> T:
            """Run the query, then give its place back."""
            try:
                with translate_errors():
                    return await query()
            finally:
                self.limiter.release()

        try:
            async with asyncio.timeout(self._settings.request_deadline):
                await self.limiter.acquire()
                return await result_of(start_call(run()))
        except TimeoutError:
            raise Unavailable("MongoDB does not answer") from None

    async def open(self) -> None:
        """Connect, check the server and bind the document classes to the database.

        Raise Unavailable if the URL is not valid, or if the server does not answer, refuses the user, or cannot be used
        (see _check_server_and_bind_documents). After an error, all connections are closed.
        """
        self._client = self._connect()
        try:
            await self._check_server_and_bind_documents()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Close all connections; do nothing if the store is not open.

        Return after SECONDS_TO_CLOSE at the latest; closing then goes on in the background.
        """
        client, self._client, self._collections = self._client, None, {}
        if client is not None:
            # The driver sends the server a last command, which may not answer.
            await asyncio.wait({asyncio.ensure_future(client.close())}, timeout=SECONDS_TO_CLOSE)

    def _connect(self) -> AsyncMongoClient[dict[str, Any]]:
        """Return a client for the URL of the settings, which has not connected yet.

        Raise Unavailable if the URL is not valid or has an option that the driver does not know.
        """
        milliseconds = int(TIMEOUT_SECONDS * 1000)
        try:
            with warnings.catch_warnings(action="error", category=UserWarning):  # issued for unknown options
                return AsyncMongoClient(
                    self._settings.database_url,
                    event_listeners=[CommandSpans(tracer)] if (tracer := current_tracer()) else [],
                    appname="handover",
                    uuidRepresentation="standard",
                    tz_aware=True,
                    tzinfo=UTC,
                    w="majority",
                    readConcernLevel="majority",
                    serverSelectionTimeoutMS=milliseconds,
                    connectTimeoutMS=milliseconds,
                    socketTimeoutMS=milliseconds,
                    maxPoolSize=self._settings.pool_size,
                    waitQueueTimeoutMS=int(self._settings.pool_timeout * 1000),
                )
        except (PyMongoError, OSError, ValueError, TypeError, UserWarning):
            raise Unavailable(
                "HANDOVER_DATABASE_URL is not a MongoDB address with known options,"
                " such as mongodb://user:password@host:27017/handover?replicaSet=rs0"
            ) from None

    async def _check_server_and_bind_documents(self) -> None:
        """Check the server, initialize Beanie with the database, and set `_collections` for collection().

        No index is created.

        Raise Unavailable unless the server answers, is the writable primary of a replica set or the router of a sharded
        cluster (mongos), and is at least MongoDB 6.0.
        """
        servers = urlsplit(self._settings.database_url).netloc.rpartition("@")[2]
        with translate_errors():
            try:
                hello = await self.client.admin.command("hello")
            except ServerSelectionTimeoutError as error:
                raise Unavailable(
                    f"no primary of a MongoDB replica set answers at {servers}: is it running,"
                    " does HANDOVER_DATABASE_URL name it, and was rs.initiate() run once?"
                    f" ({why_not_selected(error)})"
                ) from None
            if "setName" not in hello and hello.get("msg") != "isdbgrid":
                raise Unavailable(
                    f"the MongoDB server at {servers} stands alone and so has no transactions:"
                    " start mongod with --replSet rs0, then run rs.initiate() once"
                )
            if not hello.get("isWritablePrimary"):
                raise Unavailable(
                    f"the MongoDB server at {servers} takes no writes: leave directConnection out of the URL"
                )
            if hello["maxWireVersion"] < OLDEST_WIRE_VERSION:
                raise Unavailable(f"the MongoDB server at {servers} is too old: version 6.0 or newer is needed")
            await init_beanie(self.database, document_models=[*DOCUMENTS], skip_indexes=True)
        self._collections = {kind: self.database[kind.get_collection_name()] for kind in DOCUMENTS}
