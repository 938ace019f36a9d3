"""A store in the memory of one process, for tests and for trying things out.

Units of work stage their changes and remember what they have seen. Whether all of that still holds is asked once, at
commit, which then applies everything in one go or raises TryAgain; nobody ever waits for anybody.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from copy import copy
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, ClassVar, Generic, Protocol, TypeVar
from uuid import UUID

from application.errors import KeyInFlight, KeyReused, TryAgain
from application.paging import COUNT_LIMIT, Page, Sort, Window
from application.ports import KeyId, Schema
from application.readers import ItemFilter, ItemOrder, OwnedItem, TaskFilter, TaskOrder
from domain.errors import Conflict, NotFound
from domain.item import Item, ItemId, Transfer
from domain.session import ATTEMPT_WINDOW, Attempts, Session, SessionId
from domain.task import Task, TaskId
from domain.user import User, UserId

K = TypeVar("K")
V = TypeVar("V")
E = TypeVar("E", bound="Versioned")


class Versioned(Protocol):
    @property
    def id(self) -> Any: ...
    @property
    def version(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Kept:
    fingerprint: bytes
    expires_at: datetime
    answer: bytes | None = None


@dataclass(frozen=True, slots=True)
class Tables:
    """What is committed. Rows are replaced and never changed, so a row's identity tells its version."""

    users: dict[UserId, User] = field(default_factory=dict)
    emails: dict[str, UserId] = field(default_factory=dict)
    usernames: dict[str, UserId] = field(default_factory=dict)
    items: dict[ItemId, Item] = field(default_factory=dict)
    transfers: dict[tuple[ItemId, int], Transfer] = field(default_factory=dict)
    tasks: dict[TaskId, Task] = field(default_factory=dict)
    sessions: dict[SessionId, Session] = field(default_factory=dict)
    tokens: dict[bytes, tuple[SessionId, UserId]] = field(default_factory=dict)
    attempts: dict[bytes, Attempts] = field(default_factory=dict)
    keys: dict[KeyId, Kept] = field(default_factory=dict)
    claims: set[KeyId] = field(default_factory=set)
    """Keys that an open unit of work holds; the one thing that others see before a commit."""


class Staged(Generic[K, V]):
    """One table as one unit of work sees it: what was committed when it looked, under its own changes."""

    def __init__(self, committed: dict[K, V]) -> None:
        self.committed = committed
        self.seen: dict[K, V | None] = {}
        self.changed: dict[K, V | None] = {}

    def read(self, key: K) -> V | None:
        seen = self.seen.setdefault(key, self.committed.get(key))
        return self.changed.get(key, seen)

    def write(self, key: K, row: V | None) -> None:
        self.read(key)
        self.changed[key] = row

    def rows(self) -> list[V]:
        committed = (row for key, row in self.committed.items() if key not in self.changed)
        return [*committed, *(row for row in self.changed.values() if row is not None)]

    def check(self) -> None:
        if any(self.committed.get(key) is not row for key, row in self.seen.items()):
            raise TryAgain("another unit of work was first")

    def apply(self) -> None:
        for key, row in self.changed.items():
            if row is None:
                self.committed.pop(key, None)
            else:
                self.committed[key] = row


async def others_turn() -> None:
    """What a round trip is to a real engine: the moment at which other units of work go on."""
    await asyncio.sleep(0)


