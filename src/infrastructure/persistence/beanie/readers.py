"""Reads of what the majority of the servers has: one statement each, without a session or a transaction."""

from typing import Any

from application.paging import COUNT_LIMIT, Page, Window
from application.readers import OwnedItem
from domain.errors import NotFound
from domain.item import ItemId, Transfer
from domain.user import User, UserId
from infrastructure.persistence.beanie.connection import Connection
from infrastructure.persistence.beanie.documents import (
    ItemDocument,
    TransferDocument,
    UserDocument,
    owned_item_from,
    transfer_from,
    user_from,
)


class BeanieUserReader:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def get(self, user_id: UserId) -> User:
        user = await self._find(_id=user_id)
        if user is None:
            raise NotFound("user-not-found", "there is no such user")
        return user

    async def by_login(self, login: str) -> User | None:
        return await (self._find(email=login) if "@" in login else self._find(username=login))

    async def _find(self, **query: object) -> User | None:
        async with self._connection.reading():
            row = await self._connection.collection(UserDocument).find_one(query)
        return None if row is None else user_from(row)


class BeanieItemReader:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def get(self, item_id: ItemId) -> OwnedItem:
        async with self._connection.reading():
            row = await self._connection.collection(ItemDocument).find_one({"_id": item_id})
        if row is None:
            raise NotFound("item-not-found", "there is no such item")
        return owned_item_from(row)


class BeanieTransferReader:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def of_item(self, item_id: ItemId, window: Window) -> Page[Transfer]:
        """The item and the page in one statement. The item knows how many transfers it has had."""
        page: list[dict[str, Any]] = [{"$sort": {"number": 1}}, {"$limit": window.limit + 1}]
        if window.after is not None:
            number, id = window.after.value, window.after.id
            later = {"number": {"$gte": number}, "$or": [{"number": {"$gt": number}}, {"_id": {"$gt": id}}]}
            page.insert(0, {"$match": later})
        elif window.skip:
            page.insert(1, {"$skip": window.skip})
        pipeline: list[dict[str, Any]] = [
            {"$match": {"_id": item_id}},
            {"$project": {"transfers": 1}},
            {
                "$lookup": {
                    "from": TransferDocument.Settings.name,
                    "localField": "_id",
                    "foreignField": "item_id",
                    "pipeline": page,
                    "as": "page",
                }
            },
        ]
        async with self._connection.reading():
            found = await self._connection.collection(ItemDocument).aggregate(pipeline)
            items = await found.to_list()
        if not items:
            raise NotFound("item-not-found", "there is no such item")
        (item,) = items
        return Page(
            items=[transfer_from(row) for row in item["page"][: window.limit]],
            more=len(item["page"]) > window.limit,
            total=min(item["transfers"], COUNT_LIMIT) if window.count else None,
        )
