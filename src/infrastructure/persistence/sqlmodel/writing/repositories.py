"""The repositories of a unit of work for users, items, transfers and tasks."""

from sqlmodel import col, delete, select
from sqlmodel.ext.asyncio.session import AsyncSession

from domain.errors import require
from domain.item import Item, ItemId, Transfer
from domain.task import Task, TaskId
from domain.user import User, UserId, user_owns_items
from infrastructure.persistence.sqlalchemy.engines.errors import ConstraintViolated
from infrastructure.persistence.sqlmodel.models import ItemRow, TaskRow, UserRow
from infrastructure.persistence.sqlmodel.rows import (
    item_from,
    row_from_item,
    row_from_task,
    row_from_transfer,
    row_from_user,
    task_from,
    user_from,
)
from infrastructure.persistence.sqlmodel.writing.versioned import add, change, lock, remove


class SqlModelUsers:
    """Stores, changes, locks and removes users within a unit of work (port UserRepository)."""

    def __init__(self, session: AsyncSession) -> None:
        self.session = session

    async def add(self, user: User) -> None:
        """Store a new user; raise Conflict if the e-mail address or username is taken."""
        await add(self.session, row_from_user(user))

    async def get_for_update(self, user_id: UserId) -> User:
        """Return the user, locked until the unit of work ends; raise NotFound if there is none."""
        row = await lock(self.session, UserRow, user_id)
        return user_from(require(row, "user"))

    async def hold(self, *user_ids: UserId) -> dict[UserId, User]:
        """Return those of the users that exist, locked against changes until the unit of work ends.

        PostgreSQL sorts before it locks, so that two of these statements cannot deadlock. SQLite has no row locks;
        there the transaction has locked the whole database.
        """
        statement = (
            select(UserRow)
            .where(col(UserRow.id).in_(user_ids))
            .order_by(col(UserRow.id))
            .with_for_update(read=True)
            .execution_options(populate_existing=True)
        )
        users = map(user_from, await self.session.exec(statement))
        return {user.id: user for user in users}

    async def save(self, user: User) -> None:
        """Store a changed user.

        Raise TryAgain if the stored version is not `version - 1`, or Conflict if the e-mail address or username is
        taken.
        """
        await change(self.session, row_from_user(user), user.id, expected=[user.version - 1])

    async def remove(self, user: User) -> None:
        """Remove the user; raise TryAgain if its version has changed, or Conflict if the user owns items."""
        try:
            await remove(self.session, UserRow, user.id, expected=[user.version])
        except ConstraintViolated:  # only items refer to users without being removed with them
            raise user_owns_items() from None


class SqlModelItems:
    """Stores, changes and removes items within a unit of work (port ItemRepository)."""

    def __init__(self, session: AsyncSession) -> None:
        self.session = session

    async def add(self, item: Item) -> None:
        """Store a new item."""
        await add(self.session, row_from_item(item))

    async def get_for_update(self, item_id: ItemId) -> Item:
        """Return the item, locked until the unit of work ends; raise NotFound if there is none."""
        row = await lock(self.session, ItemRow, item_id)
        return item_from(require(row, "item"))

    async def save(self, item: Item) -> None:
        """Store a changed item; raise TryAgain if the stored version is not `version - 1`."""
        await change(self.session, row_from_item(item), item.id, expected=[item.version - 1])

    async def remove(self, item: Item) -> None:
        """Remove the item; raise TryAgain if its version has changed."""
        await remove(self.session, ItemRow, item.id, expected=[item.version])


class SqlModelTransfers:
    """Adds transfers to the history within a unit of work (port TransferRepository)."""

    def __init__(self, session: AsyncSession) -> None:
        self.session = session

    async def add(self, transfer: Transfer) -> None:
        """Store a transfer; raise TryAgain if the item has one of that number."""
        await add(self.session, row_from_transfer(transfer))


class SqlModelTasks:
    """Stores, changes and removes tasks within a unit of work (port TaskRepository)."""

    def __init__(self, session: AsyncSession) -> None:
        self.session = session

    async def add(self, task: Task) -> None:
        """Store a new task."""
        await add(self.session, row_from_task(task))

    async def get_for_update(self, task_id: TaskId) -> Task:
        """Return the task, locked until the unit of work ends; raise NotFound if there is none."""
        row = await lock(self.session, TaskRow, task_id)
        return task_from(require(row, "task"))

    async def save(self, task: Task) -> None:
        """Store a changed task; raise TryAgain if the stored version is not `version - 1`."""
        await change(self.session, row_from_task(task), task.id, expected=[task.version - 1])

    async def remove(self, task: Task) -> None:
        """Remove the task; raise TryAgain if its version has changed."""
        await remove(self.session, TaskRow, task.id, expected=[task.version])

    async def remove_all(self, user_id: UserId) -> None:
        """Remove all tasks of the user."""
        await self.session.exec(delete(TaskRow).where(col(TaskRow.owner_id) == user_id))
