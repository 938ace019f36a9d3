"""The StoreStream of the MongoDB collections."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

from beanie import Document
from pymongo import ReplaceOne
from pymongo.asynchronous.client_session import AsyncClientSession

from application.ports import KeyId
from application.streaming import Identity, R, Record, SessionToken, StoredKey
from domain.item import Item, ItemId, Transfer
from domain.session import LoginAttempts, Session
from domain.task import Task
from domain.user import User, UserId
from infrastructure.persistence.beanie import documents, rows
from infrastructure.persistence.beanie.connection import Connection
from infrastructure.persistence.beanie.driver_calls import DriverTransaction
from infrastructure.persistence.beanie.errors import translate_errors


@dataclass(frozen=True, slots=True)
class Mapping:
    """The document class of a kind of records, and the conversions of its documents."""

    document: type[Document]
    record_from: Callable[[rows.Row], Any]
    document_of: Callable[[Any], Document]


MAPPINGS: dict[type[Any], Mapping] = {
    User: Mapping(documents.UserDocument, rows.user_from, rows.document_of_user),
    Item: Mapping(documents.ItemDocument, rows.item_from, lambda item: rows.document_of_item(item, "")),
    Transfer: Mapping(documents.TransferDocument, rows.transfer_from, rows.document_of_transfer),
    Task: Mapping(documents.TaskDocument, rows.task_from, rows.document_of_task),
    Session: Mapping(documents.SessionDocument, rows.session_from, rows.document_of_session),
    SessionToken: Mapping(documents.TokenDocument, rows.token_from, rows.document_of_token),
    LoginAttempts: Mapping(documents.AttemptsDocument, rows.attempts_from, rows.document_of_attempts),
    StoredKey: Mapping(documents.KeyDocument, rows.stored_key_from, rows.document_of_stored_key),
}


class BeanieStream:
    """Counts, reads and writes all records of the store as they are (port StoreStream)."""

    def __init__(
        self, connection: Connection, transaction: Callable[[], AbstractAsyncContextManager[DriverTransaction]]
    ) -> None:
        self._connection = connection
        self._transaction = transaction

    async def count(self, kind: type[Record]) -> int:
        """Return the number of documents of this kind."""
        records = self._connection.collection(MAPPINGS[kind].document)
        return await self._connection.read(lambda: records.count_documents({}))

    async def read(self, kind: type[R], after: Identity | None, limit: int) -> list[R]:
        """Return up to `limit` records of this kind, sorted by their identity.

        The first is the one that follows the identity `after`, or the first of all if it is None.
        """
        mapping = MAPPINGS[kind]
        position = rows.key_id(KeyId(UserId(after[0]), *after[1:])) if isinstance(after, tuple) else after
        query = {} if after is None else {"_id": {"$gt": position}}
        found = self._connection.collection(mapping.document).find(query, sort=[("_id", 1)], limit=limit)
        return [mapping.record_from(row) for row in await self._connection.read(found.to_list)]

    async def history(self, after: tuple[ItemId, int] | None, limit: int) -> list[Transfer]:
        """Return up to `limit` transfers, sorted by item id and number.

        The first is the one that follows `after`, an item id and a number, or the first of all if it is None. After a
        position, this is two queries: the rest of that item's transfers, then those of later items.
        """
        transfers = self._connection.collection(documents.TransferDocument)
        queries: list[dict[str, Any]] = [{}]
        if after is not None:
            queries = [{"item_id": after[0], "number": {"$gt": after[1]}}, {"item_id": {"$gt": after[0]}}]
        found: list[rows.Row] = []
        for query in queries:
            if len(found) < limit:
                page = transfers.find(query, sort=[("item_id", 1), ("number", 1)], limit=limit - len(found))
                found += await self._connection.read(page.to_list)
        return [rows.transfer_from(row) for row in found]

    async def write(self, records: Sequence[Record]) -> None:
        """Store the records as they are, in one transaction; documents with the same ids are replaced.

        All records are of the kind of the first one; without any, do nothing. Items get a copy of their owners'
        usernames, so the owners must have been written before; raise KeyError otherwise. Raise TryAgain if another
        transaction is in the way, and Unavailable if the connection is lost, even during the commit.
        """
        if not records:
            return
        mapping = MAPPINGS[type(records[0])]
        new = [mapping.document_of(record).model_dump(by_alias=True) for record in records]
        changes = [ReplaceOne({"_id": row["_id"]}, row, upsert=True) for row in new]
        async with self._transaction() as transaction:
            session = transaction.session
            with translate_errors():
                if mapping.document is documents.ItemDocument:
                    await self._add_usernames(new, session)
                await self._connection.collection(mapping.document).bulk_write(changes, session=session)
                await session.commit_transaction()

    async def _add_usernames(self, items: list[dict[str, Any]], session: AsyncClientSession) -> None:
        """Set `owner_username` in each of these items, in place, to the stored username of its owner.

        Raise KeyError if an owner is not stored.
        """
        owners = {"_id": {"$in": [*{item["owner_id"] for item in items}]}}
        users = self._connection.collection(documents.UserDocument).find(owners, session=session)
        names = {user["_id"]: user["username"] for user in await users.to_list()}
        for item in items:
            item["owner_username"] = names[item["owner_id"]]
