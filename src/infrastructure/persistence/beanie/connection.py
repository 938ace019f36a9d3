"""The way to one MongoDB: connecting, or saying in one line why that is not possible."""

import asyncio
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC
from typing import Any
from urllib.parse import urlsplit

from beanie import Document, init_beanie
from pymongo import AsyncMongoClient
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import PyMongoError, ServerSelectionTimeoutError

from application.errors import Unavailable
from infrastructure.capacity import enter
from infrastructure.persistence.beanie.documents import DOCUMENTS
from infrastructure.persistence.beanie.errors import translated
from infrastructure.settings import Settings

Rows = AsyncCollection[dict[str, Any]]

DATABASE = "handover"
"""Unless the URL names another."""

PATIENCE = 3.0
"""Seconds for finding the primary, for connecting, and for any one answer."""

CLOSING = 1.0

OLDEST_WIRE_VERSION = 17
"""MongoDB 6.0."""


class Connection:
    """A client with its pool, its database and its collections.

    Beanie binds document classes to one database per process. Here collections come from this object instead, so that
    two stores can be open side by side; the documents' own queries, which would go to either, are not used.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._room = asyncio.Semaphore(settings.pool_size)
        self._client: AsyncMongoClient[dict[str, Any]] | None = None
        self._collections: dict[type[Document], Rows] = {}

    @property
    def client(self) -> AsyncMongoClient[dict[str, Any]]:
        if self._client is None:
            raise Unavailable("the store is not open")
        return self._client

    @property
    def database(self) -> AsyncDatabase[dict[str, Any]]:
        return self.client.get_default_database(DATABASE)

    def collection(self, kind: type[Document]) -> Rows:
        if not self._collections:
            raise Unavailable("the store is not open")
        return self._collections[kind]

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[None]:
        """The driver's own limits are for one step each; a read may take several, and has the time of one request."""
        try:
            async with asyncio.timeout(self._settings.request_deadline):
                await enter(self._room, self._settings.pool_timeout)
                try:
                    with translated():
                        yield
                finally:
                    self._room.release()
        except TimeoutError:
            raise Unavailable("MongoDB does not answer") from None

    async def open(self) -> None:
        self._client = self._connect()
        try:
            await self._check()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        client, self._client, self._collections = self._client, None, {}
        if client is not None:
            # It says goodbye to the server, which may be hanging.
            await asyncio.wait({asyncio.ensure_future(client.close())}, timeout=CLOSING)

    def _connect(self) -> AsyncMongoClient[dict[str, Any]]:
        milliseconds = int(PATIENCE * 1000)
        try:
            with warnings.catch_warnings(action="error", category=UserWarning):  # of an unknown option
                return AsyncMongoClient(
                    self._settings.database_url,
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

    async def _check(self) -> None:
        servers = urlsplit(self._settings.database_url).netloc.rpartition("@")[2]
        with translated():
            try:
                hello = await self.client.admin.command("hello")
            except ServerSelectionTimeoutError:
                raise Unavailable(
                    f"no primary of a MongoDB replica set answers at {servers}: is it running,"
                    " does HANDOVER_DATABASE_URL name it, and was rs.initiate() run once?"
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
