"""The repositories of a unit of work for users, items, transfers and tasks. Statements are built once, at import."""

from collections.abc import Iterable
from functools import cache
from typing import Any

from sqlalchemy import Select, Table, bindparam, delete, insert, literal, select, update
from sqlalchemy.sql.dml import ReturningUpdate

from domain.errors import require
from domain.item import Item, ItemId, Transfer
from domain.task import Task, TaskId
from domain.user import User, UserId, user_owns_items
from infrastructure.persistence.sqlalchemy.engines.errors import ConstraintViolated
from infrastructure.persistence.sqlalchemy.engines.transaction import LockingSelect, Transaction
from infrastructure.persistence.sqlalchemy.rows import (
    item_from,
    row_from_item,
    row_from_task,
    row_from_transfer,
    row_from_user,
    task_from,
    user_from,
)
from infrastructure.persistence.sqlalchemy.tables import items, tasks, transfers, users


def save_statement(table: Table, *fixed: str) -> ReturningUpdate[Any]:
    """Return an UPDATE of the row with the id `which` and the version `expected`; it returns the id if it matched.

    All columns are set to the parameters of their names, except for the fixed ones, which never change.
    """
    changing: dict[str, Any] = {
        column.name: bindparam(column.name) for column in table.columns if column.name not in fixed
    }
    return (
        update(table)
        .where(table.c.id == bindparam("which"), table.c.version == bindparam("expected"))
        .values(changing)
        .returning(table.c.id)
    )


ADD_USER = insert(users).returning(users.c.id)
USER_FOR_UPDATE = select(users).where(users.c.id == bindparam("id")).with_for_update()
SAVE_USER = save_statement(users, "id", "created_at")
REMOVE_USER = (
    delete(users).where(users.c.id == bindparam("id"), users.c.version == bindparam("version")).returning(users.c.id)
)

ADD_ITEM = insert(items).returning(items.c.id)
ITEM_FOR_UPDATE = LockingSelect.of(items, select(items).where(items.c.id == bindparam("id")))
SAVE_ITEM = save_statement(items, "id", "created_at")
REMOVE_ITEM = (
    delete(items).where(items.c.id == bindparam("id"), items.c.version == bindparam("version")).returning(items.c.id)
)

ADD_TRANSFER = insert(transfers).returning(transfers.c.id)

ADD_TASK = insert(tasks).returning(tasks.c.id)
TASK_FOR_UPDATE = LockingSelect.of(tasks, select(tasks).where(tasks.c.id == bindparam("id")))
SAVE_TASK = save_statement(tasks, "id", "owner_id", "created_at")
REMOVE_TASK = (
    delete(tasks).where(tasks.c.id == bindparam("id"), tasks.c.version == bindparam("version")).returning(tasks.c.id)
)
REMOVE_TASKS = delete(tasks).where(tasks.c.owner_id == bindparam("owner_id"))


@cache
def hold_users(count: int) -> LockingSelect:
    """Return a SELECT that locks `count` users against changes (FOR SHARE), in the order of their ids.

    PostgreSQL sorts before it locks, so that two of these statements cannot deadlock. SQLite has no row locks; there
    the transaction has locked the whole database.
    """
    ids = [bindparam(name, type_=users.c.id.type) for name in _numbered(range(count))]
    query = select(users).where(users.c.id.in_(ids)).order_by(users.c.id)
    return LockingSelect.of(users, query, shared=True)


@cache
def item_with_users(count: int) -> Select[Any]:
    """Return the SELECT of an item and up to `count` users, with one row for each user that exists.

    The columns of the item begin with `item_`; they are None if there is no such item. If none of the users exists,
    there is one row, in which the columns of the user are None. The parameters are the item's id `item` and
    the users' ids `id_0`, `id_1`, and so on.
    """
    ids = [bindparam(name, type_=users.c.id.type) for name in _numbered(range(count))]
    columns = (column.label(f"item_{column.name}") for column in items.c)
    one_row = select(literal(1)).subquery()
    joined = one_row.outerjoin(items, items.c.id == bindparam("item")).outerjoin(users, users.c.id.in_(ids))
    return select(users, *columns).select_from(joined)


def _numbered(values: Iterable[object]) -> dict[str, object]:
    """Return the values as parameters `id_0`, `id_1`, and so on."""
    return {f"id_{number}": value for number, value in enumerate(values)}


class SqlUsers:
    """Stores, changes, locks and removes users within a unit of work (port UserRepository)."""

    def __init__(self, transaction: Transaction) -> None:
        self.transaction = transaction

    async def add(self, user: User) -> None:
        """Store a new user; raise Conflict if the e-mail address or username is taken."""
        await self.transaction.change(ADD_USER, row_from_user(user))

    async def get_for_update(self, user_id: UserId) -> User:
        """Return the user, locked until the unit of work ends; raise NotFound if there is none."""
        row = await self.transaction.fetch_one(USER_FOR_UPDATE, {"id": user_id})
        return user_from(require(row, "user"))

    async def hold(self, *user_ids: UserId) -> dict[UserId, User]:
        """Return those of the users that exist, locked against changes until the unit of work ends.

        In an optimistic transaction they are not locked: commit() raises TryAgain if one has changed by then.
        """
        if not user_ids:
            return {}
        rows = await self.transaction.lock(hold_users(len(user_ids)), _numbered(user_ids))
        return {user.id: user for user in map(user_from, rows)}

    async def save(self, user: User) -> None:
        """Store a changed user; raise TryAgain if the stored version is not `version - 1`.

        Raise Conflict if another user has the e-mail address or username.
        """
        expected = {"which": user.id, "expected": user.version - 1}
        await self.transaction.change(SAVE_USER, row_from_user(user) | expected)

    async def remove(self, user: User) -> None:
        """Remove the user; raise TryAgain if its version has changed, or Conflict if the user owns items."""
        try:
            await self.transaction.change(REMOVE_USER, {"id": user.id, "version": user.version})
        except ConstraintViolated:  # only items refer to users without being removed with them
            raise user_owns_items() from None