class MemoryUsers:
    def __init__(self, tables: Tables) -> None:
        self.rows = Staged(tables.users)
        self.emails = Staged(tables.emails)
        self.usernames = Staged(tables.usernames)
        self.removed: set[UserId] = set()

    async def add(self, user: User) -> None:
        await others_turn()
        self._take_names(user)
        self.rows.write(user.id, copy(user))

    async def get_for_update(self, user_id: UserId) -> User:
        await others_turn()
        return copy(found(self.rows.read(user_id), "user"))

    async def hold(self, *user_ids: UserId) -> dict[UserId, User]:
        await others_turn()
        return {user_id: copy(user) for user_id in user_ids if (user := self.rows.read(user_id))}

    async def save(self, user: User) -> None:
        await others_turn()
        before = found(self.rows.read(user.id), "user")
        if before.version != user.version - 1:
            raise TryAgain("the user has changed")
        self._drop_names(before)
        self._take_names(user)
        self.rows.write(user.id, copy(user))

    async def remove(self, user: User) -> None:
        await others_turn()
        self._drop_names(user)
        self.rows.write(user.id, None)
        self.removed.add(user.id)

    def _take_names(self, user: User) -> None:
        if self.emails.read(user.email) is not None:
            raise Conflict("email-taken", "an account with this e-mail address exists")
        if self.usernames.read(user.username) is not None:
            raise Conflict("username-taken", "an account with this username exists")
        self.emails.write(user.email, user.id)
        self.usernames.write(user.username, user.id)

    def _drop_names(self, user: User) -> None:
        self.emails.write(user.email, None)
        self.usernames.write(user.username, None)


class MemoryVersioned(Generic[K, E]):
    """Items, tasks and sessions are kept alike."""

    kind: ClassVar[str]

    def __init__(self, committed: dict[K, E]) -> None:
        self.rows: Staged[Any, E] = Staged(committed)

    async def add(self, entity: E) -> None:
        await others_turn()
        self.rows.write(entity.id, copy(entity))

    async def get_for_update(self, id: K) -> E:
        await others_turn()
        return copy(found(self.rows.read(id), self.kind))

    async def save(self, entity: E) -> None:
        await others_turn()
        self._expect(entity.id, entity.version - 1)
        self.rows.write(entity.id, copy(entity))

    async def remove(self, entity: E) -> None:
        await others_turn()
        self._expect(entity.id, entity.version)
        self.rows.write(entity.id, None)

    def _expect(self, id: Any, version: int) -> None:
        before = self.rows.read(id)
        if before is None or before.version != version:
            raise TryAgain(f"the {self.kind} has changed")


class MemoryItems(MemoryVersioned[ItemId, Item]):
    kind = "item"

    def owned_by(self, users: set[UserId]) -> bool:
        return any(item.owner_id in users for item in self.rows.rows())


class MemoryTasks(MemoryVersioned[TaskId, Task]):
    kind = "task"

    async def remove_of(self, user_id: UserId) -> None:
        for task in self.rows.rows():
            if task.owner_id == user_id:
                await self.remove(task)


class MemorySessions(MemoryVersioned[SessionId, Session]):
    kind = "session"

    def __init__(self, tables: Tables) -> None:
        super().__init__(tables.sessions)
        self.tokens = Staged(tables.tokens)

    async def add(self, session: Session) -> None:
        await super().add(session)
        self.tokens.write(session.token_hash, (session.id, session.user_id))

    async def save(self, session: Session) -> None:
        await super().save(session)
        self.tokens.write(session.token_hash, (session.id, session.user_id))

    async def find(self, token_hash: bytes) -> tuple[SessionId, UserId] | None:
        await others_turn()
        return self.tokens.read(token_hash)

    async def revoke_of(self, user_id: UserId) -> None:
        for session in self.rows.rows():
            if session.user_id == user_id and not session.revoked:
                revoked = copy(session)
                revoked.revoke()
                await self.save(revoked)

    async def remove_of(self, user_id: UserId) -> None:
        for session in self.rows.rows():
            if session.user_id == user_id:
                await self.remove(session)
        for token_hash, (_, owner_id) in [*self.tokens.committed.items()]:
            if owner_id == user_id:
                self.tokens.write(token_hash, None)


class MemoryAttempts:
    def __init__(self, tables: Tables) -> None:
        self.rows = Staged(tables.attempts)

    async def get_for_update(self, *subjects: bytes) -> list[Attempts]:
        await others_turn()
        return [copy(self.rows.read(subject) or Attempts(subject=subject)) for subject in subjects]

    async def save(self, *attempts: Attempts) -> None:
        await others_turn()
        for counted in attempts:
            self.rows.write(counted.subject, copy(counted))


