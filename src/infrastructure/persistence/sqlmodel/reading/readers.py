"""The readers: each query has a session of its own, outside any transaction."""

from operator import eq, ge, gt, le

from sqlalchemy import true
from sqlalchemy.orm import aliased, joinedload
from sqlmodel import col, select

from application.paging import Page, Sort, Window
from application.readers import ItemFilter, ItemOrder, OwnedItem, TaskFilter, TaskOrder
from domain.errors import not_found
from domain.item import ItemId, Transfer
from domain.task import Task, TaskId
from domain.user import User, UserId
from infrastructure.persistence.sqlalchemy.reading.paging import count_rows, paginate, window_parameters
from infrastructure.persistence.sqlalchemy.reading.planner_hints import equals_any_of_one
from infrastructure.persistence.sqlmodel.models import ItemRow, TaskRow, TransferRow, UserRow
from infrastructure.persistence.sqlmodel.orm_sessions import Sessions
from infrastructure.persistence.sqlmodel.reading.paging import Listing, page_from
from infrastructure.persistence.sqlmodel.rows import owned_item_from, task_from, transfer_from, user_from

WITH_OWNER = joinedload(ItemRow.owner)
"""Loads the owner of each item by the same statement, so that both are of the same moment."""

USERS = Listing(UserRow, user_from)
ITEMS = Listing(
    ItemRow,
    owned_item_from,
    filters={
        "owner_id": (col(ItemRow.owner_id), equals_any_of_one),
        "min_price": (col(ItemRow.price), ge),
        "max_price": (col(ItemRow.price), le),
    },
    load=(WITH_OWNER,),
)
TASKS = Listing(
    TaskRow,
    task_from,
    filters={
        "owner_id": (col(TaskRow.owner_id), equals_any_of_one),
        "status": (col(TaskRow.status), eq),
        "created_after": (col(TaskRow.created_at), gt),
    },
)


class SqlModelUserReader:
    """Reads users (port UserReader)."""

    def __init__(self, sessions: Sessions) -> None:
        self.sessions = sessions

    async def get(self, user_id: UserId) -> User:
        """Return the user; raise NotFound if there is none."""
        rows = await self.sessions.fetch(select(UserRow).where(UserRow.id == user_id))
        if not rows:
            raise not_found("user")
        return user_from(rows[0])

    async def find_by_login(self, login: str) -> User | None:
        """Return the user with this e-mail address, if `login` has an `@`, or else with this username; None if none."""
        column = UserRow.email if "@" in login else UserRow.username
        rows = await self.sessions.fetch(select(UserRow).where(column == login))
        return user_from(rows[0]) if rows else None

    async def page(self, window: Window) -> Page[User]:
        """Return a page of all users, sorted by id."""
        return await USERS.page(self.sessions, Sort("id"), window)


class SqlModelItemReader:
    """Reads items with their owners' usernames (port ItemReader)."""

    def __init__(self, sessions: Sessions) -> None:
        self.sessions = sessions

    async def get(self, item_id: ItemId) -> OwnedItem:
        """Return the item with its owner's username; raise NotFound if there is none."""
        rows = await self.sessions.fetch(select(ItemRow).where(ItemRow.id == item_id).options(WITH_OWNER))
        if not rows:
            raise not_found("item")
        return owned_item_from(rows[0])

    async def page(self, filter: ItemFilter, sort: Sort[ItemOrder], window: Window) -> Page[OwnedItem]:
        """Return a page of the items that match the filter, with their owners' usernames, in the order of `sort`."""
        return await ITEMS.page(
            self.sessions,
            sort,
            window,
            owner_id=filter.owner_id,
            min_price=filter.min_price,
            max_price=filter.max_price,
        )


class SqlModelTransferReader:
    """Reads the transfer history of items (port TransferReader)."""

    def __init__(self, sessions: Sessions) -> None:
        self.sessions = sessions

    async def page(self, item_id: ItemId, window: Window) -> Page[Transfer]:
        """Return a page of the item's transfers, sorted by number; raise NotFound if there is no such item.

        One statement reads both: it returns no row if the item does not exist, and one row, None, if the page is empty.
        """
        of_item = select(TransferRow).where(TransferRow.item_id == item_id)
        paged = paginate(of_item, col(TransferRow.number), after=window.after is not None)
        transfer = aliased(TransferRow, paged.subquery())
        statement = (
            select(transfer)
            .select_from(ItemRow)
            .outerjoin(transfer, true())
            .where(ItemRow.id == item_id)
            .order_by(col(transfer.number))
        )
        rows = await self.sessions.fetch(statement, window_parameters(window))
        if not rows:
            raise not_found("item")
        total = (await self.sessions.fetch(select(count_rows(of_item))))[0] if window.count else None
        return page_from([row for row in rows if row is not None], transfer_from, window, total)


class SqlModelTaskReader:
    """Reads the tasks of one user (port TaskReader)."""

    def __init__(self, sessions: Sessions) -> None:
        self.sessions = sessions

    async def get(self, task_id: TaskId, owner_id: UserId) -> Task:
        """Return the owner's task; raise NotFound if there is none or it belongs to another user."""
        rows = await self.sessions.fetch(select(TaskRow).where(TaskRow.id == task_id, TaskRow.owner_id == owner_id))
        if not rows:
            raise not_found("task")
        return task_from(rows[0])

    async def page(self, filter: TaskFilter, sort: Sort[TaskOrder], window: Window) -> Page[Task]:
        """Return a page of the tasks that match the filter, in the order of `sort`."""
        return await TASKS.page(
            self.sessions,
            sort,
            window,
            owner_id=filter.owner_id,
            status=filter.status and filter.status.value,
            created_after=filter.created_after,
        )
