"""Collections inside one transaction.

MongoDB does not lock documents that are read, and a transaction that writes a document which another open transaction
has written fails at once. So a document is locked or held by a write to it: its counter `locks`, which nobody reads, is
incremented.
"""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from beanie import Document
from pymongo import ReturnDocument

from infrastructure.lock_queue import LockQueue
from infrastructure.persistence.beanie.connection import Collection
from infrastructure.persistence.beanie.driver_calls import DriverTransaction
from infrastructure.persistence.beanie.errors import translate_errors


class TransactionCollection:
    """A collection whose operations all belong to one transaction.

    The driver takes the session as an option, and an operation without it is not part of the transaction. Here it
    cannot be forgotten. Driver errors are translated by translate_errors(). If the caller is cancelled, the operation
    goes on (see `driver_calls`), and the transaction can only be aborted.
    """

    def __init__(self, collection: Collection, transaction: DriverTransaction, queue: LockQueue) -> None:
        self._raw = collection
        self._transaction = transaction
        self._session = transaction.session
        self._queue = queue

    @property
    def _collection(self) -> Collection:
        """The driver's collection, for a statement that is sent right away.

        After that, wait_for() does nothing any more in this unit of work, because waiting would no longer help. Locks
        that are held are kept.
        """
        self._queue.is_closed = True
        return self._raw

    async def wait_for(self, *ids: object) -> None:
        """Wait until no other unit of work of this process has these documents, and keep them until this unit ends.

        Do nothing unless this is the first thing that the unit of work does, in any collection.
        """
        await self._queue.wait_for(ids)

    async def find(self, **query: object) -> dict[str, Any] | None:
        """Return a document whose fields have these values, or None. It is not locked."""
        with translate_errors():
            return await self._transaction.run(self._collection.find_one(query, session=self._session))

    async def lock(self, id: UUID) -> dict[str, Any] | None:
        """Lock the document with this id until the transaction ends and return it, or None if there is none.

        First wait as wait_for() does. Raise WriteConflict if another transaction has locked or written the document and
        has not ended, or was committed after this one's first statement.
        """
        await self.wait_for(id)
        with translate_errors():
            return await self._transaction.run(
                self._collection.find_one_and_update(
                    {"_id": id}, {"$inc": {"locks": 1}}, session=self._session, return_document=ReturnDocument.AFTER
                )
            )

    async def find_with_others(
        self, id: UUID, others: "TransactionCollection", ids: Iterable[UUID]
    ) -> dict[str, Any] | None:
        """Return the document with this id, or None, in one round trip with those of another collection.

        The other documents that have one of the `ids` are a list in the field `others`. Nothing is locked, but a later
        write to one of these documents raises WriteConflict if it has changed since. Wait as wait_for() does first.
        """
        await self.wait_for(id, *ids)
        joined = {"from": others._raw.name, "pipeline": [{"$match": {"_id": {"$in": [*ids]}}}], "as": "others"}
        collection = self._collection

        async def find() -> list[dict[str, Any]]:
            """Return the document with the others, or nothing if there is no such document."""
            pipeline: list[dict[str, Any]] = [{"$match": {"_id": id}}, {"$lookup": joined}]
            return await (await collection.aggregate(pipeline, session=self._session)).to_list()

        with translate_errors():
            return next(iter(await self._transaction.run(find())), None)

    async def lock_all(self, ids: Iterable[UUID]) -> None:
        """Lock the documents with these ids until the transaction ends. Raise WriteConflict as lock() does."""
        await self.update_all({"_id": {"$in": [*ids]}}, {"$inc": {"locks": 1}})

    async def lock_or_insert(self, document: Document) -> dict[str, Any]:
        """Lock the stored document with the id of `document` and return it; if there is none, insert `document` first.

        Raise WriteConflict as lock() does. Unlike lock(), this does not call wait_for(): call that before.
        """
        new = document.model_dump(by_alias=True, exclude={"id"})
        with translate_errors():
            row = await self._transaction.run(
                self._collection.find_one_and_update(
                    {"_id": document.id},
                    {"$inc": {"locks": 1}, "$setOnInsert": new},
                    upsert=True,
                    session=self._session,
                    return_document=ReturnDocument.AFTER,
                )
            )
        assert row is not None  # noqa: S101 - an upsert always returns a document
        return row

    async def insert(self, document: Document) -> None:
        """Insert a new document.

        If another document has a value that must be unique, raise Conflict for an e-mail address or username, TryAgain
        for the number of a transfer, and DuplicateKeyError otherwise. Raise WriteConflict if that document belongs to
        another transaction that has not ended.
        """
        with translate_errors():
            await self._transaction.run(
                self._collection.insert_one(document.model_dump(by_alias=True), session=self._session)
            )

    async def replace(self, document: Document, **query: object) -> bool:
        """Replace the stored document that has the id of `document` and whose fields have the values of `query`.

        Return whether there was one. Raise WriteConflict as lock() does, Conflict if a unique value is taken.
        """
        with translate_errors():
            result = await self._transaction.run(
                self._collection.replace_one(
                    {"_id": document.id, **query}, document.model_dump(by_alias=True), session=self._session
                )
            )
        return result.matched_count == 1

    async def set(self, query: dict[str, object], fields: dict[str, object], *, upsert: bool = False) -> bool:
        """Set fields of one document that matches; return whether there was one.

        With `upsert`, insert a document if none matches, and return False; DuplicateKeyError is raised if its id
        exists. Raise WriteConflict as lock() does.
        """
        with translate_errors():
            result = await self._transaction.run(
                self._collection.update_one(query, {"$set": fields}, upsert=upsert, session=self._session)
            )
        return result.matched_count == 1

    async def update_all(self, query: dict[str, object], changes: dict[str, object]) -> None:
        """Apply update operators, such as `$inc`, to all documents that match. Raise WriteConflict as lock() does."""
        with translate_errors():
            await self._transaction.run(self._collection.update_many(query, changes, session=self._session))

    async def remove(self, **query: object) -> bool:
        """Remove one document whose fields have these values; return whether there was one.

        Raise WriteConflict as lock() does.
        """
        with translate_errors():
            result = await self._transaction.run(self._collection.delete_one(query, session=self._session))
        return result.deleted_count == 1

    async def remove_all(self, **query: object) -> None:
        """Remove all documents whose fields have these values."""
        with translate_errors():
            await self._transaction.run(self._collection.delete_many(query, session=self._session))
