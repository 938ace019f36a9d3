"""The readers, and the repositories of a unit of work. As only one is open, nothing that it has read can change."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

from application.errors import KeyReused, TryAgain
from application.paging import Page, Sort, Window, page_of
from application.ports import KeyId
from application.readers import ItemFilter, ItemOrder, OwnedItem, TaskFilter, TaskOrder
from application.streaming import SessionToken, StoredKey, identity
from domain.errors import require
from domain.item import Item, ItemId, Transfer
from domain.session import LoginAttempts, Session, SessionId
from domain.task import Task, TaskId
from domain.user import User, UserId, email_taken, user_owns_items, username_taken
from handover_lmdb.records import Records, UsesDatabase, history_key, name_key

E = TypeVar("E", User, Item, Task, Session)


class Repository:
    """Base class of the repositories."""

    def __init__(self, records: Records) -> None:
        self.records = records


class Versioned(Repository, Generic[E]):
    """A repository of entities with an id and a version."""

    kind: type[E]

    async def add(self, entity: E) -> None:
        self._put(entity)

    async def get_for_update(self, id: Any) -> E:
        return require(self.records.get(self.kind, id), self.kind.__name__.lower())

    async def save(self, entity: E) -> None:
        self._check_version(entity, entity.version - 1)
        self._put(entity)

    async def remove(self, entity: E) -> None:
        self._check_version(entity, entity.version)
        self.records.delete(self.kind, entity.id)

    def _check_version(self, entity: E, version: int) -> None:
        """Raise TryAgain unless this version of the entity is stored."""
        stored = self.records.get(self.kind, entity.id)
        if stored is None or stored.version != version:
            raise TryAgain("an earlier unit of work has changed it")

    def _put(self, entity: E) -> None:
        """Store the entity and what depends on it."""
        self.records.put(entity)


class Users(Versioned[User]):
    """Stores, changes, locks and removes users within a unit of work (port UserRepository)."""

    kind = User

    async def hold(self, *user_ids: UserId) -> dict[UserId, User]:
        return {user_id: user for user_id in user_ids if (user := self.records.get(User, user_id))}

    async def remove(self, user: User) -> None:
        if any(item.owner_id == user.id for item in self.records.scan(Item)):
            raise user_owns_items()
        await super().remove(user)

    def _put(self, user: User) -> None:
        for name, error in (user.email, email_taken), (user.username, username_taken):
            if (other := self.records.find(User, name_key(name))) and other.id != user.id:
                raise error()
        self.records.put(user)


class Items(Versioned[Item]):
    """Stores, changes and removes items within a unit of work (port ItemRepository)."""

    kind = Item


class Transfers(Repository):
    """Adds transfers to the history within a unit of work (port TransferRepository)."""

    async def add(self, transfer: Transfer) -> None:
        if self.records.find(Transfer, history_key(transfer.item_id, transfer.number)):
            raise TryAgain("the item has a transfer of this number")
        self.records.put(transfer)


class Tasks(Versioned[Task]):
    """Stores, changes and removes tasks within a unit of work (port TaskRepository)."""

    kind = Task

    async def remove_all(self, user_id: UserId) -> None:
        for task in [one for one in self.records.scan(Task) if one.owner_id == user_id]:
            self.records.delete(Task, task.id)


class Sessions(Versioned[Session]):
    """Stores sessions and the hashes of their tokens within a unit of work (port SessionRepository)."""

    kind = Session

    async def find(self, token_hash: bytes) -> tuple[SessionId, UserId] | None:
        token = self.records.get(SessionToken, token_hash)
        return None if token is None else (token.session_id, token.user_id)

    async def revoke_all(self, user_id: UserId) -> None:
        for session in [one for one in self.records.scan(Session) if one.user_id == user_id and not one.revoked]:
            session.revoke()
            self.records.put(session)

    async def remove_all(self, user_id: UserId) -> None:
        kinds: tuple[type[Any], ...] = (Session, SessionToken)
        for kind in kinds:
            for record in [one for one in self.records.scan(kind) if one.user_id == user_id]:
                self.records.delete(kind, identity(record))

    def _put(self, session: Session) -> None:
        self.records.put(session)
        self.records.put(SessionToken.of(session))


class Attempts(Repository):
    """Stores recent log-in attempts within a unit of work (port LoginAttemptRepository)."""

    async def get_for_update(self, *subjects: bytes) -> list[LoginAttempts]:
        return [self.records.get(LoginAttempts, subject) or LoginAttempts(subject=subject) for subject in subjects]

    async def save(self, *attempts: LoginAttempts) -> None:
        for counter in attempts:
            self.records.put(counter)


class Keys(Repository):
    """Stores idempotency keys and answers (port KeyRepository). Units of work do not overlap: no key is in flight."""

    async def claim(
        self, key: KeyId, fingerprint: bytes, *, at: datetime, lifetime: timedelta, max_wait: float
    ) -> bytes | None:
        stored = self.records.get(StoredKey, (key.caller, key.operation, key.key))
        if stored is None or stored.expires_at <= at:
            self.records.put(StoredKey(id=key, fingerprint=fingerprint, expires_at=at + lifetime, answer=b""))
            return None
        if stored.fingerprint != fingerprint:
            raise KeyReused
        return stored.answer

    async def save_answer(self, key: KeyId, answer: bytes) -> None:
        claimed = require(self.records.get(StoredKey, (key.caller, key.operation, key.key)), "key")
        self.records.put(replace(claimed, answer=answer))


class LmdbUnitOfWork:
    """The UnitOfWork: one write transaction."""

    def __init__(self, records: Records) -> None:
        self.users, self.items, self.transfers = Users(records), Items(records), Transfers(records)
        self.tasks, self.sessions = Tasks(records), Sessions(records)
        self.attempts, self.keys = Attempts(records), Keys(records)

    async def lock_item(self, item_id: ItemId, *user_ids: UserId) -> tuple[Item | None, dict[UserId, User]]:
        return self.items.records.get(Item, item_id), await self.users.hold(*user_ids)

    async def commit(self) -> None:
        self.items.records.transaction.commit()


class UserReader(UsesDatabase):
    """Reads users (port UserReader)."""

    async def get(self, user_id: UserId) -> User:
        with self.database.read() as records:
            return require(records.get(User, user_id), "user")

    async def find_by_login(self, login: str) -> User | None:
        with self.database.read() as records:
            return records.find(User, name_key(login))

    async def page(self, window: Window) -> Page[User]:
        with self.database.read() as records:
            return page_of(records.scan(User), lambda user: (user.id, user.id), False, window)


class ItemReader(UsesDatabase):
    """Reads items with their owners' usernames (port ItemReader)."""

    async def get(self, item_id: ItemId) -> OwnedItem:
        with self.database.read() as records:
            return self._with_owner(records, require(records.get(Item, item_id), "item"))

    async def page(self, filter: ItemFilter, sort: Sort[ItemOrder], window: Window) -> Page[OwnedItem]:
        with self.database.read() as records:
            rows = (item for item in records.scan(Item) if filter.matches(item))
            page = page_of(rows, lambda item: (getattr(item, sort.by), item.id), sort.descending, window)
            return Page([self._with_owner(records, item) for item in page.items], page.more, page.total)

    def _with_owner(self, records: Records, item: Item) -> OwnedItem:
        return OwnedItem(item, require(records.get(User, item.owner_id), "user").username)


class TransferReader(UsesDatabase):
    """Reads the transfer history of items (port TransferReader)."""

    async def page(self, item_id: ItemId, window: Window) -> Page[Transfer]:
        with self.database.read() as records:
            require(records.get(Item, item_id), "item")
            return page_of(records.history(history_key(item_id, 0)[:-8]), lambda t: (t.number, t.id), False, window)


class TaskReader(UsesDatabase):
    """Reads the tasks of one user (port TaskReader)."""

    async def get(self, task_id: TaskId, owner_id: UserId) -> Task:
        with self.database.read() as records:
            task = records.get(Task, task_id)
        return require(task if task and task.owner_id == owner_id else None, "task")

    async def page(self, filter: TaskFilter, sort: Sort[TaskOrder], window: Window) -> Page[Task]:
        with self.database.read() as records:
            rows = (task for task in records.scan(Task) if filter.matches(task))
            return page_of(rows, lambda task: (getattr(task, sort.by), task.id), sort.descending, window)
