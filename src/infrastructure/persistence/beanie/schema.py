"""The collections and their indexes. A number records which there are, since MongoDB itself asks for no schema."""

from typing import Any

import pymongo
from beanie import init_beanie
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import OperationFailure

from application.errors import Unavailable
from application.ports import Schema
from infrastructure.persistence.beanie.documents import DOCUMENTS
from infrastructure.persistence.beanie.errors import translated

Database = AsyncDatabase[dict[str, Any]]

REVISION = "1"
COLLECTION = "schema"
RECORD = {"_id": "revision"}
NAMESPACE_EXISTS = 48

TIME_TO_BUILD = 600
"""Seconds for an index, in place of the limit for ordinary answers."""


async def state_of(database: Database) -> Schema:
    record = await database[COLLECTION].find_one(RECORD)
    return Schema(found=record["is"] if record else None, needed=REVISION)


async def upgrade(database: Database) -> None:
    """Recorded last, so that what is cut short is done again."""
    with translated(), pymongo.timeout(TIME_TO_BUILD):
        found = (await state_of(database)).found
        if found == REVISION:
            return
        if found is not None:
            raise Unavailable(f"the schema is at revision {found}, of which this version of Handover knows nothing")
        for document in DOCUMENTS:
            try:
                await database.command("create", document.get_collection_name())
            except OperationFailure as error:
                if error.code != NAMESPACE_EXISTS:
                    raise
        await init_beanie(database, document_models=[*DOCUMENTS])
        await database[COLLECTION].update_one(RECORD, {"$set": {"is": REVISION}}, upsert=True)


async def downgrade(database: Database) -> None:
    """Everything goes with the first revision. Its record goes first, so that what is cut short is no schema."""
    with translated(), pymongo.timeout(TIME_TO_BUILD):
        if (await state_of(database)).found == REVISION:
            await database[COLLECTION].delete_one(RECORD)
            for document in DOCUMENTS:
                await database.drop_collection(document.get_collection_name())
