"""The readers of the committed tables."""

from collections.abc import Callable, Iterable
from copy import copy
from typing import Any, TypeVar
from uuid import UUID

from application.paging import COUNT_LIMIT, Page, Sort, Window
from application.readers import ItemFilter, ItemOrder, OwnedItem, TaskFilter, TaskOrder
from domain.item import Item, ItemId, Transfer
from domain.task import Task, TaskId
from domain.user import User, UserId
from infrastructure.persistence.memory.tables import Tables, require

V = TypeVar("V")


class MemoryUserReader:
    """The UserReader."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables

    async def get(self, user_id: UserId) -> User:
        """Return the user; raise NotFound."""
        return copy(require(self.tables.users.get(user_id), "user"))

    async def find_by_login(self, login: str) -> User | None:
        """Return the user with this e-mail address or username; None if there is none."""
        names = self.tables.emails if "@" in login else self.tables.usernames
        user_id = names.get(login)
        return None if user_id is None else copy(self.tables.users[user_id])

    async def page(self, window: Window) -> Page[User]:
        """Return a page of all users, sorted by id."""
        return page_of(self.tables.users.values(), lambda user: (user.id, user.id), False, window)


class MemoryItemReader:
    """The ItemReader."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables

    async def get(self, item_id: ItemId) -> OwnedItem:
        """Return the item with its owner's username; raise NotFound."""
        item = require(self.tables.items.get(item_id), "item")
        return self._with_owner(item)

    async def page(self, filter: ItemFilter, sort: Sort[ItemOrder], window: Window) -> Page[OwnedItem]:
        """Return a page of the items that match the filter."""
        rows = (
            item
            for item in self.tables.items.values()
            if (filter.owner_id is None or item.owner_id == filter.owner_id)
            and (filter.min_price is None or item.price >= filter.min_price)
            and (filter.max_price is None or item.price <= filter.max_price)
        )
        page = page_of(rows, lambda item: (getattr(item, sort.by), item.id), sort.descending, window)
        return Page([self._with_owner(item) for item in page.items], page.more, page.total)

    def _with_owner(self, item: Item) -> OwnedItem:
        """Return a copy of the item with its owner's username."""
        return OwnedItem(copy(item), self.tables.users[item.owner_id].username)


class MemoryTransferReader:
    """The TransferReader."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables

    async def page(self, item_id: ItemId, window: Window) -> Page[Transfer]:
        """Return a page of the item's transfers, sorted by number; raise NotFound."""
        count = require(self.tables.items.get(item_id), "item").transfers
        start = window.skip if window.after is None else int(str(window.after.value))
        numbers = range(start + 1, min(start + window.limit, count) + 1)
        return Page(
            items=[self.tables.transfers[item_id, number] for number in numbers],
            more=start + window.limit < count,
            total=min(count, COUNT_LIMIT) if window.count else None,
        )


class MemoryTaskReader:
    """The TaskReader."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables

    async def get(self, task_id: TaskId, owner_id: UserId) -> Task:
        """Return the owner's task; raise NotFound if there is none or it belongs to another user."""
        task = self.tables.tasks.get(task_id)
        return copy(require(task if task and task.owner_id == owner_id else None, "task"))

    async def page(self, filter: TaskFilter, sort: Sort[TaskOrder], window: Window) -> Page[Task]:
        """Return a page of the tasks that match the filter."""
        rows = (
            task
            for task in self.tables.tasks.values()
            if task.owner_id == filter.owner_id
            and (filter.status is None or task.status == filter.status)
            and (filter.created_after is None or task.created_at > filter.created_after)
        )
        return page_of(rows, lambda task: (getattr(task, sort.by), task.id), sort.descending, window)


def page_of(rows: Iterable[V], position: Callable[[V], tuple[Any, UUID]], descending: bool, window: Window) -> Page[V]:
    """Return a page of copies of the rows, sorted by their positions: (value of the sort field, id)."""
    in_order = sorted(rows, key=position, reverse=descending)
    start = window.skip
    if window.after is not None:
        after = (window.after.value, window.after.id)
        start = sum((position(row) >= after) if descending else (position(row) <= after) for row in in_order)
    return Page(
        items=[copy(row) for row in in_order[start : start + window.limit]],
        more=start + window.limit < len(in_order),
        total=min(len(in_order), COUNT_LIMIT) if window.count else None,
    )