class SqlItems:
    """Stores, changes and removes items within a unit of work (port ItemRepository)."""

    def __init__(self, transaction: Transaction) -> None:
        self.transaction = transaction

    async def add(self, item: Item) -> None:
        """Store a new item. On PostgreSQL it is stored with the next query or at commit()."""
        await self.transaction.defer(ADD_ITEM, row_from_item(item), row=None)

    async def get_for_update(self, item_id: ItemId) -> Item:
        """Return the item, locked until the unit of work ends; raise NotFound if there is none.

        In an optimistic transaction it is not locked: commit() raises TryAgain if it has changed by then.
        """
        await self.transaction.wait_for(item_id)
        rows = await self.transaction.lock(ITEM_FOR_UPDATE, {"id": item_id})
        return item_from(require(next(iter(rows), None), "item"))

    async def get_with_users(
        self, item_id: ItemId, user_ids: tuple[UserId, ...]
    ) -> tuple[Item | None, dict[UserId, User]]:
        """Return the item, if it exists, and those of the users that exist, in one statement and without locks.

        First wait for other units of work of this process that are going to change the item (see wait_for()). Only for
        an optimistic transaction without changes, whose commit() raises TryAgain if the rows have changed by then.
        Raise TryAgain here if one of them has changed since this transaction read it before.
        """
        await self.transaction.wait_for(item_id)
        rows = await self.transaction.read(item_with_users(len(user_ids)), {"item": item_id} | _numbered(user_ids))
        held = {user.id: user for user in (user_from(row) for row in rows if row["id"] is not None)}
        for user in held.values():
            self.transaction.remember(users, user.id, user.version)
        row = rows[0]
        if row["item_id"] is None:
            return None, held
        item = item_from({column.name: row[f"item_{column.name}"] for column in items.c})
        self.transaction.remember(items, item.id, item.version)
        return item, held

    async def save(self, item: Item) -> None:
        """Store a changed item; raise TryAgain if the stored version is not `version - 1`.

        On PostgreSQL it is stored, and TryAgain raised, with the next query or at commit() (see Transaction.defer).
        """
        expected = {"which": item.id, "expected": item.version - 1}
        await self.transaction.defer(SAVE_ITEM, row_from_item(item) | expected, row=(items, item.id))

    async def remove(self, item: Item) -> None:
        """Remove the item; raise TryAgain if its version has changed. Deferred as save() is."""
        change = {"id": item.id, "version": item.version}
        await self.transaction.defer(REMOVE_ITEM, change, row=(items, item.id))


class SqlTransfers:
    """Adds transfers to the history within a unit of work (port TransferRepository)."""

    def __init__(self, transaction: Transaction) -> None:
        self.transaction = transaction

    async def add(self, transfer: Transfer) -> None:
        """Store a transfer; raise TryAgain if the item has one of that number.

        On PostgreSQL it is stored, and TryAgain raised, with the next query or at commit() (see Transaction.defer).
        """
        await self.transaction.defer(ADD_TRANSFER, row_from_transfer(transfer), row=None)


class SqlTasks:
    """Stores, changes and removes tasks within a unit of work (port TaskRepository)."""

    def __init__(self, transaction: Transaction) -> None:
        self.transaction = transaction

    async def add(self, task: Task) -> None:
        """Store a new task. On PostgreSQL it is stored with the next query or at commit()."""
        await self.transaction.defer(ADD_TASK, row_from_task(task), row=None)

    async def get_for_update(self, task_id: TaskId) -> Task:
        """Return the task, locked until the unit of work ends; raise NotFound if there is none.

        In an optimistic transaction it is not locked: commit() raises TryAgain if it has changed by then.
        """
        rows = await self.transaction.lock(TASK_FOR_UPDATE, {"id": task_id})
        return task_from(require(next(iter(rows), None), "task"))

    async def save(self, task: Task) -> None:
        """Store a changed task; raise TryAgain if the stored version is not `version - 1`. Deferred as an item's is."""
        expected = {"which": task.id, "expected": task.version - 1}
        await self.transaction.defer(SAVE_TASK, row_from_task(task) | expected, row=(tasks, task.id))

    async def remove(self, task: Task) -> None:
        """Remove the task; raise TryAgain if it is missing or its version has changed.

        On PostgreSQL it is removed, and TryAgain raised, with the next query or at commit() (see
        Transaction.defer).
        """
        change = {"id": task.id, "version": task.version}
        await self.transaction.defer(REMOVE_TASK, change, row=(tasks, task.id))

    async def remove_all(self, user_id: UserId) -> None:
        """Remove all tasks of the user."""
        await self.transaction.fetch(REMOVE_TASKS, {"owner_id": user_id})
