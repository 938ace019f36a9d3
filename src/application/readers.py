"""Ports for queries. They read committed state without a transaction, so a result may be outdated at once.

Every method may raise Unavailable. Each sends one statement, or two where a page is counted. Pages are sorted as
stated, rows with equal values by id in the same direction. A page after a position starts behind it even if the row at
that position has been deleted. Counting stops at `application.paging.COUNT_LIMIT`.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal, Protocol

from application.paging import Page, Sort, Window
from domain.item import Item, ItemId, Transfer
from domain.task import Task, TaskId, TaskStatus
from domain.user import User, UserId


@dataclass(frozen=True, slots=True)
class OwnedItem:
    """An item and its owner's username."""

    item: Item
    owner_username: str


class UserReader(Protocol):
    """The port for queries of users."""

    async def get(self, user_id: UserId) -> User:
        """Return the user, active or not; raise NotFound `user-not-found`."""
        ...

    async def find_by_login(self, login: str) -> User | None:
        """Return the user with this e-mail address, if `login` has an `@`, or else with this username; None if none.

        `login` has been normalized with normalize_identifier().
        """
        ...

    async def page(self, window: Window) -> Page[User]:
        """Return the part of all users, sorted by id, that the window requests. A user's Position is (id, id)."""
        ...


@dataclass(frozen=True, slots=True)
class ItemFilter:
    """Conditions on items, all of which must hold; a field that is None is no condition. Prices are inclusive."""

    owner_id: UserId | None = None
    min_price: Decimal | None = None
    max_price: Decimal | None = None

    def matches(self, item: Item) -> bool:
        """Return whether the item meets all conditions."""
        return (
            (self.owner_id is None or item.owner_id == self.owner_id)
            and (self.min_price is None or item.price >= self.min_price)
            and (self.max_price is None or item.price <= self.max_price)
        )


ItemOrder = Literal["id", "created_at", "price", "name"]
"""Fields that items can be sorted by."""


class ItemReader(Protocol):
    """The port for queries of items."""

    async def get(self, item_id: ItemId) -> OwnedItem:
        """Return the item with its owner's username; raise NotFound `item-not-found`."""
        ...

    async def page(self, filter: ItemFilter, sort: Sort[ItemOrder], window: Window) -> Page[OwnedItem]:
        """Return the part that the window requests of the sorted items that match the filter.

        An item's Position is (value of the sort field, id).
        """
        ...


class TransferReader(Protocol):
    """The port for reading the transfers of one item, page by page."""

    async def page(self, item_id: ItemId, window: Window) -> Page[Transfer]:
        """Return the part of an item's transfers, oldest first (sorted by number), that the window requests.

        A transfer's Position is (number, id). Raise NotFound `item-not-found`, also for an item that was deleted.
        """
        ...


@dataclass(frozen=True, slots=True)
class TaskFilter:
    """Conditions on one owner's tasks, all of which must hold; a field that is None is no condition.

    A task that was created exactly at `created_after` does not match.
    """

    owner_id: UserId
    status: TaskStatus | None = None
    created_after: datetime | None = None

    def matches(self, task: Task) -> bool:
        """Return whether the task meets all conditions."""
        return (
            task.owner_id == self.owner_id
            and (self.status is None or task.status == self.status)
            and (self.created_after is None or task.created_at > self.created_after)
        )


TaskOrder = Literal["id", "created_at", "title"]
"""Fields that tasks can be sorted by."""


class TaskReader(Protocol):
    """The port for queries of tasks."""

    async def get(self, task_id: TaskId, owner_id: UserId) -> Task:
        """Return the task; raise NotFound `task-not-found` if there is none or it belongs to another user."""
        ...

    async def page(self, filter: TaskFilter, sort: Sort[TaskOrder], window: Window) -> Page[Task]:
        """Return the part that the window requests of the sorted tasks that match the filter.

        A task's Position is (value of the sort field, id).
        """
        ...