class MemoryTransfers:
    def __init__(self, tables: Tables) -> None:
        self.rows = Staged(tables.transfers)

    async def add(self, transfer: Transfer) -> None:
        await others_turn()
        place = (transfer.item_id, transfer.number)
        if self.rows.read(place) is not None:
            raise TryAgain("the item has a transfer of this number")
        self.rows.write(place, transfer)


class MemoryKeys:
    def __init__(self, tables: Tables) -> None:
        self.rows = Staged(tables.keys)
        self.claims = tables.claims
        self.claimed: set[KeyId] = set()

    async def claim(
        self, key: KeyId, fingerprint: bytes, *, at: datetime, lifetime: timedelta, patience: float
    ) -> bytes | None:
        await others_turn()
        if key in self.claims:
            raise KeyInFlight("another unit of work holds the key")
        kept = self.rows.read(key)
        if kept is not None and kept.expires_at > at:
            if kept.fingerprint != fingerprint:
                raise KeyReused
            return kept.answer
        self.claims.add(key)
        self.claimed.add(key)
        self.rows.write(key, Kept(fingerprint, at + lifetime))
        return None

    async def keep(self, key: KeyId, answer: bytes) -> None:
        await others_turn()
        claimed = self.rows.read(key)
        if claimed is None:
            raise LookupError("a key is claimed before its answer is kept")
        self.rows.write(key, replace(claimed, answer=answer))

    def release(self) -> None:
        self.claims -= self.claimed


class MemoryUnitOfWork:
    def __init__(self, tables: Tables) -> None:
        self.users = MemoryUsers(tables)
        self.items = MemoryItems(tables.items)
        self.transfers = MemoryTransfers(tables)
        self.tasks = MemoryTasks(tables.tasks)
        self.sessions = MemorySessions(tables)
        self.attempts = MemoryAttempts(tables)
        self.keys = MemoryKeys(tables)

    async def commit(self) -> None:
        await others_turn()
        parts = (
            self.users.rows,
            self.users.emails,
            self.users.usernames,
            self.items.rows,
            self.transfers.rows,
            self.tasks.rows,
            self.sessions.rows,
            self.sessions.tokens,
            self.attempts.rows,
            self.keys.rows,
        )
        for part in parts:
            part.check()
        if self.users.removed and self.items.owned_by(self.users.removed):
            raise Conflict("user-owns-items", "an account that owns items cannot be deleted")
        for part in parts:
            part.apply()


class MemoryUserReader:
    def __init__(self, tables: Tables) -> None:
        self.tables = tables

    async def get(self, user_id: UserId) -> User:
        return copy(found(self.tables.users.get(user_id), "user"))

    async def by_login(self, login: str) -> User | None:
        names = self.tables.emails if "@" in login else self.tables.usernames
        user_id = names.get(login)
        return None if user_id is None else copy(self.tables.users[user_id])

    async def page(self, window: Window) -> Page[User]:
        return page_of(self.tables.users.values(), lambda user: (user.id, user.id), False, window)


class MemoryItemReader:
    def __init__(self, tables: Tables) -> None:
        self.tables = tables

    async def get(self, item_id: ItemId) -> OwnedItem:
        item = found(self.tables.items.get(item_id), "item")
        return self._owned(item)

    async def page(self, filter: ItemFilter, sort: Sort[ItemOrder], window: Window) -> Page[OwnedItem]:
        rows = (
            item
            for item in self.tables.items.values()
            if (filter.owner_id is None or item.owner_id == filter.owner_id)
            and (filter.min_price is None or item.price >= filter.min_price)
            and (filter.max_price is None or item.price <= filter.max_price)
        )
        page = page_of(rows, lambda item: (getattr(item, sort.by), item.id), sort.descending, window)
        return Page([self._owned(item) for item in page.items], page.more, page.total)

    def _owned(self, item: Item) -> OwnedItem:
        return OwnedItem(copy(item), self.tables.users[item.owner_id].username)


