"""Collections inside one transaction.

MongoDB locks nothing that is read, and whoever writes what another open transaction has written fails at once. So what
is to be held or read for update is written to: a counter in it grows, which nobody reads.
"""

from collections.abc import Iterable
from contextlib import AsyncExitStack
from typing import Any
from uuid import UUID

from beanie import Document
from pymongo import ReturnDocument
from pymongo.asynchronous.client_session import AsyncClientSession

from application.locks import KeyedLock
from infrastructure.persistence.beanie.connection import Rows
from infrastructure.persistence.beanie.errors import translated


class Turn:
    """The place of one unit of work in the queues of this process.

    MongoDB refuses whoever writes second, at once. Within a process that one waits here instead; but only ahead of its
    first statement, since a snapshot that is older than what was waited for would be refused all the same.
    """

    def __init__(self, gate: KeyedLock, ends: AsyncExitStack) -> None:
        self._gate = gate
        self._ends = ends
        self.is_over = False

    async def wait(self, ids: Iterable[Any]) -> None:
        """Always in the same order, so that no two wait for one another."""
        if not self.is_over:
            self.is_over = True
            for id in sorted(set(ids)):
                await self._ends.enter_async_context(self._gate(id))


class Transacted:
    """A collection inside one transaction.

    To the driver the session is an option, and what is called without it escapes the transaction. Here nothing can be.
    """

    def __init__(self, rows: Rows, session: AsyncClientSession, turn: Turn) -> None:
        self._collection = rows
        self._session = session
        self._turn = turn

    @property
    def _rows(self) -> Rows:
        self._turn.is_over = True
        return self._collection

    async def wait_for(self, *ids: object) -> None:
        """What this unit is about to lock, if that is the first thing that it does."""
        await self._turn.wait(ids)

    async def find(self, **query: object) -> dict[str, Any] | None:
        with translated():
            return await self._rows.find_one(query, session=self._session)

    async def lock(self, id: UUID) -> dict[str, Any] | None:
        await self.wait_for(id)
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
