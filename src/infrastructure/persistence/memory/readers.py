"""The readers of the committed tables."""

from copy import copy

from application.paging import COUNT_LIMIT, Page, Sort, Window, page_of
from application.readers import ItemFilter, ItemOrder, OwnedItem, TaskFilter, TaskOrder
from domain.errors import require
from domain.item import Item, ItemId, Transfer
from domain.task import Task, TaskId
from domain.user import User, UserId
from infrastructure.persistence.memory.tables import Tables


class MemoryUserReader:
    """Reads users (port UserReader)."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables

    async def get(self, user_id: UserId) -> User:
        """Return the user; raise NotFound if there is none."""
        return copy(require(self.tables.users.get(user_id), "user"))

    async def find_by_login(self, login: str) -> User | None:
        """Return the user with this e-mail address, if `login` has an `@`, or else with this username; None if none."""
        names = self.tables.emails if "@" in login else self.tables.usernames
        user_id = names.get(login)
        return None if user_id is None else copy(self.tables.users[user_id])

    async def page(self, window: Window) -> Page[User]:
        """Return a page of all users, sorted by id."""
        return page_of(self.tables.users.values(), lambda user: (user.id, user.id), False, window)


class MemoryItemReader:
    """Reads items with their owners' usernames (port ItemReader)."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables

    async def get(self, item_id: ItemId) -> OwnedItem:
        """Return the item with its owner's username; raise NotFound if there is none."""
        item = require(self.tables.items.get(item_id), "item")
        return self._with_owner(item)

    async def page(self, filter: ItemFilter, sort: Sort[ItemOrder], window: Window) -> Page[OwnedItem]:
        """Return a page of the items that match the filter, sorted as `sort` says."""
        rows = (item for item in self.tables.items.values() if filter.matches(item))
        page = page_of(rows, lambda item: (getattr(item, sort.by), item.id), sort.descending, window)
        return Page([self._with_owner(item) for item in page.items], page.more, page.total)

    def _with_owner(self, item: Item) -> OwnedItem:
        """Return a copy of the item with its owner's username."""
        return OwnedItem(copy(item), self.tables.users[item.owner_id].username)


class MemoryTransferReader:
    """Reads the transfer history of items (port TransferReader)."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables

    async def page(self, item_id: ItemId, window: Window) -> Page[Transfer]:
        """Return a page of the item's transfers, sorted by number; raise NotFound if there is no such item."""
        count = require(self.tables.items.get(item_id), "item").transfers
        start = window.skip if window.after is None else int(str(window.after.value))
        numbers = range(start + 1, min(start + window.limit, count) + 1)
        return Page(
            items=[self.tables.transfers[item_id, number] for number in numbers],
            more=start + window.limit < count,
            total=min(count, COUNT_LIMIT) if window.count else None,
        )


class MemoryTaskReader:
    """Reads the tasks of one user (port TaskReader)."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables

    async def get(self, task_id: TaskId, owner_id: UserId) -> Task:
        """Return the owner's task; raise NotFound if there is none or it belongs to another user."""
        task = self.tables.tasks.get(task_id)
        return copy(require(task if task and task.owner_id == owner_id else None, "task"))

    async def page(self, filter: TaskFilter, sort: Sort[TaskOrder], window: Window) -> Page[Task]:
        """Return a page of the tasks that match the filter, sorted as `sort` says."""
        rows = (task for task in self.tables.tasks.values() if filter.matches(task))
        return page_of(rows, lambda task: (getattr(task, sort.by), task.id), sort.descending, window)