class MemoryTransferReader:
    def __init__(self, tables: Tables) -> None:
        self.tables = tables

    async def of_item(self, item_id: ItemId, window: Window) -> Page[Transfer]:
        count = found(self.tables.items.get(item_id), "item").transfers
        start = window.skip if window.after is None else int(str(window.after.value))
        numbers = range(start + 1, min(start + window.limit, count) + 1)
        return Page(
            items=[self.tables.transfers[item_id, number] for number in numbers],
            more=start + window.limit < count,
            total=min(count, COUNT_LIMIT) if window.count else None,
        )


class MemoryTaskReader:
    def __init__(self, tables: Tables) -> None:
        self.tables = tables

    async def get(self, task_id: TaskId, owner_id: UserId) -> Task:
        task = self.tables.tasks.get(task_id)
        return copy(found(task if task and task.owner_id == owner_id else None, "task"))

    async def page(self, filter: TaskFilter, sort: Sort[TaskOrder], window: Window) -> Page[Task]:
        rows = (
            task
            for task in self.tables.tasks.values()
            if task.owner_id == filter.owner_id
            and (filter.status is None or task.status == filter.status)
            and (filter.created_after is None or task.created_at > filter.created_after)
        )
        return page_of(rows, lambda task: (getattr(task, sort.by), task.id), sort.descending, window)


def page_of(rows: Iterable[V], place: Callable[[V], tuple[Any, UUID]], descending: bool, window: Window) -> Page[V]:
    in_order = sorted(rows, key=place, reverse=descending)
    start = window.skip
    if window.after is not None:
        after = (window.after.value, window.after.id)
        start = sum((place(row) >= after) if descending else (place(row) <= after) for row in in_order)
    return Page(
        items=[copy(row) for row in in_order[start : start + window.limit]],
        more=start + window.limit < len(in_order),
        total=min(len(in_order), COUNT_LIMIT) if window.count else None,
    )


def drop(rows: dict[K, V], keys: Iterable[K]) -> None:
    for key in keys:
        rows.pop(key)


def found(row: V | None, kind: str) -> V:
    if row is None:
        raise NotFound(f"{kind}-not-found", f"there is no such {kind}")
    return row


class MemoryStore:
    def __init__(self) -> None:
        self.tables = Tables()
        self.users = MemoryUserReader(self.tables)
        self.items = MemoryItemReader(self.tables)
        self.transfers = MemoryTransferReader(self.tables)
        self.tasks = MemoryTaskReader(self.tables)

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[MemoryUnitOfWork]:
        uow = MemoryUnitOfWork(self.tables)
        try:
            yield uow
        finally:
            uow.keys.release()

    async def purge(self, at: datetime) -> int:
        tables = self.tables
        keys = [key for key, kept in tables.keys.items() if kept.expires_at <= at]
        sessions = {id for id, session in tables.sessions.items() if session.expires_at <= at}
        tokens = [token for token, (session_id, _) in tables.tokens.items() if session_id in sessions]
        idle = [
            subject
            for subject, attempts in tables.attempts.items()
            if all(time <= at - ATTEMPT_WINDOW for time in (*attempts.failed, *attempts.pending))
        ]
        drop(tables.keys, keys)
        drop(tables.sessions, sessions)
        drop(tables.tokens, tokens)
        drop(tables.attempts, idle)
        return len(keys) + len(sessions) + len(idle)

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def schema(self) -> Schema:
        return Schema(found=None, needed=None)

    async def upgrade(self) -> None: ...

    async def downgrade(self) -> None: ...


def open_store(_: object) -> MemoryStore:
    """There is nothing to set."""
    return MemoryStore()
