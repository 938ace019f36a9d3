"""Queries: committed state, and no transaction, so what they say may be outdated at once.

Every call may raise `Unavailable`, and costs one statement, or two where a page is counted. Pages are ordered as
stated, ties by id in the direction of the sort, and a page after a position starts behind it whether or not its row
still exists. Counting stops at the limit of `paging`.
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
    """An item with as much of its owner as its answer shows."""

    item: Item
    owner_username: str


class UserReader(Protocol):
    async def get(self, user_id: UserId) -> User:
        """Raise NotFound `user-not-found`."""
        ...

    async def by_login(self, login: str) -> User | None:
        """By e-mail address if there is an `@` in it, else by username; both as the domain spells them."""
        ...

    async def page(self, window: Window) -> Page[User]:
        """By id; positions are (id, id)."""
        ...


@dataclass(frozen=True, slots=True)
class ItemFilter:
    """What is None does not restrict."""

    owner_id: UserId | None = None
    min_price: Decimal | None = None
    max_price: Decimal | None = None


ItemOrder = Literal["id", "created_at", "price", "name"]


class ItemReader(Protocol):
    async def get(self, item_id: ItemId) -> OwnedItem:
        """Raise NotFound `item-not-found`."""
        ...

    async def page(self, filter: ItemFilter, sort: Sort[ItemOrder], window: Window) -> Page[OwnedItem]:
        """Positions are (the field sorted by, id)."""
        ...


class TransferReader(Protocol):
    async def of_item(self, item_id: ItemId, window: Window) -> Page[Transfer]:
        """By number, the first first; positions are (number, id). Raise NotFound `item-not-found`."""
        ...


@dataclass(frozen=True, slots=True)
class TaskFilter:
    """What is None does not restrict."""

    owner_id: UserId
    status: TaskStatus | None = None
    created_after: datetime | None = None


TaskOrder = Literal["id", "created_at", "title"]


class TaskReader(Protocol):
    async def get(self, task_id: TaskId, owner_id: UserId) -> Task:
        """Raise NotFound `task-not-found`, also for somebody else's."""
        ...

    async def page(self, filter: TaskFilter, sort: Sort[TaskOrder], window: Window) -> Page[Task]:
        """Positions are (the field sorted by, id)."""
        ...
