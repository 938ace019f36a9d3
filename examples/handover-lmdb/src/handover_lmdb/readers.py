"""The readers. Lists are sorted in memory."""

from application.paging import Page, Sort, Window, page_of
from application.readers import ItemFilter, ItemOrder, OwnedItem, TaskFilter, TaskOrder
from domain.errors import require
from domain.item import Item, ItemId, Transfer
from domain.task import Task, TaskId
from domain.user import User, UserId
from handover_lmdb.records import Database, Records, history_key, name_key


class Reader:
    """Base class of the readers."""

    def __init__(self, database: Database) -> None:
        self.read = database.read


class UserReader(Reader):
    """The UserReader."""

    async def get(self, user_id: UserId) -> User:
        with self.read() as records:
            return require(records.get(User, user_id), "user")

    async def find_by_login(self, login: str) -> User | None:
        with self.read() as records:
            return records.find(User, name_key(login))

    async def page(self, window: Window) -> Page[User]:
        with self.read() as records:
            return page_of(records.scan(User), lambda user: (user.id, user.id), False, window)


class ItemReader(Reader):
    """The ItemReader."""

    async def get(self, item_id: ItemId) -> OwnedItem:
        with self.read() as records:
            return self._with_owner(records, require(records.get(Item, item_id), "item"))

    async def page(self, filter: ItemFilter, sort: Sort[ItemOrder], window: Window) -> Page[OwnedItem]:
        with self.read() as records:
            rows = (item for item in records.scan(Item) if filter.matches(item))
            page = page_of(rows, lambda item: (getattr(item, sort.by), item.id), sort.descending, window)
            return Page([self._with_owner(records, item) for item in page.items], page.more, page.total)

    def _with_owner(self, records: Records, item: Item) -> OwnedItem:
        return OwnedItem(item, require(records.get(User, item.owner_id), "user").username)


class TransferReader(Reader):
    """The TransferReader."""

    async def page(self, item_id: ItemId, window: Window) -> Page[Transfer]:
        with self.read() as records:
            require(records.get(Item, item_id), "item")
            rows = records.history(history_key(item_id, 0)[:-8])
            return page_of(rows, lambda transfer: (transfer.number, transfer.id), False, window)


class TaskReader(Reader):
    """The TaskReader."""

    async def get(self, task_id: TaskId, owner_id: UserId) -> Task:
        with self.read() as records:
            task = records.get(Task, task_id)
        return require(task if task and task.owner_id == owner_id else None, "task")

    async def page(self, filter: TaskFilter, sort: Sort[TaskOrder], window: Window) -> Page[Task]:
        with self.read() as records:
            rows = (task for task in records.scan(Task) if filter.matches(task))
            return page_of(rows, lambda task: (getattr(task, sort.by), task.id), sort.descending, window)
