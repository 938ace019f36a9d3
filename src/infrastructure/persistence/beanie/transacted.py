"""Collections inside one transaction.

MongoDB locks nothing that is read, and whoever writes what another open transaction has written fails at once. So what
is to be held or read for update is written to: a counter in it grows, which nobody reads.
"""

from typing import Any
from uuid import UUID

from beanie import Document
from pymongo import ReturnDocument
from pymongo.asynchronous.client_session import AsyncClientSession

from infrastructure.persistence.beanie.connection import Rows
from infrastructure.persistence.beanie.errors import translated


class Transacted:
    """A collection inside one transaction.

    To the driver the session is an option, and what is called without it escapes the transaction. Here nothing can be.
    """

    def __init__(self, rows: Rows, session: AsyncClientSession) -> None:
        self._rows = rows
        self._session = session

    async def find(self, **query: object) -> dict[str, Any] | None:
        with translated():
            return await self._rows.find_one(query, session=self._session)

    async def lock(self, id: UUID) -> dict[str, Any] | None:
        with translated():
            return await self._rows.find_one_and_update(
                {"_id": id}, {"$inc": {"locks": 1}}, session=self._session, return_document=ReturnDocument.AFTER
            )

    async def lock_or_insert(self, document: Document) -> dict[str, Any]:
        """The one with this document's id, or else this one."""
        new = document.model_dump(by_alias=True, exclude={"id"})
        with translated():
            row = await self._rows.find_one_and_update(
                {"_id": document.id},
                {"$inc": {"locks": 1}, "$setOnInsert": new},
                upsert=True,
                session=self._session,
                return_document=ReturnDocument.AFTER,
            )
        assert row is not None  # noqa: S101 - there was one, or now is
        return row

    async def insert(self, document: Document) -> None:
        with translated():
            await self._rows.insert_one(document.model_dump(by_alias=True), session=self._session)

    async def replace(self, document: Document, **query: object) -> bool:
        """Whether there was one that fits."""
        with translated():
            result = await self._rows.replace_one(
                {"_id": document.id, **query}, document.model_dump(by_alias=True), session=self._session
            )
        return result.matched_count == 1

    async def set(self, query: dict[str, object], fields: dict[str, object], *, upsert: bool = False) -> bool:
        with translated():
            result = await self._rows.update_one(query, {"$set": fields}, upsert=upsert, session=self._session)
        return result.matched_count == 1

    async def update_all(self, query: dict[str, object], changes: dict[str, object]) -> None:
        with translated():
            await self._rows.update_many(query, changes, session=self._session)

    async def remove(self, **query: object) -> bool:
        with translated():
            result = await self._rows.delete_one(query, session=self._session)
        return result.deleted_count == 1

    async def remove_all(self, **query: object) -> None:
        with translated():
            await self._rows.delete_many(query, session=self._session)
