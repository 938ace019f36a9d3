"""The revision of the collections and indexes, and its migration.

MongoDB has no schema of its own, so the revision is recorded in a collection.
"""

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pymongo
from beanie import Document, init_beanie
from pymongo import IndexModel
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import OperationFailure, PyMongoError, ServerSelectionTimeoutError

from application.errors import Busy, Unavailable
from application.store import Schema
from infrastructure.persistence.beanie.documents import (
    DOCUMENTS,
    AttemptsDocument,
    ItemDocument,
    KeyDocument,
    SessionDocument,
    TaskDocument,
    TokenDocument,
)
from infrastructure.persistence.beanie.errors import translate_errors

Database = AsyncDatabase[dict[str, Any]]

REVISIONS = "1", "2"
NEWEST = REVISIONS[-1]

COLLECTION = "schema"
RECORD = {"_id": "revision"}
INDEX_NOT_FOUND = 27
NAMESPACE_EXISTS = 48
BUILD_IN_PROGRESS = 12587
"""Another process builds an index of the same collection."""

TIME_TO_BUILD = 600
"""Seconds for an index, in place of the limit for ordinary answers."""

LOCK_TIMEOUT = 1
"""Seconds that a command may wait for the lock on a collection before it gives up and is tried again later."""
LOCK_ATTEMPTS = 60

# What the second revision brought.
NEW_COLLECTIONS: tuple[type[Document], ...] = TaskDocument, SessionDocument, TokenDocument, AttemptsDocument
NEW_INDEXES = (ItemDocument, ItemDocument.Settings.indexes), (KeyDocument, KeyDocument.Settings.indexes)
OLD_INDEX = IndexModel("owner_id", name="items_owner_id")
"""The index of items in revision 1, which the new ones replace."""


async def read_schema(database: Database) -> Schema:
    """Return the recorded revision, which is None if none is recorded, and the needed one."""
    record = await database[COLLECTION].find_one(RECORD)
    return Schema(found=record["is"] if record else None, needed=NEWEST)


async def upgrade(database: Database) -> None:
    """Migrate to the newest revision, from any known revision or none; do nothing if it is the recorded one.

    Create missing collections and indexes, drop the old index, and record the revision last, so that an interrupted
    migration can be repeated. A migration also binds Beanie's document classes to this database. Raise Unavailable if
    the recorded revision is unknown to this version, and Busy if long transactions keep it from a collection's lock.
    """
    with translate_errors(), pymongo.timeout(TIME_TO_BUILD):
        if await _known_revision(database) == NEWEST:
            return
        await init_beanie(database, document_models=[*DOCUMENTS], skip_indexes=True)
        for document in DOCUMENTS:
            await _create(database, document)
            await _build(database, document, [field.index for field in document.get_settings().indexes])
        await _drop(database, ItemDocument, OLD_INDEX)
        await _record(database, NEWEST)


async def downgrade(database: Database) -> None:
    """Undo the newest migration, with the data that only its revision can hold.

    Do nothing if no revision is recorded. From revision 2 to 1, tasks, sessions, tokens and log-in attempts are
    dropped. There the record is changed first, so that an interrupted downgrade leaves the older revision complete;
    what is left of the newer one is used by the next upgrade. From revision 1, all collections are dropped, with all
    data. There the record is removed last, so that an interrupted downgrade can be repeated. Raise Unavailable and Busy
    as upgrade() does.
    """
    with translate_errors(), pymongo.timeout(TIME_TO_BUILD):
        match await _known_revision(database):
            case "2":
                await _build(database, ItemDocument, [OLD_INDEX])
                await _record(database, "1")
                for document, indexes in NEW_INDEXES:
                    for index in indexes:
                        await _drop(database, document, index)
                for document in NEW_COLLECTIONS:
                    await _drop_collection(database, document)
            case "1":
                for document in DOCUMENTS:
                    await _drop_collection(database, document)
                await database[COLLECTION].delete_one(RECORD)


async def _known_revision(database: Database) -> str | None:
    """Return the recorded revision, None if none is recorded; raise Unavailable if this version does not know it."""
    found = (await read_schema(database)).found
    if found is not None and found not in REVISIONS:
        raise Unavailable(f"the schema is at revision {found}, of which this version of Handover knows nothing")
    return found


async def _record(database: Database, revision: str) -> None:
    """Store this revision as the one that the database has, in place of any other."""
    await database[COLLECTION].update_one(RECORD, {"$set": {"is": revision}}, upsert=True)


async def _create(database: Database, document: type[Document]) -> None:
    """Create the document's collection; do nothing if it exists."""
    name = document.get_collection_name()
    await _with_brief_lock(database, lambda: database.command("create", name), harmless_code=NAMESPACE_EXISTS)


async def _build(database: Database, document: type[Document], indexes: Sequence[IndexModel]) -> None:
    """Create those of these indexes of the document's collection that do not exist; return when all can be used.

    An index is built without a lock, but its build begins and ends with one. A build may take longer than any lock
    should be waited for, so there is no time limit that fits both. Therefore the lock is taken once before, by a
    command that changes nothing: then no long transaction is in the way of the beginning. One that begins during the
    build delays its end, and with it other transactions, until the server ends the long one
    (transactionLifetimeLimitSeconds).
    """
    name = document.get_collection_name()
    existing = await database[name].index_information()
    if any(index.document["name"] not in existing for index in indexes):
        await _with_brief_lock(database, lambda: database.command("collMod", name), harmless_code=BUILD_IN_PROGRESS)
    if indexes:
        await database[name].create_indexes(indexes)  # waits for those that another process is building


async def _drop(database: Database, document: type[Document], index: IndexModel) -> None:
    """Drop this index of the document's collection; do nothing if it does not exist."""
    collection = database[document.get_collection_name()]
    await _with_brief_lock(
        database, lambda: collection.drop_index(index.document["name"]), harmless_code=INDEX_NOT_FOUND
    )


async def _drop_collection(database: Database, document: type[Document]) -> None:
    """Drop the document's collection, with all its data; do nothing if it does not exist."""
    name = document.get_collection_name()
    await _with_brief_lock(database, lambda: database.drop_collection(name))


async def _with_brief_lock(
    database: Database, command: Callable[[], Coroutine[Any, Any, Any]], *, harmless_code: int | None = None
) -> None:
    """Run a command that locks a whole collection for a moment; ignore an OperationFailure with the harmless code.

    While it waits for a transaction that has changed the collection, all other transactions there fail. So it is
    interrupted after LOCK_TIMEOUT, and run again after a pause, in which others can work. Raise Busy if LOCK_ATTEMPTS
    attempts have failed.
    """
    for _ in range(LOCK_ATTEMPTS):
        try:
            with pymongo.timeout(LOCK_TIMEOUT):
                await command()
        except OperationFailure as error:
            if error.code == harmless_code:
                return
            if not error.timeout and error.code != BUILD_IN_PROGRESS:
                raise
        except PyMongoError as error:
            if not error.timeout or isinstance(error, ServerSelectionTimeoutError):
                raise
        else:
            return
        await asyncio.sleep(random.uniform(0.2, 0.8))  # noqa: S311 - jitter, not a secret
    raise Busy(
        f"the database {database.name} is too busy to change its schema: end long transactions, then run it again"
    )
