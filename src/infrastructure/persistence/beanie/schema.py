"""The revision of the collections and indexes, and its migration.

MongoDB has no schema of its own, so the revision is recorded in a collection.
"""

from typing import Any

import pymongo
from beanie import Document, init_beanie
from pymongo import IndexModel
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import OperationFailure

from application.errors import Unavailable
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

TIME_TO_BUILD = 600
"""Seconds for an index, in place of the limit for ordinary answers."""

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
    the recorded revision is unknown to this version.
    """
    with translate_errors(), pymongo.timeout(TIME_TO_BUILD):
        found = (await read_schema(database)).found
        if found == NEWEST:
            return
        if found is not None and found not in REVISIONS:
            raise Unavailable(f"the schema is at revision {found}, of which this version of Handover knows nothing")
        for document in DOCUMENTS:
            try:
                await database.command("create", document.get_collection_name())
            except OperationFailure as error:
                if error.code != NAMESPACE_EXISTS:
                    raise
        await init_beanie(database, document_models=[*DOCUMENTS])
        await _drop(database, ItemDocument, OLD_INDEX)
        await _record(database, NEWEST)


async def downgrade(database: Database) -> None:
    """Undo the newest migration, with the data that only its revision can hold.

    Do nothing if no revision is recorded, or one that is unknown to this version. From revision 2 to 1, tasks,
    sessions, tokens and log-in attempts are dropped. From revision 1, all collections are dropped, with all data. The
    record is changed first, so that an interrupted downgrade leaves the older revision complete; what is left of the
    newer one is used by the next upgrade.
    """
    with translate_errors(), pymongo.timeout(TIME_TO_BUILD):
        match (await read_schema(database)).found:
            case "2":
                await database[ItemDocument.get_collection_name()].create_indexes([OLD_INDEX])
                await _record(database, "1")
                for document, indexes in NEW_INDEXES:
                    for index in indexes:
                        await _drop(database, document, index)
                for document in NEW_COLLECTIONS:
                    await database.drop_collection(document.get_collection_name())
            case "1":
                await database[COLLECTION].delete_one(RECORD)
                for document in DOCUMENTS:
                    await database.drop_collection(document.get_collection_name())


async def _record(database: Database, revision: str) -> None:
    """Store this revision as the one that the database has, in place of any other."""
    await database[COLLECTION].update_one(RECORD, {"$set": {"is": revision}}, upsert=True)


async def _drop(database: Database, document: type[Document], index: IndexModel) -> None:
    """Drop this index of the document's collection; do nothing if it does not exist."""
    try:
        await database[document.get_collection_name()].drop_index(index.document["name"])
    except OperationFailure as error:
        if error.code != INDEX_NOT_FOUND:
            raise
