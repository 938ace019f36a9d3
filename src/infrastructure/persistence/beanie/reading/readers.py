"""The readers, outside any transaction, with majority read concern.

Each query is one request, except for a page whose total is wanted and does not follow from the page itself.
"""

from typing import Any

from application.paging import COUNT_LIMIT, Page, Sort, Window
from application.readers import ItemFilter, ItemOrder, OwnedItem, TaskFilter, TaskOrder
from domain.errors import not_found, require
from domain.item import ItemId, Transfer
from domain.task import Task, TaskId
from domain.user import User, UserId
from infrastructure.persistence.beanie.connection import Connection
from infrastructure.persistence.beanie.documents import ItemDocument, TaskDocument, TransferDocument, UserDocument
from infrastructure.persistence.beanie.reading.paging import ListQuery, find_page
from infrastructure.persistence.beanie.rows import owned_item_from, task_from, to_cents, transfer_from, user_from


class BeanieUserReader:
    """Reads users (port UserReader)."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def get(self, user_id: UserId) -> User:
        """Return the user; raise NotFound if there is none."""
        user = await self._find(_id=user_id)
        if user is None:
            raise not_found("user")
        return user

    async def find_by_login(self, login: str) -> User | None:
        """Return the user with this e-mail address, if `login` has an `@`, or else with this username; None if none."""
        return await (self._find(email=login) if "@" in login else self._find(username=login))

    async def page(self, window: Window) -> Page[User]:
        """Return a page of all users, sorted by id."""
        users = self._connection.collection(UserDocument)
        return await self._connection.read(lambda: find_page(users, ListQuery(), window, user_from))

    async def _find(self, **query: object) -> User | None:
        """Return the user whose stored fields have these values, or None."""
        row = await self._connection.read(lambda: self._connection.collection(UserDocument).find_one(query))
        return None if row is None else user_from(row)


class BeanieItemReader:
    """Reads items with their owners' usernames (port ItemReader)."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def get(self, item_id: ItemId) -> OwnedItem:
        """Return the item with its owner's username; raise NotFound if there is none."""
        row = await self._connection.read(lambda: self._connection.collection(ItemDocument).find_one({"_id": item_id}))
        return owned_item_from(require(row, "item"))

    async def page(self, filter: ItemFilter, sort: Sort[ItemOrder], window: Window) -> Page[OwnedItem]:
        """Return a page of the items that match the filter, sorted as `sort` says."""
        prices: dict[str, object] = {}
        if filter.min_price is not None:
            prices["$gte"] = to_cents(filter.min_price)
        if filter.max_price is not None:
            prices["$lte"] = to_cents(filter.max_price)
        query = ListQuery(
            equal={} if filter.owner_id is None else {"owner_id": filter.owner_id},
            ranges={"cents": prices} if prices else {},
            sort_field={"id": "_id", "price": "cents"}.get(sort.by, sort.by),
            descending=sort.descending,
        )
        items = self._connection.collection(ItemDocument)
        return await self._connection.read(lambda: find_page(items, query, window, owned_item_from))


class BeanieTransferReader:
    """Reads the transfer history of items (port TransferReader)."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def page(self, item_id: ItemId, window: Window) -> Page[Transfer]:
        """Return a page of the item's transfers, sorted by number; raise NotFound if there is no such item.

        One request gets item and page. The page's total is the item's own number of transfers, so nothing is counted.
        """
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

        async def find() -> list[dict[str, Any]]:
            """Return the item with its page, or nothing if there is no such item."""
            return await (await self._connection.collection(ItemDocument).aggregate(pipeline)).to_list()

        items = await self._connection.read(find)
        if not items:
            raise not_found("item")
        (item,) = items
        return Page(
            items=[transfer_from(row) for row in item["page"][: window.limit]],
            more=len(item["page"]) > window.limit,
            total=min(item["transfers"], COUNT_LIMIT) if window.count else None,
        )


class BeanieTaskReader:
    """Reads the tasks of one user (port TaskReader)."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def get(self, task_id: TaskId, owner_id: UserId) -> Task:
        """Return the owner's task; raise NotFound if there is none or it belongs to another user."""
        query = {"_id": task_id, "owner_id": owner_id}
        row = await self._connection.read(lambda: self._connection.collection(TaskDocument).find_one(query))
        return task_from(require(row, "task"))

    async def page(self, filter: TaskFilter, sort: Sort[TaskOrder], window: Window) -> Page[Task]:
        """Return a page of the tasks that match the filter, sorted as `sort` says."""
        query = ListQuery(
            equal={"owner_id": filter.owner_id} | ({} if filter.status is None else {"status": filter.status.value}),
            ranges={} if filter.created_after is None else {"created_at": {"$gt": filter.created_after}},
            sort_field="_id" if sort.by == "id" else sort.by,
            descending=sort.descending,
        )
        tasks = self._connection.collection(TaskDocument)
        return await self._connection.read(lambda: find_page(tasks, query, window, task_from))
