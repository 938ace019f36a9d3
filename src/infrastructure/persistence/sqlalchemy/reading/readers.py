"""The readers: one statement per query, outside any transaction.

Statements are built once. Lists have one for every combination of filters, order and kind of position.
"""

from functools import cache
from operator import eq, ge, gt, le
from typing import Any

from sqlalchemy import ColumnElement, FromClause, Select, bindparam, null, select, true

from application.paging import Page, Sort, Window
from application.readers import ItemFilter, ItemOrder, OwnedItem, TaskFilter, TaskOrder
from domain.errors import not_found
from domain.item import ItemId, Transfer
from domain.task import Task, TaskId
from domain.user import User, UserId
from infrastructure.persistence.sqlalchemy.engines.database import Database
from infrastructure.persistence.sqlalchemy.reading.paging import (
    Filters,
    count_rows,
    page_from,
    page_query,
    paginate,
    window_parameters,
)
from infrastructure.persistence.sqlalchemy.reading.planner_hints import equals_any_of_one
from infrastructure.persistence.sqlalchemy.rows import cents, owned_item_from, task_from, transfer_from, user_from
from infrastructure.persistence.sqlalchemy.tables import items, tasks, transfers, users

USER = select(users).where(users.c.id == bindparam("id"))
USER_BY_EMAIL = select(users).where(users.c.email == bindparam("login"))
USER_BY_USERNAME = select(users).where(users.c.username == bindparam("login"))
ITEM = (
    select(items, users.c.username.label("owner_username"))
    .join(users, users.c.id == items.c.owner_id)
    .where(items.c.id == bindparam("id"))
)
TASK = select(tasks).where(tasks.c.id == bindparam("id"), tasks.c.owner_id == bindparam("owner_id"))

ITEM_FILTERS: Filters = {
    "owner_id": (items.c.owner_id, equals_any_of_one),
    "min_price": (items.c.price, ge),
    "max_price": (items.c.price, le),
}
TASK_FILTERS: Filters = {
    "owner_id": (tasks.c.owner_id, equals_any_of_one),
    "status": (tasks.c.status, eq),
    "created_after": (tasks.c.created_at, gt),
}


@cache
def user_page(*, after: bool, count: bool) -> Select[Any]:
    """Return the statement for a page of users by id (see page_query())."""
    return page_query(users, {}, Sort("id"), after=after, count=count)


@cache
def item_page(names: tuple[str, ...], sort: Sort[ItemOrder], *, after: bool, count: bool) -> Select[Any]:
    """Return the statement for a page of items and their owners' usernames, with the ITEM_FILTERS of these names."""
    filters = {name: ITEM_FILTERS[name] for name in names}
    return page_query(items, filters, sort, after=after, count=count, extra_columns=owner_username)


@cache
def task_page(names: tuple[str, ...], sort: Sort[TaskOrder], *, after: bool, count: bool) -> Select[Any]:
    """Return the statement for a page of tasks, with the TASK_FILTERS of these names (see page_query())."""
    filters = {name: TASK_FILTERS[name] for name in names}
    return page_query(tasks, filters, sort, after=after, count=count)


@cache
def transfer_page(*, after: bool, count: bool) -> Select[Any]:
    """Return the statement for a page of an item's transfers, by number.

    It returns one row without a transfer if the page is empty, and no row if the item does not exist. Each row has the
    column `total`, which is NULL with `count=False`.
    """
    rows = select(transfers).where(transfers.c.item_id == bindparam("item_id"))
    page = paginate(rows, transfers.c.number, after=after).subquery("page")
    total = count_rows(rows) if count else null()
    return (
        select(total.label("total"), page)
        .select_from(items.outerjoin(page, true()))
        .where(items.c.id == bindparam("item_id"))
        .order_by(page.c.number)
    )


def owner_username(page: FromClause) -> list[ColumnElement[Any]]:
    """Return a list of one column: the username of the owner of each item of the page."""
    username = select(users.c.username).where(users.c.id == page.c.owner_id)
    return [username.scalar_subquery().label("owner_username")]


def without_none(**filters: Any) -> dict[str, Any]:
    """Return the arguments that are not None."""
    return {name: value for name, value in filters.items() if value is not None}


class SqlUserReader:
    """Reads users (port UserReader)."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def get(self, user_id: UserId) -> User:
        """Return the user; raise NotFound if there is none."""
        rows = await self.database.fetch(USER, {"id": user_id})
        if not rows:
            raise not_found("user")
        return user_from(rows[0])

    async def find_by_login(self, login: str) -> User | None:
        """Return the user with this e-mail address, if `login` has an `@`, or else with this username; None if none."""
        statement = USER_BY_EMAIL if "@" in login else USER_BY_USERNAME
        rows = await self.database.fetch(statement, {"login": login})
        return user_from(rows[0]) if rows else None

    async def page(self, window: Window) -> Page[User]:
        """Return a page of all users, sorted by id."""
        statement = user_page(after=window.after is not None, count=window.count)
        return page_from(await self.database.fetch(statement, window_parameters(window)), user_from, window)


class SqlItemReader:
    """Reads items with their owners' usernames (port ItemReader)."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def get(self, item_id: ItemId) -> OwnedItem:
        """Return the item with its owner's username; raise NotFound if there is none."""
        rows = await self.database.fetch(ITEM, {"id": item_id})
        if not rows:
            raise not_found("item")
        return owned_item_from(rows[0])

    async def page(self, filter: ItemFilter, sort: Sort[ItemOrder], window: Window) -> Page[OwnedItem]:
        """Return a page of the items that match the filter, with their owners' usernames, in the order of `sort`."""
        filters = without_none(
            owner_id=filter.owner_id,
            min_price=None if filter.min_price is None else cents(filter.min_price),
            max_price=None if filter.max_price is None else cents(filter.max_price),
        )
        statement = item_page(tuple(filters), sort, after=window.after is not None, count=window.count)
        parameters = window_parameters(window) | filters
        if sort.by == "price" and "after" in parameters:
            parameters["after"] = cents(parameters["after"])
        return page_from(await self.database.fetch(statement, parameters), owned_item_from, window)


class SqlTransferReader:
    """Reads the transfer history of items (port TransferReader)."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def page(self, item_id: ItemId, window: Window) -> Page[Transfer]:
        """Return a page of the item's transfers, sorted by number; raise NotFound if there is no such item."""
        statement = transfer_page(after=window.after is not None, count=window.count)
        rows = await self.database.fetch(statement, window_parameters(window) | {"item_id": item_id})
        if not rows:
            raise not_found("item")
        return page_from(rows, transfer_from, window)


class SqlTaskReader:
    """Reads the tasks of one user (port TaskReader)."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def get(self, task_id: TaskId, owner_id: UserId) -> Task:
        """Return the owner's task; raise NotFound if there is none or it belongs to another user."""
        rows = await self.database.fetch(TASK, {"id": task_id, "owner_id": owner_id})
        if not rows:
            raise not_found("task")
        return task_from(rows[0])

    async def page(self, filter: TaskFilter, sort: Sort[TaskOrder], window: Window) -> Page[Task]:
        """Return a page of the tasks that match the filter, in the order of `sort`."""
        filters = without_none(
            owner_id=filter.owner_id, status=filter.status and filter.status.value, created_after=filter.created_after
        )
        statement = task_page(tuple(filters), sort, after=window.after is not None, count=window.count)
        rows = await self.database.fetch(statement, window_parameters(window) | filters)
        return page_from(rows, task_from, window)
